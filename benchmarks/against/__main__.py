"""Train every contender on every dataset, and write the page; finished runs are kept.

python -m benchmarks.against --data DATA --weights resnet18.safetensors --output runs/against --page docs/results
DATA contains `bccd` and `coco_person`. RT-DETR needs `transformers`, and is left out if it is not installed.
"""

import argparse
from importlib.util import find_spec
from pathlib import Path

from benchmarks.against.contest import CONTENDERS, run
from benchmarks.against.setting import SETS, stem
from benchmarks.measure import fresh

_NEEDS = {"rtdetr": "transformers"}
_SEEN = {("person", "starter"), ("coco80", "starter")}  # the starter was trained on these images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/against"), help="folder for the training runs")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--weights", type=Path, required=True, help="ImageNet weights of a ResNet-18 (torchvision names)"
    )
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["cells", "bccd", "person"])
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--seconds", type=float, default=360, help="processor time of each training run")
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16", help="of training and detection")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=Path, help="folder to write against.md and against.json to")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    for name in given.sets:
        for contender in given.contenders:
            _one(given, name, contender)
    if given.page:
        from benchmarks.against.page import write_page

        write_page(given.output, given.data, given.page)


def _one(given: argparse.Namespace, name: str, contender: str) -> None:
    finished = given.output / f"{stem(name, contender, given.seconds, given.precision, given.seed)}.json"
    if finished.is_file() or (name, contender) in _SEEN:
        return
    if (needed := _NEEDS.get(contender)) and find_spec(needed) is None:
        print(f"{name}, {contender}: left out because {needed} is not installed", flush=True)
        return
    figures = fresh(
        run, output=given.output, data=given.data, weights=given.weights, name=name,
        contender=contender, seconds=given.seconds, precision=given.precision, seed=given.seed,
    )  # fmt: skip
    print(figures, flush=True)


if __name__ == "__main__":
    main()
