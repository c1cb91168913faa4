"""Report pages: complete, self-contained, and with the right numbers."""

import json
import re
from dataclasses import replace

import pytest

from cascade_rcnn.reporting import comparison_page, page
from cascade_rcnn.reporting.analysis import Analysis, Training, analyse
from cascade_rcnn.reporting.comparison import compare
from cascade_rcnn.reporting.curves import Curves, Evaluated
from cascade_rcnn.reporting.stages import StageRow, Stages

from .conftest import outline
from .pages import Page

TRUTH = [(0, 10, 10, 40, 40, 1), (0, 100, 100, 60, 60, 2), (1, 20, 20, 40, 40, 1), (2, 20, 20, 40, 40, 2)]
FOUND = [
    (0, 12, 10, 40, 40, 0.9, 1),
    (0, 100, 100, 60, 60, 0.8, 1),  # of another class
    (1, 24, 20, 40, 40, 0.7, 1),
    (1, 120, 120, 40, 40, 0.95, 2),  # a false positive
]
STAGES = Stages(
    3, 5, [0.6, 0.7, 0.8], [0.5, 0.75, 1.0], [5, 0], [[0.6, float("nan")], [0.7, float("nan")], [0.8, float("nan")]],
    [StageRow("stage 1 alone", 1, 0.5, 0.6, 0.4, 0.1), StageRow("the model's setting", None, 0.4, 0.5, 0.3, 0)],
)  # fmt: skip
CURVES = Curves(
    [1, 2, 3], {"loss": [3.0, 2, 1], "loss_box_reg_stage2": [1.0, 0.5, 0.2]}, [0.1, 0.1, 0.0],
    [Evaluated(2, 1, 0.2, 0.1), Evaluated(3, 2, 0.3, 0.2)], 2, 3,
)  # fmt: skip

pytestmark = pytest.mark.usefixtures("few_draws")


