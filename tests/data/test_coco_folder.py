import json

import pytest

from cascade_rcnn.data.coco_folder import coco_files

COCO = json.dumps({"info": {}, "images": [], "annotations": [], "categories": []})


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train/_annotations.coco.json", "valid/_annotations.coco.json"], ["train", "valid"]),
        (["annotations/instances_train2017.json", "annotations/captions_train2017.json"], ["train2017"]),
        (["annotations/instances_default.json"], ["default"]),
        (["result.json"], ["result"]),
        (["train/labels.json", "val2/a.json", "other/a.json", "test/a.json", "test/b.json"], ["train", "val2"]),
        (["train.json", "val.json", ".hidden.json"], ["train", "val"]),
    ],
)
def test_layouts(tmp_path, names, splits):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(COCO)
    (tmp_path / "notes.json").write_text(json.dumps({"categories": [], "info": {}}))
    (tmp_path / "detections.json").write_text(json.dumps([{"image_id": 1}]))
    assert list(coco_files(tmp_path)) == splits


def test_nothing_there(tmp_path):
    assert coco_files(tmp_path) == {}
