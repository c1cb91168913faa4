"""Every metric against pycocotools, to six digits: on real results, random ones, and ones built to hit edge cases."""

import contextlib
import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.console import Console

from cascade_rcnn.config import Category
from cascade_rcnn.data.annotations import Annotations, PackedStrings
from cascade_rcnn.data.coco import load_coco
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation.coco import crowding_notes, evaluate_boxes
from cascade_rcnn.evaluation.detections import load_detections
from cascade_rcnn.evaluation.metrics import Metrics

DATA = Path(__file__).resolve().parents[2] / "../shared/data"

STATS = (
    "ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large",
    "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large",
)  # fmt: skip
CATEGORIES = [{"id": 2, "name": "dog"}, {"id": 7, "name": "cat"}, {"id": 90, "name": "owl"}]


def dataset(annotations: list[dict[str, Any]], image_ids: list[int]) -> dict[str, Any]:
    images = [{"id": identity, "height": 200, "width": 200} for identity in image_ids]
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


def annotation(identity: int, image: int, category: int, bbox: list[float], *, crowd: bool = False) -> dict[str, Any]:
    where = {"id": identity, "image_id": image, "category_id": category}
    return where | {"bbox": bbox, "area": bbox[2] * bbox[3], "iscrowd": int(crowd)}


def to_annotations(coco: dict[str, Any]) -> Annotations:
    label = {category["id"]: k for k, category in enumerate(coco["categories"], start=1)}
    groups = [[a for a in coco["annotations"] if a["image_id"] == image["id"]] for image in coco["images"]]
    flat = [a for group in groups for a in group]
    return Annotations(
        source="truth.json",
        images_dir=Path(),
        file_names=PackedStrings.pack([f"{image['id']}.jpg" for image in coco["images"]]),
        notes=(),
        image_ids=torch.tensor([image["id"] for image in coco["images"]], dtype=torch.int64),
        image_sizes=torch.tensor([[i["height"], i["width"]] for i in coco["images"]], dtype=torch.int32).reshape(-1, 2),
        first=torch.tensor([0, *np.cumsum([len(group) for group in groups])], dtype=torch.int64),
        boxes=torch.tensor([a["bbox"] for a in flat], dtype=torch.float64).reshape(-1, 4),
        areas=torch.tensor([a["area"] for a in flat], dtype=torch.float64),
        without_area=torch.zeros(len(flat), dtype=torch.bool),
        labels=torch.tensor([label[a["category_id"]] for a in flat], dtype=torch.int32),
        ignore=torch.tensor([bool(a["iscrowd"]) for a in flat], dtype=torch.bool),
        ids=torch.tensor([a["id"] for a in flat], dtype=torch.int64),
        categories=tuple(Category(id=c["id"], name=c["name"]) for c in coco["categories"]),
    )


