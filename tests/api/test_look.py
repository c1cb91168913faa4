"""`look`: the arguments it takes, the size at which it measures boxes, and the files it writes."""

import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import PIL.Image
import pytest

import cascade_rcnn
from cascade_rcnn import UserError, cli, load_annotations
from cascade_rcnn.api.look import look
from cascade_rcnn.files import read_json


def names(seen):
    return [(split.name, split.is_training, len(split.annotations)) for split in seen.splits]


def test_a_folder_has_all_its_splits_the_training_set_first(shapes):
    seen = look(shapes)
    assert names(seen) == [("train", True, 8), ("val", False, 4)]
    assert names(look(shapes, splits=["val"])) == [("val", True, 4)]


def test_files_annotations_and_names(shapes):
    train, val = shapes / "train.json", shapes / "val.json"
    expected = [("train", True, 8), ("val", False, 4)]
    assert names(look([val, train])) == expected
    assert names(look({"val": load_annotations(val), "train": train})) == expected
    assert names(look(load_annotations(val))) == [("data", True, 4)]
    assert names(look({"first": train, "second": val})) == [("first", True, 8), ("second", False, 4)]
    assert names(look({"test": train, "val": val})) == [("test", False, 8), ("val", False, 4)]


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ([], {}, "no data to inspect"),
        ("train.json", {"splits": ["val"]}, "only a folder"),
        (["train.json", "train.json"], {}, "the same name"),
        ("absent.json", {}, "no such file or folder"),
        ("train.json", {"batch_size": 0}, "batch_size is 0; give 1 or more"),
        ("train.json", {"workers": -1}, "workers is -1; give 0 or more"),
        ("absent.json", {"recipe": "smal"}, "no recipe 'smal'"),  # before the data is read
        ("absent.json", {"augment": "smal"}, "no recipe 'smal'"),
    ],
)
def test_mistakes_are_one_line(shapes, given, options, message):
    paths = shapes / given if isinstance(given, str) else [shapes / name for name in given]
    with pytest.raises(UserError, match=message):
        look(paths, **options)


@pytest.mark.parametrize(
    ("words", "context"),
    [
        (["--device", "cpu"], "--device: no effect with data alone, without --checkpoint"),
        (["--recipe", "small", "--checkpoint", "starter"], "--recipe: no effect with --checkpoint"),
    ],
)
def test_flags_without_effect_are_refused(capsys, words, context):
    with pytest.raises(SystemExit):
        cli.main(["look", "absent.json", *words])
    assert capsys.readouterr().err == f"error: {context}; leave it out\n"


def test_objects_that_are_not_annotations_are_refused():
    for given in ([(np.zeros((8, 8, 3)), {})], {"train": 7}):
        with pytest.raises(UserError, match=r"cannot inspect (list|int); give paths"):
            look(given)


