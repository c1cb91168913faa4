"""`split`: nothing is lost or doubled, copies stay together, and the files find their images."""

import json
import math
import shutil

import numpy as np
import PIL.Image
import pytest

from cascade_rcnn import UserError, cli, load_annotations, split
from cascade_rcnn.data import check_images, save_coco


@pytest.fixture
def own(shapes, tmp_path):
    """Return a copy of the dataset, for tests that change it."""
    return shutil.copytree(shapes, tmp_path / "own")


def content(*parts):
    """Return the file name, size and boxes with classes of each image, by its id."""
    return {
        int(part.image_ids[i]): (
            part.path(i).resolve(),
            part.image_sizes[i].tolist(),
            part.boxes[part.rows(i)].tolist(),
            [part.class_names[label - 1] for label in part.labels[part.rows(i)].tolist()],
        )
        for part in parts
        for i in range(len(part))
    }


def test_the_files_hold_every_image_once_where_it_is(shapes, tmp_path):
    whole = load_annotations(shapes / "train.json")
    parts = split(shapes / "train.json", tmp_path / "new" / "halves", fraction=0.25)
    assert [len(part) for part in parts] == [6, 2]
    written = [load_annotations(tmp_path / "new" / "halves", split=name) for name in ("train", "val")]
    assert content(*written) == content(*parts) == content(whole)
    assert [len(check_images(part)) for part in written] == [6, 2]  # also with sizes as annotated


def test_names_are_relative_so_that_the_folder_can_move(shapes, tmp_path):
    shutil.copytree(shapes, tmp_path / "one" / "shapes")
    split(tmp_path / "one" / "shapes" / "train.json", tmp_path / "one" / "halves")
    (tmp_path / "one").rename(tmp_path / "other")
    assert len(check_images(load_annotations(tmp_path / "other" / "halves", split="val"))) > 0


def test_an_output_folder_below_a_link(shapes, tmp_path):
    (tmp_path / "deep" / "place").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "place")
    split(shapes / "train.json", tmp_path / "link" / "halves")
    assert len(check_images(load_annotations(tmp_path / "link" / "halves", split="val"))) > 0


def test_masks_crowds_and_areas_are_kept(own, tmp_path):
    file = json.loads((own / "train.json").read_text())
    row = file["annotations"][0]
    row |= {"iscrowd": 1, "area": 12.5, "segmentation": [[1, 1, 9, 1, 9, 9]]}
    (own / "train.json").write_text(json.dumps(file))
    split(own / "train.json", tmp_path / "halves")
    written = [json.loads((tmp_path / f"halves/{name}.json").read_text()) for name in ("train", "val")]
    (kept,) = [one for file in written for one in file["annotations"] if one["id"] == row["id"]]
    assert {name: kept[name] for name in ("iscrowd", "area", "segmentation")} == {
        "iscrowd": 1,
        "area": 12.5,
        "segmentation": [[1, 1, 9, 1, 9, 9]],
    }


def test_copies_stay_together(tmp_path):
    """Six pictures, each also in half the size, and one of them twice."""
    rng, images = np.random.default_rng(0), []
    for k in range(6):
        coarse = PIL.Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
        picture = coarse.resize((96, 96), PIL.Image.Resampling.BICUBIC)
        picture.save(tmp_path / f"a{k}.png")
        picture.resize((48, 48)).save(tmp_path / f"b{k}.jpg")
        images += [(f"a{k}.png", 96), (f"b{k}.jpg", 48)]
    shutil.copy(tmp_path / "a0.png", tmp_path / "c0.png")
    images.append(("c0.png", 96))
    file = {
        "images": [{"id": i, "file_name": name, "width": w, "height": w} for i, (name, w) in enumerate(images)],
        "annotations": [{"id": i, "image_id": i, "bbox": [4, 4, 20, 20], "category_id": 1} for i in range(len(images))],
        "categories": [{"id": 1, "name": "part"}],
    }
    (tmp_path / "all.json").write_text(json.dumps(file))
    for seed in range(4):
        parts = split(tmp_path / "all.json", fraction=0.4, seed=seed)
        shown = [{name[1] for name in part.file_names} for part in parts]
        assert shown[0] | shown[1] == set("012345")
        assert not shown[0] & shown[1]


