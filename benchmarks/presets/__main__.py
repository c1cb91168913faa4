"""Train the presets on every dataset and the default with single differences on the first one, and write the page.

python -m benchmarks.presets --data DATA --output runs/presets --seeds 2 --page docs/results
DATA contains `bccd`, `nuclei` (made by benchmarks/nuclei.py) and `coco_person`. Finished runs are kept. For several
optimizers and learning rates, run it once for each --optimizer and --rate.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

from benchmarks.against.setting import SETS
from benchmarks.measure import keep_settings
from benchmarks.presets.contestants import DEFAULT, PRESETS, switch_names
from benchmarks.presets.training import key, optimizer_config, run


class Planned(NamedTuple):
    """A run."""

    name: str  # of the dataset
    contender: str
    seed: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/presets"), help="folder for the runs")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["bccd", "nuclei", "person"])
    parser.add_argument("--images", type=int, default=800, help="number seen by each run")
    parser.add_argument("--optimizer", choices=("sgd", "adamw"), default="sgd")
    parser.add_argument("--rate", type=float, default=0.02, help="learning rate")
    parser.add_argument("--warmup", type=int, default=30, help="number of updates until this rate is reached")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16", help="of training and detection")
    parser.add_argument("--seeds", type=int, default=1, help="of the presets")
    parser.add_argument("--switched-seeds", type=int, default=1, help="of the single differences")
    parser.add_argument("--page", type=Path, help="folder to write presets.md and presets.json to")
    given = parser.parse_args()
    settings = {"images": given.images, "precision": given.precision, "warmup": given.warmup}
    keep_settings(given.output, settings)
    optimizer = optimizer_config(given.optimizer, given.rate, given.warmup)
    for name, contender, seed in planned(given.sets, given.seeds, given.switched_seeds):
        identity = key(name, contender, given.optimizer, given.rate, seed)
        if not (given.output / f"{identity}.json").is_file():
            found = run(
                given.data, given.output, name, contender,
                images=given.images, optimizer=optimizer, precision=given.precision, seed=seed,
            )  # fmt: skip
            print(found, flush=True)
    if given.page:
        from benchmarks.presets.page import write_page

        write_page(given.output, given.data, given.page)


def planned(sets: list[str], seeds: int, switched_seeds: int) -> list[Planned]:
    """List the runs, one seed after the other; single differences are only trained on the first dataset."""
    found = []
    for seed in range(max(seeds, switched_seeds)):
        if seed < seeds:
            found += [Planned(name, preset, seed) for name in sets for preset in PRESETS]
        elif switched_seeds > seed:
            found.append(Planned(sets[0], DEFAULT, seed))  # for comparison
        if seed < switched_seeds:
            found += [Planned(sets[0], switch, seed) for switch in switch_names()]
    return found


if __name__ == "__main__":
    main()
