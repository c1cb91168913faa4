"""Train the package's starter and pack it: `python -m tools.starter DATA_FOLDER BACKBONE_FILE [OUTPUT]`.

DATA_FOLDER holds COCO's persons as person_train.json and person_val.json with their images; BACKBONE_FILE ImageNet
weights of a ResNet-18 by torchvision's names. Trains recipe `starter` into OUTPUT (continuing a training begun there),
stores the last weights in 8 bits in `assets/starter.safetensors` and prints their AP before and after.
"""

import sys
from dataclasses import replace
from pathlib import Path

from cascade_rcnn.assets import STARTER
from cascade_rcnn.data import load_annotations
from cascade_rcnn.engine.evaluate import run_predictor
from cascade_rcnn.engine.predictor import Predictor
from cascade_rcnn.engine.training.state import STATE
from cascade_rcnn.engine.training.train import train
from cascade_rcnn.evaluation import evaluate_boxes
from cascade_rcnn.evaluation.coco import Metrics
from cascade_rcnn.files import write_json
from cascade_rcnn.models.checkpoint import load, save
from cascade_rcnn.recipes import RECIPES

RESULTS = Path("docs/results/starter.json")


def main(data: Path, backbone: Path, output: Path) -> None:
    """Train, pack, measure."""
    recipe = RECIPES["starter"]()
    files = replace(recipe.data, train=str(data / "person_train.json"), val=str(data / "person_val.json"))
    recipe = replace(recipe, data=files, weights_backbone=str(backbone), output=str(output))
    train(recipe, resume=(output / STATE).exists())
    whole = output / "last.safetensors"
    save(load(whole), STARTER, compact=True)
    figures = {"float32": _measure(whole, data), "int8": _measure(STARTER, data)}
    write_json(RESULTS, {"bytes": STARTER.stat().st_size, **{k: m.to_dict() for k, m in figures.items()}})
    for name, metrics in figures.items():
        print(f"{name}: AP {metrics.ap:.4f}, AP50 {metrics.ap50:.4f}, AP75 {metrics.ap75:.4f}, AP90 {metrics.ap90:.4f}")
    print(f"{STARTER}: {STARTER.stat().st_size / 1e6:.1f} MB")


def _measure(checkpoint: Path, data: Path) -> Metrics:
    truth = load_annotations(data / "person_val.json")
    return evaluate_boxes(truth, run_predictor(Predictor(checkpoint, device="cpu"), truth, 1, 1), source=checkpoint)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3] if len(sys.argv) > 3 else "runs/starter"))
