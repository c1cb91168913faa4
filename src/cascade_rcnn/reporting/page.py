"""The HTML page of a report on one detector."""

from collections.abc import Mapping
from typing import Any, get_args

import numpy as np

from cascade_rcnn.images.tensors import to_pixels
from cascade_rcnn.pages import Picture, render
from cascade_rcnn.reporting import images, pictures, plots, thresholds
from cascade_rcnn.reporting.advice import advise
from cascade_rcnn.reporting.analysis import Analysis
from cascade_rcnn.reporting.errors import KINDS
from cascade_rcnn.reporting.label_errors import Kind, Suspect
from cascade_rcnn.reporting.text import between, decimal, percent
from cascade_rcnn.reporting.thresholds import Operating

_WORST, _BEST, _SUSPECTS = 8, 4, 8  # images, images, close-ups of each kind of label error
_CLASSES = 30  # in a confusion matrix
_ANSWERS = {
    "localization": "objects are found, but their boxes are not precise enough",
    "class": "objects are found, but assigned to the wrong class",
    "class and box": "both classes and boxes are wrong",
    "duplicates": "objects are found more than once",
    "background": "there are too many detections where nothing is annotated",
    "missed": "too many objects are missed",
}


def page(analysis: Analysis, facts: Mapping[str, str]) -> str:
    """Return the HTML of a report; `facts` describe what was evaluated, as names and texts."""
    overall, masks = analysis.headline.overall, analysis.evidence.metrics.masks
    mask_ap = "" if masks is None else f", mask AP {percent(masks.ap)}"
    return render(
        "report.html.j2",
        answer=f"{'' if masks is None else 'Box '}AP {percent(overall['ap'].mean)}{mask_ap}: {_answer(analysis)}",
        facts=facts,
        tiles=_tiles(analysis),
        advice=advise(analysis),
        charts=_charts(analysis),
        classes=_classes(analysis),
        masks=_masks(analysis),
        drawn=analysis.evidence.masks is not None,
        by_iou=[(f"{50 + 5 * k}", percent(one.mean), between(one)) for k, one in enumerate(analysis.headline.by_iou)],
        bounded=analysis.headline.bounded,
        resamples=analysis.headline.resamples,
        errors=_errors(analysis),
        confusion=_confusion(analysis),
        groups=_groups(analysis),
        stages=_stages(analysis),
        thresholds=_thresholds(analysis),
        best_thresholds=[[name, *_operating(one)] for name, one in analysis.best.items()],
        threshold=decimal(analysis.evidence.threshold),
        calibration_error=decimal(analysis.calibration.error),
        gallery=_gallery(analysis),
        suspects=_suspects(analysis),
        counts={kind: sum(one.kind == kind for one in analysis.suspects) for kind in get_args(Kind)},
    )


def _answer(analysis: Analysis) -> str:
    """Name the type of error that costs the most AP, at IoU 0.5 and 0.75 together."""
    if not analysis.evidence.pairs.matches.truth.any():
        return "no objects are annotated"
    costs = {name: sum(split.cost[name] for split in analysis.splits) for name in analysis.splits[0].cost}
    worst = max(costs, key=lambda name: costs[name])
    return _ANSWERS[worst] if costs[worst] > 0.01 else "nothing stands out"


def _tiles(analysis: Analysis) -> list[tuple[str, str, str, str]]:
    overall, shown = analysis.headline.overall, analysis.evidence.operating
    names = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "ap90": "AP90"}
    tiles = [(text, percent(overall[name].mean), between(overall[name]), "") for name, text in names.items()]
    at = f"at score {decimal(shown.threshold)}"
    tiles += [("Precision", percent(shown.precision), at, ""), ("Recall", percent(shown.recall), at, "")]
    if (masks := analysis.evidence.metrics.masks) is None:
        return tiles
    of_masks = {"Mask AP": masks.ap, "Mask AP50": masks.ap50, "Mask AP75": masks.ap75}
    return tiles + [(text, percent(value), "", "") for text, value in of_masks.items()]


def _charts(analysis: Analysis) -> dict[str, str | None]:
    """Return the plots by name; None for those without data."""
    training, stages, matches = analysis.training, analysis.stages, analysis.evidence.pairs.matches
    curves = training.curves if training else None
    return {
        "losses": plots.losses(curves) if curves else None,
        "validation": plots.validation(curves) if curves and curves.evaluated else None,
        "rate": plots.rate(curves) if curves else None,
        "by_iou": plots.by_iou(analysis.headline.by_iou),
        "precision": plots.curves_of_precision(analysis.precision_recall),
        "reliability": plots.reliability(analysis.calibration),
        "localization": plots.localization(stages) if stages else None,
        "thresholds": plots.thresholds(thresholds.operate(matches, thresholds.GRID), analysis.evidence.threshold),
    }


def _classes(analysis: Analysis) -> list[list[Any]]:
    rows = []
    for row in analysis.headline.classes:
        ap = row.values
        metrics = [percent(ap["ap"].mean), between(ap["ap"]), *(percent(ap[k].mean) for k in ("ap50", "ap75", "ap90"))]
        rows.append([row.name, row.boxes, *metrics])
    return rows


