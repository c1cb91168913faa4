"""TIDE's kinds and the confusion matrix, one error of each kind at a time."""

import numpy as np
import pytest

from cascade_rcnn.reporting.errors import confusion, missed, split

CAT, DOG = 1, 2
OBJECT = (0, 10, 10, 40, 40, CAT)
RIGHT = (0, 10, 10, 40, 40, 0.9, CAT)


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        ((0, 30, 10, 40, 40, 0.8, CAT), "localization"),  # IoU 20 / 60
        ((0, 10, 10, 40, 40, 0.8, DOG), "class"),
        ((0, 30, 10, 40, 40, 0.8, DOG), "class and box"),
        ((0, 11, 10, 40, 40, 0.8, CAT), "duplicates"),
        ((0, 120, 120, 40, 40, 0.8, CAT), "background"),
    ],
)
def test_one_wrong_detection(scene, found, kind):
    found_split = split(scene([OBJECT, (1, 10, 10, 40, 40, DOG)], [RIGHT, found]), 0.5)
    wrong = {name: number for name, number in found_split.counts.items() if number and name != "missed"}
    assert wrong == {kind: 1}
    assert found_split.counts["missed"] == 1  # the dog in the second image


def test_a_localization_error_costs_what_fixing_it_gains(scene):
    """The only detection has IoU 30/50 = .6: correct at .5, while at .75 its localization costs the entire AP."""
    evidence = scene([OBJECT], [(0, 20, 10, 40, 40, 0.9, CAT)])
    loose, tight = split(evidence, 0.5), split(evidence, 0.75)
    assert loose.ap == pytest.approx(1)
    assert sum(loose.cost.values()) == pytest.approx(0)
    assert tight.ap == pytest.approx(0)
    assert tight.cost["localization"] == pytest.approx(1)
    assert tight.worst == "localization"


def test_a_missed_object_costs_its_share(scene):
    """One of two objects is found: AP is 51/101 at IoU .5, and would be 1 without the missed object."""
    found = split(scene([OBJECT, (1, 10, 10, 40, 40, CAT)], [RIGHT]), 0.5)
    assert found.ap == pytest.approx(51 / 101)
    assert found.cost["missed"] == pytest.approx(50 / 101)
    assert found.counts["missed"] == 1


def test_a_class_that_is_never_detected_costs_its_share(scene):
    """The cat is found; AP is .5, and would be 1 with the two dogs."""
    truth = [OBJECT, (1, 10, 10, 40, 40, DOG), (1, 100, 100, 40, 40, DOG)]
    found = split(scene(truth, [RIGHT]), 0.5)
    assert found.ap == pytest.approx(0.5)
    assert found.cost["missed"] == pytest.approx(0.5)
    assert found.counts["missed"] == 2
    assert split(scene(truth, []), 0.5).cost["missed"] == pytest.approx(1)  # nor is the cat


def test_missed_objects_of_a_class_without_a_right_detection_count_as_found(scene):
    """One dog is found imprecisely (IoU 20/60) and one missed: finding either gives recall 1/2, and AP 51/101."""
    truth = [OBJECT, (1, 10, 10, 40, 40, DOG), (1, 100, 100, 40, 40, DOG)]
    found = split(scene(truth, [RIGHT, (1, 30, 10, 40, 40, 0.9, DOG)]), 0.5)
    assert [found.cost[name] for name in ("localization", "missed")] == pytest.approx([51 / 101 / 2] * 2)
    assert split(scene(truth, [RIGHT, (0, 120, 120, 40, 40, 0.9, DOG)]), 0.5).cost["missed"] == pytest.approx(0.5)


def test_missed_objects_of_other_classes_leave_precision_as_it_is(scene):
    """A false positive ranks first, so precision is 1/2: AP is 51/101/2, and 1/2 without the missed object."""
    found = split(scene([OBJECT, (1, 10, 10, 40, 40, CAT)], [(0, 120, 120, 40, 40, 0.95, CAT), RIGHT]), 0.5)
    assert found.ap == pytest.approx(51 / 101 / 2)
    assert found.cost["missed"] == pytest.approx(50 / 101 / 2)


