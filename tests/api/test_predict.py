"""`predict` from Python, including with a model given as an object."""

import json
import math
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from cascade_rcnn import UserError, create_model, load, predict_files, save


@pytest.fixture
def detector():
    torch.manual_seed(0)
    sizes = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 8, "proposals": 20, "min_size": 64}
    return create_model("faster_rcnn_resnet18_fpn", 2, score_threshold=0.0, **sizes)


def test_a_threshold_below_the_model_s_own_is_mentioned(detector, shapes, tmp_path, capsys):
    image = shapes / "images" / "val"
    save(detector, tmp_path / "model.safetensors")
    model = load(tmp_path / "model.safetensors", score_threshold=0.05)
    note = (
        "a threshold of 0.01 finds no more than 0.05, the model's own score_threshold; `load` it with "
        "score_threshold=0.01, and `save` it for commands and exports"
    )
    for options in ({"threshold": 0.01}, {"thresholds": {"class 1": 0.01}}):
        predict_files(model, image, output=tmp_path / "out", pictures=False, overwrite=True, **options)
        assert f"note: {note}" in capsys.readouterr().err.splitlines()
        with pytest.warns(UserWarning, match=note):
            model.predict(np.zeros((8, 8, 3), np.uint8), **options)
    for options in ({}, {"threshold": 0.05}):
        predict_files(model, image, output=tmp_path / "out", pictures=False, overwrite=True, **options)
        assert "finds no more" not in capsys.readouterr().err
    with warnings.catch_warnings(action="error"):
        load(tmp_path / "model.safetensors", score_threshold=0.6).predict(np.zeros((8, 8, 3), np.uint8))


def test_an_object_finds_what_its_file_finds_and_goes_on(detector, shapes, tmp_path):
    save(detector, tmp_path / "model.safetensors")
    images = shapes / "images" / "val"
    by_file = predict_files(tmp_path / "model.safetensors", [images], output=tmp_path / "a", pictures=False)
    by_object = predict_files(detector, images, output=tmp_path / "b", pictures=False, formats=["coco"])
    assert (by_file.done, by_object.done, by_object.failed) == (4, 4, 0)
    found = [json.loads((tmp_path / name / "detections.json").read_text()) for name in "ab"]
    for one, other in zip(*found, strict=True):  # a model from a file is folded and rounds differently
        assert one | {"bbox": 0, "score": 0} == other | {"bbox": 0, "score": 0}
        assert [*one["bbox"], one["score"]] == pytest.approx([*other["bbox"], other["score"]], abs=1e-3)
    assert by_object.boxes == len(found[0]) > 0
    assert [path.name for path in by_object.files] == ["detections.json", "coco.json"]
    again = predict_files(detector, images, output=tmp_path / "b", pictures=False)
    assert (again.done, again.before) == (0, 4)
    with torch.no_grad():
        detector.roi_heads.heads[0].classifier.bias.add_(1)
    with pytest.raises(UserError, match="has the results of another command"):
        predict_files(detector, images, output=tmp_path / "b", pictures=False)


def test_images_and_ids_of_annotations(detector, shapes, tmp_path):
    summary = predict_files(detector, annotations=shapes / "val.json", output=tmp_path, pictures=False)
    assert summary.done == 4
    truth = json.loads((shapes / "val.json").read_text())
    ids = {image["id"]: image["file_name"] for image in truth["images"]}
    found = json.loads((tmp_path / "detections.json").read_text())
    assert {row["image_id"]: row["file_name"] for row in found} == ids


def test_other_ids_of_classes_in_the_annotations_are_noted(detector, shapes, tmp_path, capsys):
    truth = json.loads((shapes / "val.json").read_text()) | {"annotations": []}
    ours = [{"id": one.id, "name": one.name} for one in detector.config.categories]
    for ids, noted in (((1, 2), False), ((2, 1), True)):
        classes = [one | {"id": k} for one, k in zip(ours, ids, strict=True)]
        (tmp_path / "val.json").write_text(json.dumps(truth | {"categories": classes}))
        folder = tmp_path / str(ids[0])
        given = {"annotations": tmp_path / "val.json", "images": shapes / "images", "pictures": False}
        predict_files(detector, output=folder, **given)
        note = f"val.json: has no class {ours[0]['name']!r} with id 1, as the model has; `category_id` in detections"
        assert (note in capsys.readouterr().err) == noted


def test_other_ids_in_the_annotations_replace_those_of_an_earlier_call(detector, shapes, tmp_path):
    shutil.copytree(shapes / "images", tmp_path / "images")
    truth = json.loads((shapes / "val.json").read_text())
    for offset, done in ((0, 4), (500, 4), (500, 0)):
        images = [image | {"id": image["id"] + offset} for image in truth["images"]]
        (tmp_path / "val.json").write_text(json.dumps(truth | {"images": images, "annotations": []}))
        summary = predict_files(detector, annotations=tmp_path / "val.json", output=tmp_path / "out", pictures=False)
        assert (summary.done, summary.before) == (done, 4 - done)
        found = json.loads((tmp_path / "out" / "detections.json").read_text())
        assert {row["image_id"] for row in found} == {image["id"] for image in images}