def _masks(analysis: Analysis) -> dict[str, Any] | None:
    """Return mask AP beside box AP, overall and by class; None if it is not measured."""
    boxes = analysis.evidence.metrics
    if boxes.masks is None:
        return None
    kinds = {"boxes": boxes, "masks": boxes.masks, "boundaries of masks": boxes.boundaries}
    rows = [
        [name, one.boxes, *map(percent, (one.ap, one.ap50, one.ap75, one.ap90))]
        for name, one in kinds.items()
        if one is not None
    ]
    classes = [
        [mask.name, mask.boxes, *map(percent, (box.ap, mask.ap, box.ap50, mask.ap50, box.ap75, mask.ap75))]
        for box, mask in zip(boxes.per_class, boxes.masks.per_class, strict=True)
    ]
    return {"rows": rows, "classes": classes}


def _errors(analysis: Analysis) -> list[dict[str, Any]]:
    """Return bars and tables for both IoUs, with the bars on the same scale."""
    top = max(max(split.cost.values()) for split in analysis.splits) or 1.0
    return [
        {
            "iou": decimal(split.iou),
            "ap": percent(split.ap),
            "bars": [(name, cost / top, f"{percent(cost)} AP") for name, cost in split.cost.items()],
            "rows": [
                (name, meaning, percent(split.cost[name]), split.counts[name]) for name, meaning in KINDS.values()
            ],
        }
        for split in analysis.splits
    ]


def _confusion(analysis: Analysis) -> dict[str, Any] | None:
    """Return the matrix with each cell's share of its row; None if there is only one class."""
    found = analysis.confusion
    if len(found.names) < 2:
        return None
    objects = found.matrix[:-1].sum(axis=1)
    kept = np.sort(np.argsort(-objects, kind="stable")[:_CLASSES])
    kept = np.append(kept, len(found.names))  # and background
    matrix = found.matrix[np.ix_(kept, kept)]
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    heads = [*(found.names[k] for k in kept[:-1])]
    rows = [
        (name, [(int(n), float(s), i == j) for j, (n, s) in enumerate(zip(matrix[i], share[i], strict=True))])
        for i, name in enumerate([*heads, "background"])
    ]
    return {"heads": [*heads, "missed"], "rows": rows, "left_out": len(found.names) - len(heads)}


def _groups(analysis: Analysis) -> list[tuple[str, list[list[Any]]]]:
    return [
        (title, [[g.name, g.objects, *map(percent, (g.ap, g.ap50, g.ap75, g.recall))] for g in groups])
        for title, groups in zip(("Size", "Shape", "Crowding"), analysis.breakdown, strict=True)
    ]


def _stages(analysis: Analysis) -> dict[str, Any] | None:
    found = analysis.stages
    if found is None:
        return None
    names = ["proposal", *(f"after stage {t}" for t in range(1, len(found.iou)))]
    gains = [
        "",
        *(f"{after - before:+.3f}".replace("-", "−") for before, after in zip(found.iou, found.iou[1:], strict=False)),
    ]
    return {
        "images": found.images,
        "boxes": found.boxes,
        "steps": [[name, f"{iou:.3f}", gain] for name, iou, gain in zip(names, found.iou, gains, strict=True)],
        "rows": [[row.name, *map(percent, (row.ap, row.ap50, row.ap75, row.ap90))] for row in found.rows],
        "many": len(found.iou) > 2,
    }


def _thresholds(analysis: Analysis) -> list[list[str]]:
    images = max(1, len(analysis.evidence.truth))
    listed = {one.threshold: one for one in [*analysis.thresholds, analysis.evidence.operating]}
    rows = []
    for _, one in sorted(listed.items()):
        mark = " (chosen)" if one.threshold == analysis.evidence.threshold else ""
        threshold, *metrics = _operating(one)
        rows.append([f"{threshold}{mark}", *metrics, f"{one.detections / images:.1f}"])
    return rows


def _operating(one: Operating | None) -> list[str]:
    """Return a threshold and its metrics; dashes without one."""
    if one is None:
        return ["–"] * 6
    return [decimal(one.threshold), *map(percent, (one.precision, one.recall, one.f1, one.precision75, one.recall75))]


def _gallery(analysis: Analysis) -> list[Picture]:
    """Draw the predictions next to the ground truth on the worst and the best images."""
    scores, evidence = analysis.images, analysis.evidence
    low = images.worst(scores, _WORST)
    high = [i for i in images.best(scores, _BEST) if i not in low]
    shown = []
    for i, tag in [*((i, "worst") for i in low), *((i, "best") for i in high)]:
        pixels = to_pixels(evidence.dataset[i][0])
        left = pictures.drawn(pixels, pictures.found_boxes(evidence, i))
        right = pictures.drawn(pixels, pictures.true_boxes(evidence, i))
        text = (
            f"{scores.right[i]} correct, {scores.wrong[i]} wrong, {scores.missed[i]} missed; "
            f"score {scores.score[i]:.2f}"
        )
        uri = pictures.pair_picture(left, right, ("predicted", "annotated"))
        shown.append(Picture(uri, f"predicted and annotated boxes: {text}", text, evidence.truth.file_names[i], [tag]))
    return shown


def _suspects(analysis: Analysis) -> list[Picture]:
    """Draw close-ups of the most suspicious annotations of each kind."""
    chosen: list[Suspect] = []
    for kind in get_args(Kind):
        chosen += [one for one in analysis.suspects if one.kind == kind][:_SUSPECTS]
    evidence, read = analysis.evidence, dict[int, np.ndarray]()
    shown = []
    for one in chosen:
        if one.image not in read:
            read = {one.image: to_pixels(evidence.dataset[one.image][0])}  # only the last one, as images may be large
        shown.append(pictures.suspect_picture(evidence, read[one.image], one))
    return shown