def test_augmented_versions_of_an_image_stay_together(tmp_path):
    """As Roboflow names them: three versions of each of four images, whose pixels differ."""
    rng, names = np.random.default_rng(0), [f"im{k}_jpg.rf.{version}f{k}.jpg" for version in "abc" for k in range(4)]
    for name in names:
        PIL.Image.fromarray(rng.integers(0, 256, (48, 48, 3), np.uint8)).save(tmp_path / name)
    file = {
        "images": [{"id": i, "file_name": name, "width": 48, "height": 48} for i, name in enumerate(names)],
        "annotations": [{"image_id": i, "bbox": [4, 4, 20, 20], "category_id": 1} for i in range(len(names))],
        "categories": [{"id": 1, "name": "part"}],
    }
    (tmp_path / "all.json").write_text(json.dumps(file))
    for seed in range(4):
        shown = [{name[:3] for name in part.file_names} for part in split(tmp_path / "all.json", seed=seed)]
        assert [len(one) for one in shown] == [3, 1]


def test_mistakes_are_one_line(shapes, tmp_path):
    file = shapes / "train.json"
    for fraction in (0, 1, True, -1, 1.5, math.nan, math.inf, "half"):
        with pytest.raises(UserError, match=f"fraction is {fraction!r}; give a number between 0 and 1, such as 0.2"):
            split(file, fraction=fraction)
    with pytest.raises(UserError, match="split can only be given with the path"):
        split(load_annotations(file), split="train")
    with pytest.raises(UserError, match="has the splits train, val; choose one with --split"):
        split(shapes)
    (tmp_path / "val.json").write_text("mine")
    with pytest.raises(UserError, match=r"val\.json: exists; choose another output folder"):
        split(file, tmp_path)
    assert (tmp_path / "val.json").read_text() == "mine"
    one = load_annotations(file).select(np.arange(8) == 3)
    with pytest.raises(UserError, match="1 image cannot be split"):
        split(one)


def test_one_file_is_not_left_without_the_other(shapes, tmp_path, monkeypatch):
    def full(data, path):
        if path.name == "val.json":
            raise UserError("no space left")
        save_coco(data, path)

    monkeypatch.setattr("cascade_rcnn.api.split.save_coco", full)
    with pytest.raises(UserError, match="no space left"):
        split(shapes / "train.json", tmp_path)
    assert not list(tmp_path.iterdir())


def test_images_that_are_missing(own, capsys):
    next((own / "images" / "train").iterdir()).unlink()
    with pytest.raises(UserError, match="1 of 8 images cannot be used: 1 is missing"):
        split(own / "train.json")
    assert sum(map(len, split(own / "train.json", bad_images="skip"))) == 7
    assert "they are skipped" in capsys.readouterr().err


def test_a_class_without_validation_images_is_named(own, capsys):
    file = json.loads((own / "train.json").read_text())
    file["categories"].append({"id": 9, "name": "hexagon"})
    file["annotations"][0]["category_id"] = 9
    (own / "train.json").write_text(json.dumps(file))
    training, validation = split(own / "train.json")
    assert "no validation image shows 'hexagon', so its AP cannot be measured" in capsys.readouterr().err
    assert training.class_names == validation.class_names


def test_the_command(shapes, tmp_path, capsys):
    cli.main(["split", str(shapes), "--split", "train", "--output", str(tmp_path / "halves"), "--fraction", "0.5"])
    said = capsys.readouterr().out
    assert f"{tmp_path / 'halves' / 'val'}.json: 4 images" in said
    assert f"next: cascade-rcnn train auto --data {tmp_path / 'halves'}" in said


def test_images_of_a_fixed_camera_are_divided(tmp_path, capsys):
    """Twelve of 16 images look the same; two of these are the same file, and count once."""
    rng, names = np.random.default_rng(0), [f"{k:02d}.png" for k in range(16)]
    still = PIL.Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize((96, 96))
    for k, name in enumerate(names):
        pixels = np.array(still) if k < 12 else rng.integers(0, 256, (96, 96, 3), np.uint8)
        pixels[10:14, 5 * k : 5 * k + 4] = 255
        PIL.Image.fromarray(pixels).save(tmp_path / name)
    shutil.copy(tmp_path / "00.png", tmp_path / "01.png")
    file = {
        "images": [{"id": i, "file_name": name, "width": 96, "height": 96} for i, name in enumerate(names)],
        "annotations": [{"image_id": i, "bbox": [4, 4, 20, 20], "category_id": 1} for i in range(len(names))],
        "categories": [{"id": 1, "name": "part"}],
    }
    (tmp_path / "all.json").write_text(json.dumps(file))
    for seed in range(4):
        parts = split(tmp_path / "all.json", fraction=0.25, seed=seed)
        assert [len(part) for part in parts] == [12, 4]
        assert sum(not {"00.png", "01.png"}.isdisjoint(part.file_names) for part in parts) == 1
    assert "11 of 16 images look nearly the same, as with a fixed camera, and were divided" in capsys.readouterr().err