def reference(coco: dict[str, Any], detections: np.ndarray) -> COCOeval:
    keys = ("image_id", "category_id", "bbox", "area", "score")
    rows = [
        dict(zip(keys, (int(i), int(c), [x, y, w, h], w * h, s), strict=True)) | {"id": k, "iscrowd": 0}
        for k, (i, x, y, w, h, s, c) in enumerate(detections.tolist(), start=1)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth, found = COCO(), COCO()
        truth.dataset = coco
        found.dataset = {"images": coco["images"], "categories": coco["categories"], "annotations": rows}
        truth.createIndex()
        found.createIndex()
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def mean(values: np.ndarray) -> float:
    return float(values[values > -1].mean()) if (values > -1).any() else math.nan


def assert_equal_to_pycocotools(
    coco: dict[str, Any], detections: np.ndarray, truth: Annotations | None = None
) -> Metrics:
    mine = evaluate_boxes(truth or to_annotations(coco), detections)
    theirs = reference(coco, detections)
    stats = np.where(theirs.stats == -1, np.nan, theirs.stats)
    np.testing.assert_allclose([getattr(mine, name) for name in STATS], stats, atol=1e-6)
    precision = theirs.eval["precision"][:, :, :, 0, 2]
    np.testing.assert_allclose(mine.precision_by_iou, [mean(at_iou) for at_iou in precision], atol=1e-6)
    five = (mine.ap50, mine.ap60, mine.ap70, mine.ap80, mine.ap90)
    np.testing.assert_array_equal(five, mine.precision_by_iou[::2])
    np.testing.assert_array_equal(mine.ap75, mine.precision_by_iou[5])
    for one, category in zip(mine.per_class, coco["categories"], strict=True):
        values = precision[:, :, theirs.params.catIds.index(category["id"])]
        expected = [mean(values), mean(values[0]), mean(values[5])]
        np.testing.assert_allclose([one.ap, one.ap50, one.ap75], expected, atol=1e-6)
        real = [a for a in coco["annotations"] if a["category_id"] == category["id"] and not a["iscrowd"]]
        assert (one.name, one.boxes) == (category["name"], len(real))
    assert mine.images == len(coco["images"])
    assert mine.boxes == sum(one.boxes for one in mine.per_class)
    return mine


def test_published_numbers_of_real_results():
    folder = DATA / "coco_eval"
    if not folder.exists():
        pytest.skip("no shared/data/coco_eval beside the repository")
    truth_path, results_path = (next(folder.glob(pattern)) for pattern in ("*_100.json", "*_results.json"))
    truth = load_coco(truth_path, folder)
    detections = load_detections(results_path)
    metrics = assert_equal_to_pycocotools(json.loads(truth_path.read_text()), detections, truth)
    published = (0.505, 0.697, 0.573, 0.586, 0.519, 0.501, 0.387, 0.594, 0.595, 0.640, 0.566, 0.564)
    assert [round(getattr(metrics, name), 3) for name in STATS] == list(published)
    shuffled = np.random.default_rng(0).permutation(detections)
    assert evaluate_boxes(truth, shuffled).ap == pytest.approx(metrics.ap, abs=1e-4)


def test_ignore_without_crowd_is_an_ordinary_box(tmp_path):
    """pycocotools overwrites a file's `ignore` with `iscrowd`."""
    truth = dataset([annotation(1, 1, 7, [0, 0, 50, 50]), annotation(2, 1, 7, [99, 0, 50, 50]) | {"ignore": 1}], [1])
    truth["images"][0]["file_name"] = "1.jpg"
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    found = np.array([[1, 0, 0, 50, 50, 0.9, 7]])
    metrics = assert_equal_to_pycocotools(truth, found, load_coco(tmp_path / "truth.json", tmp_path))
    assert (metrics.boxes, metrics.ar100) == (2, 0.5)


@pytest.mark.parametrize("seed", range(8))
def test_random_sets_equal_pycocotools(seed):
    """Boxes of all three sizes, crowds, empty images, images without detections, more than 100 detections per image."""
    rng = np.random.default_rng(seed)
    image_ids = rng.permutation(50)[:8].tolist()
    annotations: list[dict[str, Any]] = []
    for image in image_ids[1:]:  # the first image has no objects
        for _ in range(rng.integers(0, 12)):
            size = np.exp(rng.uniform(np.log(4), np.log(150), 2))
            bbox = [*rng.uniform(0, 100, 2).tolist(), *size.tolist()]
            category = [7, 2][rng.integers(2)]  # class 90 has no ground truth
            annotations.append(annotation(len(annotations) + 1, image, category, bbox, crowd=rng.random() < 0.15))
    rows = []
    for a in annotations:
        for _ in range(rng.integers(0, 3)):
            box = np.array(a["bbox"]) * rng.uniform(0.8, 1.2, 4)
            category = a["category_id"] if rng.random() < 0.9 else 90
            rows.append([a["image_id"], *box, round(rng.random(), 1), category])  # one digit, hence many ties
    flood = rng.uniform(0, 100, (130, 4))
    rows += [[image_ids[-1], *box, rng.random(), 7] for box in flood]
    assert_equal_to_pycocotools(dataset(annotations, image_ids), np.array(rows))


coordinate = st.sampled_from([0.0, 4.0, 10.0])
side = st.sampled_from([0.0, 5.0, 10.0, 40.0, 100.0])
box = st.tuples(coordinate, coordinate, side, side).map(list)
image_id = st.sampled_from([0, 3, 11])
category_id = st.sampled_from([7, 2])


@settings(max_examples=150)
@given(
    truth=st.lists(st.tuples(image_id, category_id, box, st.booleans()), max_size=8),
    found=st.lists(
        st.tuples(image_id, st.sampled_from([7, 2, 90]), box, st.sampled_from([0.1, 0.5, 0.9])), max_size=12
    ),
)
def test_ties_and_empty_boxes_equal_pycocotools(truth, found):
    annotations = [annotation(k, i, c, b, crowd=crowd) for k, (i, c, b, crowd) in enumerate(truth, start=1)]
    detections = np.array([[i, *b, score, c] for i, c, b, score in found]).reshape(-1, 7)
    assert_equal_to_pycocotools(dataset(annotations, [11, 0, 3]), detections)


def test_hand_computed_values():
    """Two boxes: one found exactly, one with IoU 0.8; a false positive scores between them. No image is left out."""
    truth = [annotation(1, 1, 7, [0, 0, 10, 10]), annotation(2, 2, 7, [50, 50, 100, 100])]
    found = np.array([[1, 0, 0, 10, 10, 0.9, 7], [1, 60, 60, 5, 5, 0.8, 7], [2, 50, 50, 100, 80, 0.7, 7]])
    metrics = evaluate_boxes(to_annotations(dataset(truth, [1, 2, 3])), found)
    both, one = (51 * 1 + 50 * 2 / 3) / 101, 51 / 101  # recall 0.51..1 at precision 2/3, or not reached
    expected = [both] * 7 + [one] * 3
    np.testing.assert_allclose(metrics.precision_by_iou, expected, atol=1e-9)
    np.testing.assert_allclose([metrics.ap_small, metrics.ap_large, metrics.ar100], [1, 0.7, 0.85], atol=1e-9)
    assert math.isnan(metrics.ap_medium)
    assert (metrics.images, metrics.boxes) == (3, 2)
    assert [(c.name, c.boxes, math.isnan(c.ap)) for c in metrics.per_class] == [
        ("dog", 0, True),
        ("cat", 2, False),
        ("owl", 0, True),
    ]


def test_annotation_id_zero_is_an_ordinary_id():
    """pycocotools treats a match with annotation 0 as no match; here ids do not matter."""
    truth = dataset([annotation(0, 1, 7, [0, 0, 50, 50])], [1])
    found = np.array([[1, 0, 0, 50, 50, 0.9, 7]])
    assert evaluate_boxes(to_annotations(truth), found).ap == pytest.approx(1)
    assert reference(truth, found).stats[0] == 0


def test_nothing_found_and_nothing_to_find():
    truth = dataset([annotation(1, 1, 7, [0, 0, 50, 50])], [1])
    nothing = np.empty((0, 7))
    assert evaluate_boxes(to_annotations(truth), nothing).ap == 0
    empty = evaluate_boxes(to_annotations(dataset([], [1])), np.array([[1, 0, 0, 5, 5, 0.9, 7]]))
    assert all(math.isnan(getattr(empty, name)) for name in STATS)
    assert math.isnan(evaluate_boxes(to_annotations(dataset([], [])), nothing).ap)


def test_a_detection_inside_an_ignored_region_is_neither_right_nor_wrong():
    truth = [annotation(1, 1, 7, [0, 0, 20, 20]), annotation(2, 1, 7, [50, 50, 100, 100], crowd=True)]
    found = np.array([[1, 60, 60, 10, 10, 0.9, 7], [1, 80, 80, 10, 10, 0.8, 7], [1, 0, 0, 20, 20, 0.7, 7]])
    metrics = evaluate_boxes(to_annotations(dataset(truth, [1])), found)
    assert (metrics.ap, metrics.boxes) == (pytest.approx(1), 1)


def test_metrics_survive_json_and_print():
    truth = [annotation(1, 1, 7, [0, 0, 10, 10]), annotation(2, 1, 2, [0, 0, 40, 40])]
    metrics = evaluate_boxes(to_annotations(dataset(truth, [1])), np.array([[1, 0, 0, 10, 10, 0.9, 7]]))
    text = json.dumps(metrics.to_dict(), allow_nan=False)
    back = Metrics.from_dict(json.loads(text))
    assert (back, hash(back)) == (metrics, hash(metrics))  # with NaN
    assert back != replace(back, ap=0.0)
    assert back.per_class[0] != replace(back.per_class[0], name="b")
    assert json.loads(text)["ap_large"] is None
    with io.StringIO() as screen:
        Console(file=screen, width=160).print(metrics.table(160))
        lines = screen.getvalue().splitlines()
    assert "1 image, 2 boxes; metrics from 0 to 1" in lines[0]
    (whole,) = (line for line in lines if "all" in line)
    assert whole.count("0.500") == 10  # AP, AP50..AP90, AR1, AR10 and AR100
    (owl,) = (line for line in lines if "owl" in line)
    assert owl.split()[1] == "0"
    assert owl.count("-") == 3


def printed(metrics: Metrics, width: int) -> list[str]:
    with io.StringIO() as screen:
        Console(file=screen, width=width).print(metrics.table(width))
        return [line.rstrip() for line in screen.getvalue().splitlines()]


def test_the_table_cuts_no_number_at_80_columns_and_shows_more_at_120():
    truth = [annotation(1, 1, 7, [0, 0, 10, 10]), annotation(2, 1, 2, [0, 0, 40, 40])]
    metrics = evaluate_boxes(to_annotations(dataset(truth, [1])), np.array([[1, 0, 0, 10, 10, 0.9, 7]]))
    long = replace(metrics.per_class[0], name="a class with a name of more than forty letters", boxes=1234567)
    metrics = replace(metrics, boxes=98765432, per_class=(long, *metrics.per_class[1:]))
    heads = {}
    for width in (80, 120):
        lines = printed(metrics, width)
        assert max(map(len, lines)) <= width
        (whole,) = (line for line in lines if line.startswith("all"))
        assert "98765432" in whole
        assert "…" not in whole
        heads[width] = next(line for line in lines if line.startswith("class")).split()
        assert len(whole.split()) == len(heads[width])
    assert heads[80] == ["class", "boxes", "AP", "AP50", "AP75", "AP90", "APs", "APm", "APl", "AR100"]
    assert set(heads[80]) < set(heads[120])
    assert {"AP60", "AP70", "AP80", "AR1", "AR10"} <= set(heads[120])


@pytest.mark.parametrize("name", ["[/red]", "[bold]", "[link=x]y", "\x1b[31mred"])
def test_a_class_name_is_text_whatever_markup_it_looks_like(name):
    metrics = evaluate_boxes(to_annotations(dataset([annotation(1, 1, 7, [0, 0, 10, 10])], [1])), np.zeros((0, 7)))
    named = replace(metrics, per_class=(replace(metrics.per_class[0], name=name),))
    text = "\n".join(printed(named, 120))
    assert name.replace("\x1b", "\\x1b") in text
    assert "\x1b" not in text


def test_more_objects_than_detections_that_count_are_reported_and_counted_on_demand():
    corners = [(x, y) for x in range(0, 240, 20) for y in range(0, 200, 20)]  # 120
    truth = to_annotations(dataset([annotation(k, 1, 7, [x, y, 10, 10]) for k, (x, y) in enumerate(corners, 1)], [1]))
    found = np.array([[1, x, y, 10, 10, 0.9, 7] for x, y in corners])
    capped = evaluate_boxes(truth, found)
    assert capped.ar100 == pytest.approx(100 / 120)
    (note,) = crowding_notes(truth)
    assert note.endswith("1.jpg has 120 objects of one class; `evaluate --max-detections 120` counts them all")
    whole = evaluate_boxes(truth, found, limit=120)
    assert (whole.ap, whole.ar100) == pytest.approx((1, 1))
    assert "AR120" in "".join(printed(whole, 120))
    few = evaluate_boxes(truth, found, limit=5)
    assert (few.ar1, few.ar10, few.ar100) == pytest.approx((1 / 120, 5 / 120, 5 / 120))
    assert Metrics.from_dict(few.to_dict()).max_detections == 5
    assert crowding_notes(truth, 120) == []


def test_more_objects_of_all_classes_than_a_model_finds_are_reported():
    corners = [(x, y) for x in range(0, 240, 20) for y in range(0, 200, 20)]
    objects = [annotation(k, 1, (7, 90)[k % 2], [x, y, 10, 10]) for k, (x, y) in enumerate(corners, 1)]
    truth = to_annotations(dataset(objects, [1]))
    assert crowding_notes(truth) == []  # 60 of each class
    assert crowding_notes(truth, most=120) == []
    (note,) = crowding_notes(truth, most=100)
    assert note.startswith("the model finds at most 100 objects per image, but 1.jpg has 120 objects; `evaluate --max-")
    assert crowding_notes(replace(truth, ignore=torch.ones(120, dtype=torch.bool)), most=100) == []


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (0, 99, r"entry 1 \(image id 99, category id 7\) has an image id that is not in truth.json"),
        (6, 8, r"entry 1 \(image id 1, category id 8\) has a category id that is not in truth.json"),
        (3, -1, "entry 1 .* has a negative width or height"),
        (5, math.nan, "entry 1 .* has a value that is not finite"),
        (2, math.inf, "entry 1 .* has a value that is not finite"),
    ],
)
def test_a_wrong_detection_is_named(column, value, message):
    truth = to_annotations(dataset([annotation(1, 1, 7, [0, 0, 50, 50])], [1]))
    found = np.array([[1, 0, 0, 50, 50, 0.9, 7]] * 3)
    found[1, column] = value
    with pytest.raises(UserError, match="found.json: " + message):
        evaluate_boxes(truth, found, source="found.json")


def test_a_wrong_array_is_named():
    with pytest.raises(UserError, match=r"detections: has shape \(3, 6\); give \(N, 7\)"):
        evaluate_boxes(to_annotations(dataset([], [1])), np.zeros((3, 6)))
