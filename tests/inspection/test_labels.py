"""Labels that a model doubts: hand-made detections on clean data."""

import numpy as np
import pytest

from cascade_rcnn.data import load_annotations
from cascade_rcnn.inspection.labels import SplitDetections, label_findings
from cascade_rcnn.inspection.splits import read_split


@pytest.fixture
def split(data):
    """Return three images; the second cannot be read, so rows and images differ from those of the annotations."""
    data.val["annotations"][5]["iscrowd"] = 1
    del data.images["v2.jpg"]
    annotations = load_annotations(data.save() / "val.json")
    return read_split("val", annotations, is_training=False, max_megapixels=9, advance=lambda images: None)


def detections(split, *changes):
    """Return a perfect model's detections in images 1 and 3, score .9, with some rows changed (None: removed)."""
    truth = split.annotations
    ids = truth.image_ids.numpy()[split.owners]
    rows = np.column_stack([ids, truth.boxes.numpy(), np.full(len(ids), 0.9), truth.labels.numpy()])
    for row, values in changes:
        rows[row] = np.nan if values is None else values
    return rows[(ids != 2) & ~np.isnan(rows[:, 0])]


def test_a_model_that_agrees_doubts_nothing(split):
    assert label_findings([SplitDetections(split, detections(split))]) == []


def test_an_object_without_a_label(split):
    extra = np.array([[3, 40, 75, 16, 16, 0.8, 2], [3, 100, 75, 16, 16, 0.4, 2], [1, 76, 60, 16, 16, 0.95, 1]])
    found = np.concatenate([detections(split), extra])
    (finding,) = label_findings([SplitDetections(split, found)])
    assert (finding.code, finding.amount) == ("missing_label", "2 detections")  # the one of score .4 is not confident
    first, second = finding.records
    assert (first.image, first.box, first.label, first.detail) == ("v1.jpg", (76, 60, 16, 16), "frog", "score 0.95")
    assert (second.image, second.box, second.label, second.annotation_id) == ("v3.jpg", (40, 75, 16, 16), "toad", None)


def test_a_loose_box_is_not_another_object(split):
    """Its IoU with the label is 8 x 16 / (2 x 256 - 128) = 1/3."""
    loose = np.array([[1, 4 + 8, 10, 16, 16, 0.8, 1]])
    assert label_findings([SplitDetections(split, np.concatenate([detections(split), loose]))]) == []


def test_another_class(split):
    row = 17  # of image 3: a toad at 34, 10
    (finding,) = label_findings([SplitDetections(split, detections(split, (row, [3, 34, 10, 16, 16, 0.7, 1])))])
    assert (finding.code, finding.count) == ("class_disagreement", 1)
    (record,) = finding.records
    assert (record.image, record.annotation_id, record.index, record.label) == ("v3.jpg", 301, 1, "toad")
    assert record.detail == "predicted as frog, score 0.70, IoU 1.00"


def test_a_label_that_nothing_reaches_largest_first(split):
    split.annotations.areas[19] = 900.0
    (finding,) = label_findings([SplitDetections(split, detections(split, (0, None), (19, None)))])
    assert (finding.code, finding.count) == ("unreached_label", 2)
    assert [(record.image, record.annotation_id) for record in finding.records] == [("v3.jpg", 303), ("v1.jpg", 100)]
    assert finding.records[0].detail == "IoU 0.00 with the nearest detection"


def test_without_any_detection_every_label_is_unreached(split):
    (finding,) = label_findings([SplitDetections(split, np.zeros((0, 7)))])
    assert (finding.code, finding.count) == ("unreached_label", 15)  # of 16 in readable images, without the crowd
