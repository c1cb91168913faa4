"""The Optuna search: three short training runs, one of them pruned."""

import importlib.util
import shutil
from pathlib import Path

import PIL.Image
import pytest

from cascade_rcnn import load
from cascade_rcnn.assets import PHOTO
from cascade_rcnn.data.shapes import write_shapes
from cascade_rcnn.files import write_json

pytest.importorskip("optuna")
pytestmark = pytest.mark.slow
EXAMPLE = Path(__file__).parents[2] / "examples" / "tune.py"
SETTINGS = {"accelerator": "cpu", "workers": 0, "options": {"min_size": 64, "max_size": 64}}


@pytest.fixture
def tune():
    spec = importlib.util.spec_from_file_location("tune", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def people(tmp_path) -> str:
    """Write a folder with a photo, annotated with what the starter finds in it."""
    found = load("starter", min_size=96).predict(PHOTO, threshold=0.5).xyxy.tolist()
    boxes = [
        {"id": k, "image_id": 1, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "area": 1.0, "iscrowd": 0}
        for k, (x1, y1, x2, y2) in enumerate(found, start=1)
    ]
    with PIL.Image.open(PHOTO) as photo:
        width, height = photo.size
    for split in ("train", "val"):
        image = {"id": 1, "file_name": f"{split}.jpg", "width": width, "height": height}
        content = {"images": [image], "annotations": boxes, "categories": [{"id": 1, "name": "person"}]}
        write_json(tmp_path / "people" / f"{split}.json", content)
        shutil.copy(PHOTO, tmp_path / "people" / f"{split}.jpg")
    return str(tmp_path / "people")


@pytest.mark.filterwarnings("ignore")  # from a library's database
def test_a_trial_that_is_worse_is_pruned_and_the_search_goes_on(tune, people, tmp_path):
    """The first trial hardly changes the starter, and the second one destroys it."""
    recipe = tmp_path / "recipe.json"
    optimizer = {"name": "adamw", "lr_batch": 1, "warmup_steps": 0}
    write_json(recipe, {"init": "starter", "batch_size": 1, "ema": None, "optimizer": optimizer})

    def search(trials: int) -> list:
        study = tune.make_study(tmp_path / "runs", startup=1)
        if not study.trials:
            for rate in (1e-6, 1e-2):
                study.enqueue_trial({"lr": rate, "augmentation": "horizontal_flip"})
        output = tmp_path / "runs"
        settings = {"accelerator": "cpu", "workers": 0, "options": {"min_size": 96}}
        options = tune.Options(
            data=people, output=output, recipe=str(recipe), trials=trials, epochs=3, settings=settings
        )
        tune.tune(options, study)
        return study.trials

    assert len(search(2)) == 2
    good, bad, other = search(3)  # the first two are remembered
    assert (good.state.name, bad.state.name) == ("COMPLETE", "PRUNED")
    assert list(good.intermediate_values) == [1, 2, 3]
    assert good.value == max(good.intermediate_values.values()) > 0
    last = max(bad.intermediate_values)
    assert last < 3
    assert bad.intermediate_values[last] < 0.1 < 0.5 < good.intermediate_values[last]
    rows = (tmp_path / "runs" / "trial_1" / "evaluation.csv").read_text().splitlines()
    assert len(rows) == 1 + last  # it really stopped there
    assert other.params.keys() == {"lr", "augmentation"}


@pytest.mark.filterwarnings("ignore")  # from a library's database
def test_without_validation_data_the_search_ends_with_one_line(tune, tmp_path):
    write_shapes(tmp_path / "shapes", train=4, val=1, size=64, seed=0)
    options = tune.Options(data=str(tmp_path / "shapes/train.json"), output=tmp_path, epochs=2, settings=SETTINGS)
    with pytest.raises(SystemExit, match="error: no validation data to compare trials on"):
        tune.tune(options, tune.make_study(tmp_path))
