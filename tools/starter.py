"""Train and compress the package's starter: `python -m tools.starter DATA_FOLDER BACKBONE_FILE [OUTPUT]`.

DATA_FOLDER contains person_train.json and person_val.json (people in COCO) with their images, and BACKBONE_FILE
ImageNet weights of a ResNet-18 with torchvision's names. Trains the recipe `starter` in OUTPUT (or resumes it there),
stores the last weights in `assets/starter.safetensors` with 8 bits, and prints the AP before and after.
"""

from pathlib import Path

import tyro
from tyro.conf import Positional

import cascade_rcnn
from cascade_rcnn import Metrics, evaluate, load, save
from cascade_rcnn.assets import STARTER
from cascade_rcnn.engine.training.state import holds_state
from cascade_rcnn.files import write_json

RESULTS = Path("docs/results/starter.json")


def main(data: Positional[Path], backbone: Positional[Path], output: Positional[Path] = Path("runs/starter")) -> None:
    """Train, compress and evaluate the starter."""
    train, val = data / "person_train.json", data / "person_val.json"
    going = holds_state(output)
    result = cascade_rcnn.train("starter", data=train, val=val, weights_backbone=backbone, output=output, resume=going)
    whole = result.output / "last.safetensors"
    save(load(whole), STARTER, compact=True)
    measured = {name: _measure(file, val) for name, file in (("float32", whole), ("int8", STARTER))}
    write_json(RESULTS, {"bytes": STARTER.stat().st_size, **{k: m.to_dict() for k, m in measured.items()}})
    for name, metrics in measured.items():
        print(f"{name}: AP {metrics.ap:.4f}, AP50 {metrics.ap50:.4f}, AP75 {metrics.ap75:.4f}, AP90 {metrics.ap90:.4f}")
    print(f"{STARTER}: {STARTER.stat().st_size / 1e6:.1f} MB")


def _measure(checkpoint: Path, val: Path) -> Metrics:
    return evaluate(checkpoint, val, device="cpu", workers=1)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