def test_images_of_another_split_with_the_same_names_are_not_those_of_the_annotations(detector, shapes, tmp_path):
    given = {"annotations": shapes / "train.json", "pictures": False}
    summary = predict_files(detector, shapes / "images" / "val", output=tmp_path / "val", **given)
    assert (summary.done, summary.unnamed) == (0, 4)
    shutil.copytree(shapes / "images" / "val", tmp_path / "copies")
    summary = predict_files(detector, tmp_path / "copies", output=tmp_path / "copied", **given)
    assert (summary.done, summary.unnamed) == (4, 0)


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_overwriting_leaves_nothing_of_the_earlier_prediction(detector, shapes, tmp_path):
    images, output = sorted((shapes / "images" / "val").iterdir()), tmp_path / "out"
    predict_files(detector, images[:2], output=output, formats=["coco", "yolo"])
    assert {path.name for path in output.iterdir()} >= {"coco.json", "yolo", "pictures"}
    predict_files(detector, images[2:3], output=output, overwrite=True)
    assert {path.name for path in output.iterdir()} == {"detections.json", "images.jsonl", "pictures"}
    assert [path.name for path in (output / "pictures").iterdir()] == [images[2].name]


def test_pictures_of_others_are_not_overwritten(detector, shapes, tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "mine.jpg").touch()
    with pytest.raises(UserError, match=r"pictures: would be replaced, but was not written by this command"):
        predict_files(detector, [shapes / "images" / "val"], output=tmp_path, pictures=False, overwrite=True)
    assert (tmp_path / "pictures" / "mine.jpg").exists()


def test_what_has_no_effect_is_refused(detector, shapes, tmp_path):
    images = shapes / "images" / "val"
    for more in ({"split": "val"}, {"images": images}):
        with pytest.raises(UserError, match="can only be given with the path of an annotation file"):
            predict_files(detector, images, output=tmp_path / "out", **more)
    with pytest.raises(UserError, match="overlap is that of tiles; give tiles"):
        predict_files(detector, images, output=tmp_path / "out", overlap=0.5)
    assert not (tmp_path / "out").exists()


def test_paths_may_come_from_any_iterable(detector, shapes, tmp_path):
    images = sorted((shapes / "images" / "val").iterdir())
    summary = predict_files(detector, (path for path in images[:2]), output=tmp_path / "out", pictures=False)
    assert summary.done == 2
    with pytest.raises(UserError, match="99: cannot open this video"):  # the number of a camera
        predict_files(detector, 99, output=tmp_path / "camera")


@pytest.mark.parametrize("overwrite", [False, True])
def test_neither_the_input_nor_files_of_others_are_replaced(detector, shapes, tmp_path, overwrite):
    album = tmp_path / "album"
    shutil.copytree(shapes / "images" / "val", album / "pictures")
    truth = tmp_path / "truth"
    truth.mkdir()
    shutil.copy(shapes / "val.json", truth / "coco.json")
    (tmp_path / "link").symlink_to(album)
    before = content(tmp_path)
    images = album / "pictures"
    for given, output, more in (
        ([images], album, {}),
        ([images], tmp_path / "link", {}),
        ([], album, {"annotations": truth / "coco.json", "images": images}),
        ([], truth, {"annotations": truth / "coco.json", "images": images, "formats": ["coco"]}),
    ):
        with pytest.raises(UserError, match="would "):
            predict_files(detector, given, output=output, overwrite=overwrite, **more)
        assert content(tmp_path) == before
    with pytest.raises(UserError, match="would be replaced, but was not written by this command"):
        predict_files(detector, [images], output=album, pictures=False, overwrite=overwrite)  # a later call would do it
    (album / "images.jsonl").write_text("")  # of an earlier prediction
    before = content(tmp_path)
    with pytest.raises(UserError, match="would replace an input"):
        predict_files(detector, [images], output=album, overwrite=True)
    with pytest.raises(UserError, match="would replace an input"):
        predict_files(
            detector,
            annotations=truth / "coco.json",
            images=tmp_path / "link" / "pictures",
            output=album,
            overwrite=True,
        )
    assert content(tmp_path) == before


