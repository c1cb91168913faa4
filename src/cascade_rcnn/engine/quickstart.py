"""The quickstart: data, training, figures and pictures in a few minutes on a CPU, without a network."""

from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from cascade_rcnn.data.shapes import write_shapes
from cascade_rcnn.engine.curve import plot
from cascade_rcnn.engine.interrupt import Interrupted
from cascade_rcnn.engine.predict import expand, predict_files
from cascade_rcnn.engine.predictor import Predictor
from cascade_rcnn.engine.probe import seconds_per_update
from cascade_rcnn.engine.run import holds_state
from cascade_rcnn.engine.setup import launch, prepare
from cascade_rcnn.engine.train import train
from cascade_rcnn.evaluation.coco import Metrics
from cascade_rcnn.files import read_json
from cascade_rcnn.recipes import RECIPES, Recipe

IMAGE_SIZE = 160
_TRAIN, _VAL = 480, 120  # images
_TRAINING_SECONDS = 270.0  # with the evaluations and pictures the whole stays under six minutes
_PICTURES = 12


def run(output: Path, epochs: int | None = None) -> Metrics:
    """Make `shapes`, train on it (continuing where an earlier run stopped), draw, and return the validation figures.

    Without `epochs` it trains as many as this machine does in about five minutes, at most the recipe's.
    """
    print(f"1/3  the data set: {output / 'shapes'}")
    data = write_shapes(output / "shapes", train=_TRAIN, val=_VAL, size=IMAGE_SIZE, seed=0)
    recipe = RECIPES["quickstart"]()
    recipe = replace(
        recipe,
        output=str(output),
        data=replace(recipe.data, train=str(data / "train.json"), val=str(data / "val.json")),
    )
    begun = holds_state(output)
    if epochs is None:
        epochs = read_json(output / "recipe.json")["epochs"] if begun else _affordable(recipe)
    print(f"2/3  training {recipe.model} for {epochs} epochs")
    try:
        train(replace(recipe, epochs=epochs), resume=begun)
    except Interrupted:
        raise Interrupted("stopped, and saved: the same command continues") from None
    print(f"3/3  learning curve: {plot(output)}")
    predictor = Predictor(output / "best.safetensors", device="cpu")
    categories = [(c.id, c.name) for c in predictor.config.categories]
    images = islice(expand([data / "images" / "val"]), _PICTURES)
    predict_files(predictor, categories, images, output / "found", threshold=0.5)
    print(f"     pictures of {_PICTURES} validation images: {output / 'found' / 'pictures'}")
    best = read_json(output / "best.json")
    print(_NEXT.format(output=output, epoch=best.pop("epoch")))
    return Metrics.from_dict(best)


def _affordable(recipe: Recipe) -> int:
    """The epochs that fit into the time, from a few timed updates; at least three."""
    with TemporaryDirectory() as folder:
        trial = replace(recipe, output=str(Path(folder) / "probe"))
        run, _ = prepare(trial, launch(trial), resume=False)
        seconds = seconds_per_update(run) * len(run.loader)
    return max(3, min(recipe.epochs, int(_TRAINING_SECONDS / seconds)))


_NEXT = """
what next:
  cascade-rcnn predict --checkpoint {output}/best.safetensors --output found YOUR_IMAGES
  cascade-rcnn train finetune --data.train train.json --data.val val.json      (a GPU)
  cascade-rcnn train small --data.train train.json --data.val val.json         (a CPU)
the figures of the best epoch, {epoch}:"""