def yolo(folder, images):
    for name, content in images.items():
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        label = folder / "labels" / name.replace(".png", ".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("0 .5 .5 .25 .25\n")
        if content is None:
            path.write_bytes(b"not an image")
        else:
            PIL.Image.fromarray(np.random.default_rng(content).integers(0, 255, (48, 64, 3), np.uint8)).save(path)
    (folder / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [frog]\n")


def test_yolo_images_that_cannot_be_read_are_findings(tmp_path):
    yolo(tmp_path, {"train/a.png": 1, "train/b.png": None, "val/c.png": 2})
    seen = look(tmp_path)
    by_code = {finding.code: finding for finding in seen.findings}
    assert set(by_code) == {"unreadable_image", "rare_class"}
    (record,) = by_code["unreadable_image"].records
    assert (record.split, record.image) == ("train", "images/train/b.png")


def test_anchors_are_those_of_the_recipe_or_checkpoint(shapes):
    assert look(shapes).sizes.anchors == (32, 64, 128, 256, 512)
    recipe = cascade_rcnn.find_recipe("shapes")
    seen = look(shapes, recipe=recipe)
    assert (seen.sizes.anchors, seen.sizes.resized) == ((16, 32, 64, 128, 256), "images not resized")
    started = replace(recipe, init="starter", options=replace(recipe.options, min_size=256, anchor_ratios=(1.0,)))
    seen = look(shapes, recipe=started)
    assert (seen.sizes.anchors, seen.sizes.ratios) == ((16, 32, 64, 128, 256), (1.0,))
    assert seen.sizes.resized == "short side 256, long side at most 544 pixels"


def test_neither_the_data_nor_the_page_of_others_is_replaced(shapes, tmp_path):
    shutil.copy(shapes / "val.json", tmp_path / "look.json")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("mine")
    for output, message in (
        ("", "look.json: would replace an input"),
        ("site", "index.html: would be replaced"),
        ("look.json", "cannot be written"),
    ):
        with pytest.raises(UserError, match=message):
            look(tmp_path / "look.json", images=shapes / "images", output=tmp_path / output)
    assert (tmp_path / "look.json").read_bytes() == (shapes / "val.json").read_bytes()
    assert (tmp_path / "site" / "index.html").read_text() == "mine"
    for _ in range(2):
        look(shapes / "val.json", output=tmp_path / "seen")


def test_the_command_prints_writes_and_exits(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["look", str(shapes), "--recipe", "shapes"])
    printed = capsys.readouterr().out
    assert stopped.value.code == 0
    assert "boxes by class" in printed
    assert read_json(tmp_path / "look" / "shapes" / "look.json")["goes_wrong"] is False

    broken = msgspec.json.decode((shapes / "val.json").read_bytes())
    broken["images"][0]["file_name"] = "absent.png"
    (tmp_path / "val.json").write_bytes(msgspec.json.encode(broken))
    folder = str(load_annotations(shapes / "val.json").images_dir)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["look", "val.json", "--images", folder, "--output", "seen", "--recipe", "shapes"])
    assert stopped.value.code == 1
    assert "1 image Missing image files" in " ".join(capsys.readouterr().out.split())
    assert (tmp_path / "seen" / "index.html").is_file()


@pytest.mark.slow
def test_a_model_is_run_where_one_is_given(tmp_path):
    """Unlabelled people in a photo: each one of which the starter is confident is reported."""
    from cascade_rcnn.assets import PHOTO

    with PIL.Image.open(PHOTO) as photo:
        width, height = photo.size
    data = {
        "images": [{"id": 4, "file_name": PHOTO.name, "width": width, "height": height}],
        "annotations": [{"id": 1, "image_id": 4, "category_id": 1, "bbox": [0, 0, 9, 9]}],
        "categories": [{"id": 1, "name": "person"}],
    }
    (tmp_path / "people.json").write_bytes(msgspec.json.encode(data))
    seen = look(tmp_path / "people.json", images=PHOTO.parent, checkpoint="starter", workers=0, device="cpu")
    by_code = {finding.code: finding for finding in seen.findings}
    found = [box for box in cascade_rcnn.load("starter").predict(PHOTO).confidence if box >= 0.5]
    assert by_code["missing_label"].count == len(found) > 0
    assert by_code["missing_label"].records[0].detail == f"score {max(found):.2f}"
    assert by_code["unreached_label"].records[0].annotation_id == 1


REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data is not here")
def test_blood_cells_of_bccd(tmp_path):
    """BCCD has two empty boxes, and one field of view, at two focuses, in both the training and the validation set."""
    seen = look(REAL / "bccd", output=tmp_path)
    assert [(split.name, len(split.annotations)) for split in seen.splits] == [
        ("train", 205),
        ("val", 87),
        ("test", 72),
    ]
    assert [(one.code, one.count) for one in seen.findings] == [("near_duplicate_across_splits", 1), ("lost_box", 2)]
    near, lost = seen.findings
    assert (near.records[0].image, near.records[0].other.image) == ("BloodImage_00037.jpg", "BloodImage_00038.jpg")
    assert [(record.image, record.box[2:]) for record in lost.records] == [
        ("BloodImage_00343.jpg", (0, 0)),
        ("BloodImage_00338.jpg", (0, 0)),
    ]
    assert (tmp_path / "index.html").stat().st_size < 2e6


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data is not here")
def test_people_of_coco():
    seen = look(REAL / "coco_person")
    assert {one.code: one.count for one in seen.findings} == {
        "two_classes": 13,
        "class_without_validation": 2,
        "rare_class": 16,
        "thin_box": 3,
        "unused_class": 1,
    }
    assert not seen.goes_wrong
    record = seen.findings[0].records[0]  # a pickup, annotated both as a car and as a truck
    assert (record.image, record.label, record.other.label) == ("00619.jpg", "truck", "car")
