"""How much does each augmentation gain? The same fine-tuning with and without it, compared image by image.

    python -m benchmarks.augmentation --output FOLDER [--train DATA --val DATA] [--words none natural ...] [--seeds 2]
                                      [--init CHECKPOINT] [--side PIXELS]

Every run uses the recipe `quickstart` (the package's starter on its blood cells, unless data is given) with a different
`augmentation`. The weights after the last epoch are evaluated, so that no run selects its best epoch on the evaluation
images. Finished runs are kept, so the command may be stopped and started again.
"""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro

from benchmarks.measure import keep_settings
from cascade_rcnn import evaluate, find_recipe, load_annotations, train
from cascade_rcnn.assets import CELLS
from cascade_rcnn.engine.training.state import holds_state
from cascade_rcnn.evaluation.bootstrap import column, paired_difference, resample
from cascade_rcnn.evaluation.detections import load_detections
from cascade_rcnn.evaluation.matches import match

WORDS = (
    "none",
    "horizontal_flip",
    "horizontal_flip mosaic",
    "microscope",
    "horizontal_flip iou_crop",
    "natural",
    "horizontal_flip vertical_flip rotate90",
    "horizontal_flip mixup",
    "natural iou_crop mosaic",
)


@dataclass(frozen=True, kw_only=True)
class Options:
    output: Path
    train: str = str(CELLS / "train.json")
    val: str = str(CELLS / "val.json")
    words: tuple[str, ...] = WORDS  # each is a list of augmentations; the others are compared with the first
    seeds: int = 2
    epochs: int | None = None  # default: those of the recipe
    init: str | None = None  # a checkpoint to start from; default: that of the recipe
    side: int | None = None  # short side of the images; default: that of the checkpoint


def run(options: Options) -> None:
    """Train the missing runs, one seed of all lists before the next, and print the table so far after each run."""
    keep_settings(options.output, {name: getattr(options, name) for name in ("train", "val", "epochs", "init", "side")})
    truth = load_annotations(options.val)
    resamples: dict[str, list[np.ndarray]] = {words: [] for words in options.words}
    for seed in range(options.seeds):
        for words in options.words:
            found = _detections(options, words, seed)
            resamples[words].append(resample(match(truth, load_detections(found, truth))))
            print(json.dumps(_rows(resamples, options.words[0])), flush=True)
    (options.output / "augmentation.json").write_text(json.dumps(_rows(resamples, options.words[0]), indent=1))


def _detections(options: Options, words: str, seed: int) -> Path:
    folder = options.output / f"{words.replace(' ', '+')}_{seed}"
    found = folder / "found.json"
    if found.exists():
        return found
    began, recipe = time.monotonic(), find_recipe("quickstart")
    result = train(
        recipe,
        data={"train": options.train, "val": options.val},
        augmentation=words,
        epochs=options.epochs or recipe.epochs,
        init=options.init or recipe.init,
        options=replace(recipe.options, min_size=options.side or recipe.options.min_size),
        seed=seed,
        accelerator="cpu",
        workers=0,
        evaluate_every=0,
        output=folder,
        resume=holds_state(folder),
    )
    evaluate(result.output / "last.safetensors", options.val, device="cpu", workers=0, save_detections=found)
    print(f"{words}, seed {seed}: {time.monotonic() - began:.0f} s", flush=True)
    return found


def _rows(resamples: dict[str, list[np.ndarray]], base: str) -> list[dict]:
    """Return each list's AP in percent, and its difference from the base over the seeds that both have."""
    rows = []
    for words, ours in resamples.items():
        if not ours:
            continue
        row: dict = {"augmentation": words, "seeds": len(ours)}
        for metric in ("ap", "ap75"):
            row[metric] = [round(100 * float(column(one, metric)[0]), 1) for one in ours]
            if words != base:
                found = paired_difference(ours, resamples[base][: len(ours)], metric)
                row[f"{metric}_difference"] = [round(100 * number, 1) for number in found]
        rows.append(row)
    return rows


if __name__ == "__main__":
    run(tyro.cli(Options))
