"""Each rule applies where its numbers demand it, states them, and is silent elsewhere."""

from dataclasses import replace

import pytest

from cascade_rcnn.reporting.advice import advise
from cascade_rcnn.reporting.analysis import Analysis, Training, analyse
from cascade_rcnn.reporting.calibration import Calibration
from cascade_rcnn.reporting.curves import Curves, Evaluated
from cascade_rcnn.reporting.stages import StageRow, Stages

CAT, DOG = 1, 2
TRUTH = [(k, 20 + 60 * side, 20, 40, 40, CAT if side == 0 else DOG) for k in range(20) for side in (0, 1)]
PERFECT = [(*row[:5], 0.95, row[5]) for row in TRUTH]

pytestmark = pytest.mark.usefixtures("few_draws")


@pytest.fixture
def analysed(scene):
    return lambda found, truth=TRUTH, **more: analyse(scene(truth, found, images=20), **more)


def said(analysis: Analysis) -> dict[str, str]:
    return {one.title: one.text for one in advise(analysis)}


def curves(scores: list[float], losses: list[float]) -> Curves:
    steps = [10 * (k + 1) for k in range(len(scores))]
    evaluated = [Evaluated(step, k + 1, ap, ap) for k, (step, ap) in enumerate(zip(steps, scores, strict=True))]
    return Curves(steps, {"loss": losses}, [0.1] * len(steps), evaluated, len(steps), steps[-1])


def trained(scores: list[float], losses: list[float], images: int = 1000) -> Training:
    return Training(curves=curves(scores, losses), images=images, min_size=(320,))


def test_nothing_is_reported_of_a_perfect_detector(analysed):
    analysis = analysed(PERFECT, training=trained([0.9, 0.995, 1.0], [3.0, 2.0, 1.0]))
    assert said(analysis) == {}


def test_loose_boxes(analysed):
    """Shifted by 8 of 40 pixels: IoU 32/48."""
    loose = [(image, x + 8, *rest) for image, x, *rest in PERFECT]
    text = said(analysed(loose, training=trained([0.4, 0.4], [1.0, 1.0])))["Make the boxes more precise"]
    assert "would add 100.0 AP" in text
    assert "320 pixels" in text


def test_confused_classes(analysed):
    swapped = [(*row[:6], DOG) if k % 4 == 0 else row for k, row in enumerate(PERFECT)]  # every second cat
    text = said(analysed(swapped))["Tell the classes apart"]
    assert "cat is mistaken for dog (10 of 20)" in text


def test_detections_of_nothing(analysed):
    extra = [(k, 120, 120, 40, 40, 0.95, CAT) for k in range(10)]
    text = said(analysed([*PERFECT, *extra]))["Reduce false positives on background"]
    assert "10 detections" in text
    assert "For 10 of them, the label may be missing" in text


def test_missed_objects(analysed):
    text = said(analysed(PERFECT[:30]))["Find the missed objects"]
    assert "10 of 40 have none" in text
    text = said(analysed(PERFECT[::2]))["Find the missed objects"]  # no dogs
    assert "cost 50.0 AP at IoU 0.5; 20 of 40 have none" in text


def test_duplicates(analysed):
    again = [(image, x + 1, y, w, h, 0.9, label) for image, x, y, w, h, _, label in PERFECT[:20]]
    late = [(*row[:5], 0.8, row[6]) for row in PERFECT[20:]]
    assert "Duplicate detections" in said(analysed([*PERFECT[:20], *again, *late]))["Find each object once"]


def test_small_objects(analysed):
    small = [(k, 150, 150, 12, 12, CAT) for k in range(20)]
    text = said(analysed(PERFECT, truth=[*TRUTH, *small]))["Find small objects"]
    assert "Recall is 0 % for the 20 objects of up to 16 px, compared with 67 % overall" in text
    found = [*PERFECT, *((*row[:5], 0.9, CAT) for row in small)]
    assert "Find small objects" not in said(analysed(found, truth=[*TRUTH, *small]))


def test_overlapping_objects(analysed):
    pairs = [(k, 20 + 20 * side, 120, 40, 40, CAT) for k in range(10) for side in (0, 1)]  # IoU 20/60
    found = [*PERFECT, *((*row[:5], 0.9, CAT) for row in pairs[::2])]
    text = said(analysed(found, truth=[*TRUTH, *pairs]))["Find overlapping objects"]
    assert "20 objects" in text
    assert "Recall is 50 %" in text
    assert "83 % overall" in text


