"""AP from matches, for arbitrary weights of the images."""

from pathlib import Path

import numpy as np
import pytest

from cascade_rcnn.config import Category
from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.data.assemble import assemble
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation import evaluate_boxes
from cascade_rcnn.evaluation.matches import AveragePrecision, Matches, match, mean_over_classes, pair

CATEGORIES = (Category(id=3, name="cat"), Category(id=8, name="dog"))


def ground_truth(rows: np.ndarray, image_ids: list[int]) -> Annotations:
    """Return annotations from rows image position, x, y, w, h, label, ignore."""
    number = len(image_ids)
    return assemble(
        source="truth",
        images_dir=Path(),
        categories=CATEGORIES,
        image_ids=np.array(image_ids),
        image_sizes=np.full((number, 2), 100),
        file_names=[f"{k}.png" for k in image_ids],
        box_images=rows[:, 0].astype(np.int64),
        boxes=rows[:, 1:5],
        areas=rows[:, 3] * rows[:, 4],
        labels=rows[:, 5].astype(np.int64),
        ignore=rows[:, 6] > 0,
        ids=np.arange(1, len(rows) + 1),
    )


def random_set(seed: int, images: int) -> tuple[np.ndarray, np.ndarray]:
    """Return objects, a few of them crowds, and detections near them, shifted, of the other class, or anywhere."""
    rng = np.random.default_rng(seed)
    truth = np.column_stack(
        [
            rng.integers(images, size=4 * images),
            rng.uniform(0, 60, (4 * images, 2)),
            rng.uniform(10, 40, (4 * images, 2)),
            rng.integers(1, 3, 4 * images),
            rng.random(4 * images) < 0.1,
        ]
    )
    found = truth[rng.integers(len(truth), size=12 * images)]
    boxes = found[:, 1:5] + rng.normal(0, 3, (len(found), 4))
    label = np.where(rng.random(len(found)) < 0.8, found[:, 5], 3 - found[:, 5]).astype(int)
    category = np.array([0, 3, 8])[label]
    detections = np.column_stack([found[:, 0], boxes[:, :2], np.abs(boxes[:, 2:]), rng.random(len(found)), category])
    return truth, detections


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_with_equal_weights_it_is_the_evaluator_s(seed):
    truth, detections = random_set(seed, 12)
    annotations = ground_truth(truth, list(range(5, 17)))
    detections[:, 0] += 5
    found = match(annotations, detections)
    seen = zip(annotations.image_ids.numpy()[found.image], found.score, strict=True)
    assert set(seen) <= set(map(tuple, detections[:, [0, 5]]))
    expected = evaluate_boxes(annotations, detections)
    np.testing.assert_allclose(AveragePrecision(found)(), expected.precision_by_iou, atol=1e-12)


@pytest.mark.parametrize("seed", [3, 4])
def test_a_weight_is_that_many_copies_of_the_image(seed):
    truth, detections = random_set(seed, 8)
    weights = np.array([0, 1, 2, 3, 0, 1, 1, 2])
    copies = np.repeat(np.arange(8), weights)  # new image k is a copy of image copies[k]
    again = [
        np.column_stack([np.full((truth[:, 0] == i).sum(), k), truth[truth[:, 0] == i, 1:]])
        for k, i in enumerate(copies)
    ]
    seen = [
        np.column_stack([np.full((detections[:, 0] == i).sum(), k + 1), detections[detections[:, 0] == i, 1:]])
        for k, i in enumerate(copies)
    ]
    repeated = evaluate_boxes(
        ground_truth(np.concatenate(again), list(range(1, len(copies) + 1))), np.concatenate(seen)
    )
    found = match(ground_truth(truth, list(range(8))), detections)
    np.testing.assert_allclose(AveragePrecision(found)(weights), repeated.precision_by_iou, atol=1e-12)