@pytest.fixture(scope="module")
def analysis(scene) -> Analysis:
    training = Training(curves=CURVES, images=40, min_size=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cascade_rcnn.reporting.headline._DRAWS", 10)
        return analyse(scene(TRUTH, FOUND, images=4, pixels=True), stages=STAGES, training=training)


@pytest.fixture(scope="module")
def html(analysis) -> str:
    return page.page(analysis, {"run": "<runs>/one"})


def test_the_page_is_whole(html):
    parsed = Page(html)
    assert len(parsed.pictures()) == 3 + 1 + 1 + 1  # images with errors; one suspect of each kind
    assert all(reference.startswith(("#", "data:")) for reference in parsed.references)
    assert {reference[1:] for reference in parsed.references if reference[0] == "#"} <= set(parsed.ids)
    assert html.count("<svg") == 8
    assert "DejaVu" not in html
    assert not re.search(r"#0000f\d", html)  # placeholder colours
    assert "<runs>/one" in parsed.text  # escaped


def test_it_says_what_was_measured(analysis, html):
    text = Page(html).text
    overall = analysis.evidence.metrics
    assert f"AP {100 * overall.ap:.1f} fewer than 10 images" in text  # instead of the interval
    assert "resamples" not in text
    assert "The band" not in text
    assert "metrics are those of boxes" in text  # also of a model with masks
    assert "Label more images" in text
    assert "stage 1 alone 50.0 60.0 40.0 10.0" in text
    assert "proposal 0.600 after stage 1 0.700 +0.100 after stage 2 0.800 +0.100" in text
    assert "where nothing is annotated: 1; confident detections of another class than the annotated one: 1" in text


def test_mask_ap_is_shown_beside_box_ap(scene, monkeypatch):
    """Of two cats, whose boxes are found, the mask of one is that of another place."""
    monkeypatch.setattr("cascade_rcnn.reporting.plots._plot", lambda draw, label, height=0: "<svg></svg>")
    truth = [(0, 10, 10, 40, 40, 1), (1, 20, 20, 40, 40, 1)]
    found = [(0, 10, 10, 40, 40, 0.9, 1), (1, 20, 20, 40, 40, 0.8, 1)]
    evidence = scene(truth, found, pixels=True, masks=True)
    evidence.masks[1] = outline((1, 100, 100, 40, 40))
    analysis = analyse(evidence)
    html = page.page(analysis, {})
    parsed = Page(html)
    assert parsed.text.startswith("Box AP 100.0, mask AP 50.5: nothing stands out")  # 51 of 101 recall points
    assert "Mask AP 50.5 Mask AP50 50.5 Mask AP75 50.5" in parsed.text
    assert "All metrics but mask AP are those of boxes" in parsed.text
    assert "boxes 2 100.0 100.0 100.0 100.0 masks 2 50.5 50.5 50.5 50.5" in parsed.text
    assert "cat 2 100.0 50.5 100.0 50.5 100.0 50.5 dog 0 – – – – – –" in parsed.text
    assert "masks" in parsed.ids
    assert analysis.to_dict()["metrics"]["masks"]["ap"] == pytest.approx(51 / 101)
    better = scene(truth, found, pixels=True, masks=True)
    compared = compare(evidence, better)
    text = Page(comparison_page.page(compared, ["first", "second"], {})).text
    assert "mask AP 50.5 100.0 +49.5 – –" in text
    assert "All metrics but mask AP" in text
    assert [one["ap50"] for one in compared.to_dict()["masks"]] == pytest.approx([51 / 101, 1])


def test_annotations_without_masks(scene, monkeypatch):
    monkeypatch.setattr("cascade_rcnn.reporting.plots._plot", lambda draw, label, height=0: "<svg></svg>")
    evidence = scene(TRUTH, FOUND, images=3, pixels=True, masks=True)
    boxes = replace(evidence, dataset=evidence.dataset.with_segmentations(None))
    parsed = Page(page.page(analyse(boxes), {}))
    assert "All metrics are those of boxes, in percent, as the annotations have no masks." in parsed.text
    assert "masks" not in parsed.ids
    assert "masks" not in compare(boxes, evidence).to_dict()


def test_ids_are_unique(html):
    """Otherwise, clip paths of one plot would cut another."""
    ids = Page(html).ids
    assert len(ids) == len(set(ids))


@pytest.mark.slow
def test_without_a_training_and_a_model(scene):
    parsed = Page(page.page(analyse(scene(TRUTH, FOUND, images=3, pixels=True)), {}))
    assert not {"training", "stages"} & set(parsed.ids)


@pytest.mark.slow
@pytest.mark.parametrize(("truth", "found"), [(TRUTH, []), ([], FOUND), ([], [])])
def test_nothing_found_or_nothing_there(scene, truth, found):
    analysis = analyse(scene(truth, found, images=3, pixels=True))
    parsed = Page(page.page(analysis, {}))
    parsed.pictures()
    assert not re.search(r"\bnan\b", parsed.text)
    assert ("no objects are annotated" in parsed.text) == (not truth)
    assert "NaN" not in json.dumps(analysis.to_dict())


def test_each_threshold_has_one_row(scene):
    """Without a detection above it, precision is NaN, which equals nothing, itself included."""
    rows = page._thresholds(analyse(scene(TRUTH, [], images=3)))
    assert [row[0] for row in rows].count("0.50 (chosen)") == 1
    assert len({row[0].split()[0] for row in rows}) == len(rows)


def test_the_numbers_are_json(analysis):
    values = json.loads(json.dumps(analysis.to_dict(), allow_nan=False))
    assert values["metrics"]["ap"] == pytest.approx(analysis.evidence.metrics.ap)
    assert values["threshold"]["threshold"] == 0.5
    assert {one["kind"] for one in values["suspects"]} == {"unlabelled", "class", "never found"}
    assert {(one["image"], one["image_id"], one["annotation_id"]) for one in values["suspects"]} == {
        ("1.png", 12, None),
        ("0.png", 11, 2),
        ("2.png", 13, 4),
    }
    assert values["images"]["1.png"]["wrong"] == 1
    assert values["stages"]["rows"][0]["ap"] == 0.5


@pytest.mark.slow
def test_a_comparison(scene):
    both = [(image, 150, 150, 40, 40, 1) for image in range(10)]
    exact = [(*row[:5], 0.9, row[5]) for row in (*both, *TRUTH)]
    a, b = (scene([*both, *TRUTH], rows, images=10, pixels=True) for rows in ([*exact[:10], *FOUND], exact))
    html = comparison_page.page(compare(a, b), ["first", "<second>"], {"data": "val"})
    parsed = Page(html)
    assert parsed.text.count("<second> is better than first: +") == 2  # headline and title
    assert len(parsed.pictures()) == 3
    assert "metrics are those of boxes" in parsed.text
    assert "Won by <second> 3" in parsed.text
    assert "bootstrap resamples of the images" in parsed.text
    assert "The bands are the 95 % intervals" in parsed.text
    assert len(parsed.ids) == len(set(parsed.ids))


def test_the_legend_of_a_comparison_has_any_name(scene, monkeypatch):
    """Names are no text of the plot, where matplotlib would hide the first and take the second for a formula."""
    monkeypatch.setattr("cascade_rcnn.reporting.plots._plot", lambda draw, label, height=0: "<svg></svg>")
    one = scene(TRUTH[:1], [], images=1, pixels=True)
    html = comparison_page.page(compare(one, one), ["_first", "$second<b>"], {})
    assert '<ul class="legend"><li><i></i>_first</li><li><i></i>$second&lt;b&gt;</li></ul>' in html


def test_the_band_of_enough_images_is_explained(scene, monkeypatch):
    monkeypatch.setattr("cascade_rcnn.reporting.plots._plot", lambda draw, label, height=0: "<svg></svg>")
    monkeypatch.setattr("cascade_rcnn.reporting.headline._DRAWS", 10)
    truth = [(image, 10, 10, 40, 40, 1) for image in range(10)]
    text = Page(page.page(analyse(scene(truth, [], images=10, pixels=True)), {})).text
    assert "its 95 % interval, from 10 bootstrap resamples of the images." in text
    assert "The band is the 95 % interval." in text


def test_few_images_are_not_compared(scene, monkeypatch):
    """One of two objects is found, then both: AP rises from 51/101 to 1, but on one image."""
    monkeypatch.setattr("cascade_rcnn.reporting.plots._plot", lambda draw, label, height=0: "<svg></svg>")
    truth = [(0, 10, 10, 40, 40, 1), (0, 100, 100, 60, 60, 1)]
    both = [(*row[:5], 0.9, row[5]) for row in truth]
    a, b = (scene(truth, found, images=1, pixels=True) for found in (both[:1], both))
    text = Page(comparison_page.page(compare(a, b), ["first", "second"], {})).text
    assert text.startswith("No verdict on second and first: +49.5 AP (fewer than 10 images)")
    assert "AP 50.5 100.0 +49.5 fewer than 10 images –" in text
    assert "cat 2 50.5 100.0 +49.5 fewer than 10 images –" in text
    assert "resamples" not in text
    assert "The bands" not in text
    assert "dog 0 – – – – –" in text
    assert "is better" not in text
    assert "about one in twenty of the classes without a difference" in text