def test_a_class_that_is_always_confused_costs_its_share(scene):
    """The dog is only found as a cat: corrected, it is right. It is not missed."""
    found = split(scene([OBJECT, (1, 10, 10, 40, 40, DOG)], [RIGHT, (1, 10, 10, 40, 40, 0.8, CAT)]), 0.5)
    assert (found.ap, found.cost["class"], found.cost["missed"]) == (pytest.approx(0.5), pytest.approx(0.5), 0)


def test_one_detection_corrects_one_object(scene):
    """Two imprecise detections of one of two cats: AP 51/101 once corrected; the other cat is missed."""
    twice = [(0, 30, 10, 40, 40, score, CAT) for score in (0.9, 0.8)]
    evidence = scene([OBJECT, (1, 10, 10, 40, 40, CAT)], twice)
    assert split(evidence, 0.5).cost["localization"] == pytest.approx(51 / 101)
    assert missed(evidence, 0.5).tolist() == [False, True]


@pytest.mark.parametrize("seed", range(10))
def test_as_many_objects_are_missed_as_in_tide(scene, seed):
    rng = np.random.default_rng(seed)
    truth = rng.integers((0, 0, 0, 20, 20, 1), (2, 80, 80, 60, 60, 3), (12, 6))
    near = [(row[0], *row[1:5] + rng.normal(0, 8, 4), rng.random(), rng.integers(1, 3)) for row in truth]
    evidence = scene(truth, near)
    for iou in (0.5, 0.75):
        assert missed(evidence, iou).sum() == evidence.evaluator().tide_errors(pos_thr=iou)["counts"]["Miss"]


def test_only_what_is_shown_is_counted(scene):
    assert split(scene([OBJECT], [RIGHT, (0, 120, 120, 40, 40, 0.2, CAT)]), 0.5).counts["background"] == 0


def test_confusion_by_hand(scene):
    truth = [OBJECT, (1, 10, 10, 40, 40, DOG), (1, 100, 100, 40, 40, DOG)]
    found = [
        RIGHT,
        (1, 10, 10, 40, 40, 0.8, CAT),  # a dog classified as a cat
        (0, 120, 120, 40, 40, 0.7, DOG),  # a false positive
        (1, 100, 100, 40, 40, 0.2, DOG),  # below the threshold: the second dog is missed
    ]
    seen = confusion(scene(truth, found))
    assert seen.matrix.tolist() == [[1, 0, 0], [1, 0, 1], [0, 1, 0]]
    assert seen.pairs() == [("dog", "cat", 1, 2)]


def test_confusion_leaves_out_crowds(scene):
    """A detection in a crowd of its own class is neither right nor wrong, but one of another class is wrong."""
    truth = [OBJECT, (0, 100, 100, 80, 80, CAT, 1)]
    inside = (0, 110, 110, 20, 20, 0.8, CAT)
    assert confusion(scene(truth, [RIGHT, inside])).matrix.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert confusion(scene(truth, [inside])).matrix.tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert confusion(scene(truth, [(*inside[:6], DOG)])).matrix.tolist() == [[0, 0, 1], [0, 0, 0], [0, 1, 0]]


def test_confusion_counts_all_classes_of_a_crowded_image(scene):
    """The limit of detections is per image and class, and each class has fewer."""
    truth = [(0, 2 + 12 * (k % 12), 2 + 12 * (k // 12), 10, 10, 1 + k % 2) for k in range(120)]
    seen = confusion(scene(truth, [(*row[:5], 0.9, row[5]) for row in truth]))
    assert seen.matrix.tolist() == [[60, 0, 0], [0, 60, 0], [0, 0, 0]]
