"""Reports on training runs: what is read from their folders, what is computed, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import cascade_rcnn
from cascade_rcnn import UserError
from cascade_rcnn.api import report as api
from cascade_rcnn.commands import train as command
from cascade_rcnn.reporting.runs import open_run


@pytest.fixture(scope="module")
def run(thin_recipe, shapes, tmp_path_factory) -> Path:
    """Return the folder of a training run of one epoch."""
    output = tmp_path_factory.mktemp("report") / "run"
    return cascade_rcnn.train(replace(thin_recipe, output=str(output)), data=shapes).output


@pytest.fixture
def quick(monkeypatch):
    """Skip the plots and shorten the bootstrap, which have tests of their own."""
    monkeypatch.setattr("cascade_rcnn.reporting.headline._DRAWS", 5)
    monkeypatch.setattr("cascade_rcnn.reporting.plots._plot", lambda draw, label, height=0: f"<svg>{label}</svg>")


@pytest.fixture
def without_detecting(monkeypatch):
    def detect(*_):
        raise AssertionError("the model is run, though its detections are there")

    monkeypatch.setattr(api, "_detect", detect)


@pytest.mark.usefixtures("quick", "without_detecting")
def test_a_training_s_own_detections_are_taken(run):
    made = cascade_rcnn.report(run, workers=0, stage_images=2)
    assert (made.page, made.numbers) == (run / "report" / "report.html", run / "report" / "report.json")
    numbers = json.loads(made.numbers.read_text())
    assert numbers["metrics"]["ap"] == pytest.approx(json.loads((run / "best.json").read_text())["ap"])
    assert numbers["stages"]["images"] == 2
    assert numbers["curves"]["updates"] == 4
    assert len(numbers["advice"]) == len(made.advice)
    page = made.page.read_text()
    assert "best.safetensors, epoch 1 of 1" in page
    assert "Label more images" in page


@pytest.mark.usefixtures("quick", "without_detecting")
def test_masks_of_a_training_s_own_detections_are_measured(run, masked, outlined, tmp_path):
    folder = shutil.copytree(run, tmp_path / "masked")
    recipe = json.loads((folder / "recipe.json").read_text())
    recipe["data"] |= {"val": str(outlined), "val_split": None}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    cascade_rcnn.save(masked, folder / "best.safetensors")
    kept = folder / "best.detections.json"
    expected = cascade_rcnn.evaluate(masked, outlined, workers=0, save_detections=kept)
    made = cascade_rcnn.report(folder, workers=0, stage_images=1)
    assert expected.masks is not None
    assert json.loads(made.numbers.read_text())["metrics"] == expected.to_dict()
    both = cascade_rcnn.compare(folder, folder, workers=0)
    (one, other) = json.loads(both.numbers.read_text())["masks"]
    assert one == other == {name: getattr(expected.masks, name) for name in ("ap", "ap50", "ap75", "ap90")}
    assert "box AP" in both.answer


def test_the_number_of_training_images(run, tmp_path):
    """An earlier version wrote how many were seen; that run may be one of torchrun, whose recipe names one device."""
    results = json.loads((run / "results.json").read_text())
    assert _training_images(run) == results["training_images"] == 8
    earlier = {name: value for name, value in results.items() if name != "training_images"}
    older = shutil.copytree(run, tmp_path / "older")
    (older / "results.json").write_text(json.dumps(earlier | {"images": 4 * results["images"]}))
    assert _training_images(older) == 4 * results["images"]
    earlier.pop("images")  # of a still earlier one: 4 updates of 2 images
    (older / "results.json").write_text(json.dumps(earlier))
    assert _training_images(older) == 8


def _training_images(folder: Path) -> int:
    training = open_run(folder).training()
    assert training is not None
    return training.images


@pytest.fixture
def skipping(run, shapes, tmp_path) -> Path:
    """Return a run that skipped images above 0.006 megapixels, one of four, and was evaluated on the others."""
    data = shutil.copytree(shapes, tmp_path / "data")
    val = json.loads((data / "val.json").read_text())
    image = val["images"][0] | {"width": 96, "height": 96}
    (data / "val.json").write_text(json.dumps(val | {"images": [image, *val["images"][1:]]}))
    Image.new("RGB", (96, 96)).save(data / "images" / "val" / Path(image["file_name"]).name)
    folder = shutil.copytree(run, tmp_path / "skipping")
    recipe = json.loads((folder / "recipe.json").read_text())
    recipe["data"] |= {"val": str(data / "val.json"), "val_split": None}
    recipe["data"] |= {"bad_images": "skip", "max_megapixels": 0.006}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    found = json.loads((folder / "best.detections.json").read_text())
    kept = [one for one in found if one["image_id"] != image["id"]]
    (folder / "best.detections.json").write_text(json.dumps(kept))
    best = json.loads((folder / "best.json").read_text())
    (folder / "best.json").write_text(json.dumps(best | {"images": 3}))
    return folder


@pytest.mark.usefixtures("quick", "without_detecting")
def test_images_that_the_run_skipped_are_not_evaluated(skipping):
    made = cascade_rcnn.report(skipping, workers=0, stage_images=0)
    assert json.loads(made.numbers.read_text())["metrics"]["images"] == 3
    both = cascade_rcnn.compare(skipping, skipping, workers=0)
    assert len(json.loads(both.numbers.read_text())["images"]) == 3
    with pytest.raises(UserError, match=r"1 of 4 images cannot be used: .*0\.006"):
        cascade_rcnn.report(skipping, workers=0, bad_images="stop")


@pytest.mark.usefixtures("quick")
def test_detections_in_another_number_of_images_are_not_taken(skipping, capsys):
    best = json.loads((skipping / "best.json").read_text())
    (skipping / "best.json").write_text(json.dumps(best | {"images": 4}))
    (skipping / "best.detections.json").write_text("not read")
    made = cascade_rcnn.report(skipping, workers=0, stage_images=0)
    assert json.loads(made.numbers.read_text())["metrics"]["images"] == 3
    assert "note: " + str(skipping) + ": was evaluated on 4 images, not 3, so the model is run again" in (
        capsys.readouterr().err
    )


@pytest.mark.usefixtures("quick", "without_detecting")
def test_lower_precision(run, tmp_path):
    made = cascade_rcnn.report(run, precision="bf16", stage_images=1, workers=0, output=tmp_path)
    assert json.loads(made.numbers.read_text())["stages"]["images"] == 1


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_detections_of_another_evaluation_and_other_data(run, shapes, tmp_path, monkeypatch):
    found = tmp_path / "found.json"
    cascade_rcnn.evaluate(run / "best.safetensors", shapes / "train.json", workers=0, save_detections=found)
    there = {"data": shapes / "train.json", "stage_images": 0, "workers": 0}
    ran = cascade_rcnn.report(run, output=tmp_path / "ran", **there)
    monkeypatch.setattr(api, "_detect", None)  # must not be called
    given = cascade_rcnn.report(run, detections=found, output=tmp_path / "given", threshold=0.25, **there)
    one, other = (json.loads(made.numbers.read_text()) for made in (ran, given))
    assert one["metrics"] == other["metrics"]
    assert one["metrics"]["images"] == 8
    assert other["threshold"]["threshold"] == 0.25
    assert other["stages"] is None


@pytest.mark.usefixtures("quick", "without_detecting")
def test_two_training_runs(run, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(run, other)
    made = cascade_rcnn.compare(run, other, workers=0)
    assert made.page == other / "report_run" / "report.html"
    numbers = json.loads(made.numbers.read_text())
    assert numbers["runs"] == ["run", "other"]
    assert numbers["difference"]["ap"] == {"mean": 0, "low": None, "high": None}  # on four images
    assert set(numbers["images"].values()) == {0}
    assert made.answer == "No verdict on other and run: 0.0 AP (fewer than 10 images)"


@pytest.mark.usefixtures("quick")
def test_the_notes_of_given_data_are_printed_once(run, shapes, tmp_path, capsys):
    data = shutil.copytree(shapes, tmp_path / "data")
    truth = json.loads((data / "val.json").read_text())
    truth["annotations"].append(truth["annotations"][0] | {"id": 10**6, "bbox": [1, 1, 0, 5]})
    (data / "val.json").write_text(json.dumps(truth))
    other = tmp_path / "other"
    shutil.copytree(run, other)
    capsys.readouterr()
    cascade_rcnn.compare(run, other, data=data / "val.json", output=tmp_path / "page", workers=0)
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert len(notes) == len(set(notes)) > 0


def test_runs_on_different_data_are_not_compared(run, shapes, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(run, other)
    recipe = json.loads((other / "recipe.json").read_text())
    recipe["data"] |= {"val": str(shapes / "train.json"), "val_split": None}
    (other / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(UserError, match=r"not the same data \(one has 4 images, the other 8\); give --data"):
        cascade_rcnn.compare(run, other, workers=0)


@pytest.mark.usefixtures("without_detecting")
def test_a_report_replaces_neither_its_input_nor_the_page_of_others(run, tmp_path):
    (tmp_path / "report.json").write_text("[]")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "report.html").write_text("mine")
    with pytest.raises(UserError, match=r"report\.json: would replace an input"):
        cascade_rcnn.report(run, detections=tmp_path / "report.json", output=tmp_path)
    for output, message in (("site", r"report\.html: would be replaced"), ("report.json", "cannot be written")):
        with pytest.raises(UserError, match=message):
            cascade_rcnn.report(run, output=tmp_path / output)
        with pytest.raises(UserError, match=message):
            cascade_rcnn.compare(run, run, output=tmp_path / output)


def test_what_is_not_a_run_is_refused(run, tmp_path):
    with pytest.raises(UserError, match="run is None; give a path"):
        cascade_rcnn.compare(run, None)
    with pytest.raises(UserError, match=r"nothing: not the folder of a training run \(no recipe.json\)"):
        cascade_rcnn.report(tmp_path / "nothing")
    shutil.copy(run / "recipe.json", tmp_path)
    with pytest.raises(UserError, match="has no checkpoint yet"):
        cascade_rcnn.report(tmp_path)
    shutil.copy(run / "last.safetensors", tmp_path)
    recipe = json.loads((run / "recipe.json").read_text())
    (tmp_path / "recipe.json").write_text(json.dumps(recipe | {"data": recipe["data"] | {"val": ""}}))
    with pytest.raises(UserError, match="trained without validation data; give --data"):
        cascade_rcnn.report(tmp_path)
    gone = recipe["data"] | {"val": str(tmp_path / "gone.json"), "val_split": None}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe | {"data": gone}))
    with pytest.raises(UserError, match=r"cannot read the run's validation data \(.*gone.json.*\); give --data"):
        cascade_rcnn.report(tmp_path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"threshold": 2}, "threshold is 2; give 0 to 1"),
        ({"stage_images": -1}, "give 0"),
        ({"batch_size": 0}, "batch_size is 0; give 1 or more"),
        ({"workers": -1}, "workers is -1; give 0 or more"),
    ],
)
def test_numbers_out_of_their_range(run, given, message):
    with pytest.raises(UserError, match=message):
        cascade_rcnn.report(run, **({"workers": 0} | given))


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_with_an_evaluation(run, shapes, tmp_path):
    cascade_rcnn.evaluate(run / "best.safetensors", shapes / "val.json", workers=0, report=tmp_path / "one")
    assert json.loads((tmp_path / "one" / "report.json").read_text())["stages"]["images"] == 4
    detections = run / "best.detections.json"
    cascade_rcnn.evaluate_detections(detections, shapes / "val.json", report=tmp_path / "two")
    assert json.loads((tmp_path / "two" / "report.json").read_text())["stages"] is None


def test_a_report_that_fails_leaves_the_training_as_it_is(run, capsys, monkeypatch):
    result = cascade_rcnn.TrainingResult(output=run, weights=run / "best.safetensors", metrics=None)

    def fail(*_, **__):
        raise RuntimeError("no room\nmore lines")

    monkeypatch.setattr("cascade_rcnn.api.train.report", fail)
    command._report(result)
    said = capsys.readouterr()
    assert said.err == f"note: could not write the report (no room); try again with `cascade-rcnn report {run}`\n"
    assert said.out == ""


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_at_the_end_of_a_training(run, capsys):
    command._report(cascade_rcnn.TrainingResult(output=run, weights=run / "best.safetensors", metrics=None))
    assert capsys.readouterr().out.startswith(f"report: {run / 'report' / 'report.html'} (took ")


@pytest.mark.usefixtures("quick", "without_detecting")
def test_given_detections_in_skipped_images_are_left_out(run, masked, outlined, tmp_path):
    found, folder = tmp_path / "found.json", shutil.copytree(run, tmp_path / "masked")
    cascade_rcnn.save(masked, folder / "best.safetensors")
    cascade_rcnn.evaluate(masked, outlined, workers=0, save_detections=found)
    data = json.loads(outlined.read_text())
    (broken := tmp_path / "broken.png").write_bytes(b"")
    data["images"][1]["file_name"] = str(broken)
    outlined.write_text(json.dumps(data))
    rows = [one | {"file_name": None} for one in json.loads(found.read_text())]
    found.write_text(json.dumps(rows))
    asked = {"data": outlined, "detections": found, "bad_images": "skip", "workers": 0, "stage_images": 0}
    made = cascade_rcnn.report(folder, **asked)
    metrics = json.loads(made.numbers.read_text())["metrics"]
    assert (metrics["images"], metrics["masks"]["images"]) == (3, 3)
    found.write_text(json.dumps([*rows, rows[0] | {"image_id": 99}]))
    with pytest.raises(UserError, match=r"found\.json: entry \d+ .*image id that is not in"):
        cascade_rcnn.report(folder, **asked)