def test_mistakes_are_one_line(detector, tmp_path):
    with pytest.raises(UserError, match="no images found"):
        predict_files("nowhere.safetensors", [tmp_path / "x*.png"], output=tmp_path)
    with pytest.raises(UserError, match="max_detections: cannot be set"):
        predict_files(detector, [], annotations="x", output=tmp_path, max_detections=3)
    for videos, options, message in (
        (["a.jpg"], {"track": True}, "step, start, end and track only apply to a video"),
        (["a.jpg", "b.mp4"], {}, "b.mp4: give a single video"),
        (["https://host/a.JPG?x=1"], {}, r"a.JPG\?x=1: images are not read from URLs; download it"),
        ([np.zeros((4, 4, 3))], {}, r"paths contains ndarray; give files, folders or patterns \(`model.predict`"),
        (None, {}, "no images given"),
        (["b.mp4"], {"step": 0}, "step is 0"),
        (["b.mp4"], {"start": math.nan}, "start is nan"),
        (["b.mp4"], {}, "b.mp4: cannot open this video"),
    ):
        with pytest.raises(UserError, match=message):
            predict_files(detector, videos, output=tmp_path / "no", **options)
    for options, message in (
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 1.5}, "batch_size is 1.5; give a whole number"),
        ({"threshold": math.nan}, "threshold is nan; give 0 to 1"),
        ({"treshold": 0.9}, r"predict_files has no option 'treshold'; did you mean 'threshold'\?"),
        ({"formats": "coco"}, r"formats is 'coco'; give a list, such as \['coco'\]"),
        ({"formats": ["cocoo"]}, r"formats is 'cocoo'; did you mean 'coco'\?; give coco, cvat"),
    ):
        with pytest.raises(UserError, match=message):
            predict_files("starter", ["x"], output=tmp_path, **options)
    with pytest.raises(UserError, match="a path is empty"):
        predict_files(detector, [""], output=tmp_path)


def test_options_do_in_files_what_they_do_in_memory(detector, shapes, tmp_path):
    options = {"tiles": 48, "overlap": 0.5, "tta": ["flip"], "tta_scales": [0.5]}
    options["classes"] = detector.class_names[1:]
    images = [str(sorted((shapes / "images" / "val").iterdir())[0])]
    predict_files(detector, images, output=tmp_path, pictures=False, threshold=0.3, **options)
    found = json.loads((tmp_path / "detections.json").read_text())
    in_memory = detector.predict(images, threshold=0.3, **options)
    assert len(found) == sum(len(one) for one in in_memory) > 0
    corners = [[x, y, x + w, y + h] for x, y, w, h in (row["bbox"] for row in found)]
    wanted = [box for one in in_memory for box in one.xyxy.tolist()]
    for ours, theirs in zip(corners, wanted, strict=True):
        assert ours == pytest.approx(theirs, abs=0.05)  # the model is folded for a stream
    assert {row["category_name"] for row in found} == set(detector.class_names[1:])
    plain = detector.predict(images, threshold=0.3)
    assert len(found) != sum(len(one) for one in plain)
    with pytest.raises(UserError, match=r"another command .overlap 0\.5, not 0\.25"):
        predict_files(detector, images, output=tmp_path, pictures=False, threshold=0.3, **options | {"overlap": 0.25})


def test_images_that_are_gone_are_in_the_results_no_more(detector, shapes, tmp_path):
    images, output = tmp_path / "images", tmp_path / "out"
    shutil.copytree(shapes / "images" / "val", images)
    names = sorted(path.name for path in images.iterdir())
    predict_files(detector, images, output=output, formats=["coco", "voc"])
    gone = (images / names[1]).read_bytes()
    (images / names[1]).unlink()
    summary = predict_files(detector, images, output=output)  # also brings the other formats up to date
    found = json.loads((output / "detections.json").read_text())
    assert {(row["image_id"], row["file_name"]) for row in found} == {(k + 1, names[k]) for k in (0, 2, 3)}
    assert (summary.before, summary.boxes) == (3, len(found))
    coco = json.loads((output / "coco.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == [names[0], *names[2:]]
    assert len(list((output / "voc" / "Annotations").iterdir())) == 3
    assert {path.name for path in summary.files} == {"detections.json", "pictures", "coco.json", "voc"}
    (images / names[1]).write_bytes(gone)
    (images / "zz.png").write_bytes(gone)
    predict_files(detector, images, output=output)
    found = json.loads((output / "detections.json").read_text())
    assert {(row["image_id"], row["file_name"]) for row in found} == {*enumerate([*names, "zz.png"], start=1)}


def test_images_that_the_annotations_name_no_more_are_in_the_results_no_more(detector, shapes, tmp_path):
    """Nor are they when another image has their id now."""
    images = shapes / "images" / "val"
    truth = json.loads((shapes / "val.json").read_text())
    first, second, third, _ = truth["images"]
    for paths in ((), (images,)):
        output = tmp_path / f"out{len(paths)}"
        for chosen in ([first, second], [first, third | {"id": second["id"]}]):
            (tmp_path / "val.json").write_text(json.dumps(truth | {"images": chosen, "annotations": []}))
            predict_files(detector, paths, annotations=tmp_path / "val.json", images=images, output=output)
            found = json.loads((output / "detections.json").read_text())
            names = {(row["image_id"], Path(row["file_name"]).name) for row in found}
            assert names == {(one["id"], Path(one["file_name"]).name) for one in chosen}


def test_annotations_do_not_name_the_frames_of_a_video(detector, shapes, tmp_path):
    with pytest.raises(UserError, match=r"annotations: film\.mp4 is a video"):
        predict_files(detector, "film.mp4", annotations=shapes / "val.json", output=tmp_path / "out")