def test_overfitting(analysed):
    text = said(analysed(PERFECT, training=trained([0.3, 0.5, 0.4], [3.0, 2.0, 1.0])))["Stop earlier"]
    assert "from 50.0 after epoch 2 to 40.0 at the end" in text
    assert "from 2.00 to 1.00" in text
    diverged = trained([0.3, 0.5, 0.4], [3.0, 2.0, 4.0])  # which is not overfitting
    assert "Stop earlier" not in said(analysed(PERFECT, training=diverged))


def test_not_long_enough(analysed):
    text = said(analysed(PERFECT, training=trained([0.3, 0.5, 0.6], [3.0, 2.0, 1.0])))["Train longer"]
    assert "from 50.0 after epoch 2 to 60.0 after epoch 3" in text
    assert "about 6 epochs" in text


def test_few_images(analysed):
    text = said(analysed(PERFECT, training=trained([1.0, 1.0], [1.0, 1.0], images=40)))["Label more images"]
    assert "about 40 images" in text


def test_few_images_to_measure_on(analysed):
    assert "With 20 images, the 95 % interval of AP" in said(analysed(PERFECT[::3]))["Evaluate on more images"]


def test_too_few_images_to_measure_on(scene):
    analysis = analyse(scene(TRUTH[:2], PERFECT[:2], images=1))
    assert said(analysis)["Evaluate on more images"].startswith(
        "AP on 1 image with objects says little: a 95 % interval"
    )


def test_rare_classes(analysed):
    cats = [row for row in PERFECT if row[6] == CAT]
    text = said(analysed([*cats, *PERFECT[1:10:2]]))["Label more objects of rare classes"]
    assert "dog (AP" in text
    assert "cat (" not in text
    image, x, *rest = PERFECT[0]  # one of 20 cats, at IoU .54: no class has an AP worth comparing
    assert "Label more objects of rare classes" not in said(analysed([(image, x + 12, *rest)]))


def test_a_better_stage(analysed):
    rows = [StageRow("stage 1 alone", 1, 0.5, 0, 0, 0), StageRow("the model's setting", None, 0.4, 0, 0, 0)]
    stages = Stages(10, 1, [0.6, 0.7], [0.5, 1.0], [1], [[0.6], [0.7]], rows)
    text = said(analysed(PERFECT, stages=stages))["Use another stage"]
    assert "stage 1 alone give 50.0 AP, the model's own setting 40.0 AP (on 10 images)" in text
    level = stages._replace(rows=[rows[0], rows[1]._replace(ap=0.5)])
    assert "Use another stage" not in said(analysed(PERFECT, stages=level))
    assert "Use another stage" not in said(analysed(PERFECT, stages=stages._replace(images=9)))


def test_scores_that_promise_too_much(analysed):
    analysis = replace(analysed(PERFECT), calibration=Calibration(0.2, 0.2, []))
    assert "0.20 higher" in said(analysis)["Choose the threshold on your data"]
    given = replace(analysis, evidence=replace(analysis.evidence, threshold=0.1))
    assert said(given)["Choose the threshold on your data"] == said(analysis)["Choose the threshold on your data"]
    nothing = replace(analysed(PERFECT, []), calibration=Calibration(0.2, 0.2, []))
    assert "Choose the threshold on your data" not in said(nothing)  # without objects, there is no best one


def test_the_most_rewarding_comes_first_and_advice_is_limited(analysed):
    poor = [(image, x + 8, *rest) for image, x, *rest in PERFECT[:25]]
    found = advise(analysed([*poor, *((k, 120, 120, 40, 40, 0.95, CAT) for k in range(20))]))
    assert [one.weight for one in found] == sorted((one.weight for one in found), reverse=True)
    assert 1 < len(found) <= 7


def test_objects_that_a_weak_detector_misses_are_no_reason_to_doubt_the_annotations(analysed):
    assert "in 8 places" in said(analysed(PERFECT[8:]))["Check the annotations"]  # of 40 objects
    weak = said(analysed(PERFECT[9:]))
    assert "Find the missed objects" in weak
    assert "Check the annotations" not in weak