def test_by_hand():
    """Two objects; right, wrong, right: precision 1 up to recall .5, then 2/3."""
    flags = np.array([[True], [False], [True]]).repeat(10, axis=1)
    found = Matches(
        image=np.array([0, 0, 1]),
        label=np.array([1, 1, 1]),
        score=np.array([0.9, 0.8, 0.7]),
        right=flags,
        wrong=~flags,
        truth=np.array([[1], [1]]),
    )
    precision = AveragePrecision(found)
    np.testing.assert_allclose(precision(), (51 + 50 * 2 / 3) / 101)
    np.testing.assert_allclose(precision(np.array([1, 0])), 1.0)
    np.testing.assert_allclose(precision(np.array([0, 2])), 1.0)
    np.testing.assert_allclose(precision(np.array([0, 0])), np.nan)


def test_crowds_are_neither_right_nor_wrong_nor_to_be_found():
    truth = np.array([[0, 10, 10, 20, 20, 1, 0], [0, 50, 50, 40, 40, 1, 1]])
    detections = np.array([[7, 10, 10, 20, 20, 0.5, 3], [7, 55, 55, 20, 20, 0.9, 3]])
    found = match(ground_truth(truth, [7]), detections)
    assert found.truth.tolist() == [[1, 0]]
    assert found.right.sum() == 10
    assert found.wrong.sum() == 0
    np.testing.assert_allclose(AveragePrecision(found)(), 1.0)


def test_nothing_found_and_what_is_refused():
    truth = ground_truth(np.array([[0, 10, 10, 20, 20, 2, 0]]), [1])
    found = match(truth, np.zeros((0, 7)))
    assert len(found.score) == 0
    assert (AveragePrecision(found)() == 0).all()
    with pytest.raises(UserError, match="image id"):
        match(truth, np.array([[2, 1, 1, 5, 5, 0.5, 3]]))


def test_pairs_say_which_detection_found_which_object():
    """Rows are those of the input, objects those of the annotations; IoU 30/50 = .6 meets three thresholds."""
    truth = ground_truth(np.array([[0, 10, 10, 40, 40, 1, 0], [1, 10, 10, 40, 40, 2, 0]]), [4, 7])
    detections = np.array([[7, 20, 10, 40, 40, 0.5, 8], [4, 60, 60, 20, 20, 0.7, 3], [4, 10, 10, 40, 40, 0.6, 3]])
    found = pair(truth, detections)
    objects = dict(zip(found.row.tolist(), found.object.tolist(), strict=True))
    assert objects == {0: [1] * 3 + [-1] * 7, 1: [-1] * 10, 2: [0] * 10}
    np.testing.assert_array_equal(found.matches.score, detections[found.row, 5])


@pytest.mark.parametrize(("limit", "counted"), [(3, 3), (100, 100), (150, 120)])
def test_the_limit_is_per_image_and_class(limit, counted):
    places = [(k % 11 * 9, k // 11 * 9) for k in range(120)]
    truth = ground_truth(np.array([[0, x, y, 8, 8, label, 0] for x, y in places for label in (1, 2)]), [7])
    detections = np.array([[7, x, y, 8, 8, 0.9, category] for x, y in places for category in (3, 8)])
    found = pair(truth, detections, limit).matches
    assert np.bincount(found.label).tolist() == [0, counted, counted]
    expected = evaluate_boxes(truth, detections, limit=limit)
    np.testing.assert_allclose(AveragePrecision(found)(), expected.precision_by_iou, atol=1e-12)


def test_ap_by_class_and_its_mean():
    truth = ground_truth(np.array([[0, 10, 10, 20, 20, 1, 0], [1, 10, 10, 20, 20, 2, 0]]), [1, 2])
    precision = AveragePrecision(match(truth, np.array([[1, 10, 10, 20, 20, 0.5, 3]])))
    np.testing.assert_allclose(precision.classes(), [[1] * 10, [0] * 10])
    np.testing.assert_allclose(precision(), 0.5)
    only = precision.classes(np.array([1, 0]))  # without the dog's image
    np.testing.assert_allclose(only, [[1] * 10, [np.nan] * 10])
    np.testing.assert_allclose(mean_over_classes(only), 1.0)
