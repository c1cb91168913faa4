"""The HTML page that compares two detectors."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cascade_rcnn.drawing import side_by_side
from cascade_rcnn.evaluation.bootstrap import Interval
from cascade_rcnn.images.tensors import to_pixels
from cascade_rcnn.pages import Picture, data_uri, render
from cascade_rcnn.reporting import pictures, plots
from cascade_rcnn.reporting.comparison import Comparison
from cascade_rcnn.reporting.text import between, decimal, percent, signed

_IMAGES = 6  # won, and the same number lost
_DRAWN_WIDTH = 1100  # pixels, of a picture of both results and the annotations
_METRICS = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "ap90": "AP90"}


def page(comparison: Comparison, names: Sequence[str], facts: Mapping[str, str]) -> str:
    """Return the HTML of a comparison; `names` are those of the two detectors."""
    gains = comparison.gains
    return render(
        "comparison.html.j2",
        answer=answer(comparison, names),
        names=names,
        facts=facts,
        rows=[_row(comparison, text, metric) for metric, text in _METRICS.items()] + _mask_rows(comparison),
        masks=comparison.masks is not None,
        classes=_classes(comparison),
        bounded=comparison.difference.bounded,
        resamples=comparison.difference.resamples,
        plot=plots.by_iou(*(own.by_iou for own in comparison.own)),
        won=int((gains > 0).sum()),
        lost=int((gains < 0).sum()),
        alike=int((gains == 0).sum()),
        thresholds=(decimal(comparison.a.threshold), decimal(comparison.b.threshold)),
        gallery=_gallery(comparison, names),
    )


def answer(comparison: Comparison, names: Sequence[str]) -> str:
    """Say which detector is better, if the interval excludes 0."""
    difference, metric = comparison.difference.overall["ap"], "AP" if comparison.masks is None else "box AP"
    change = f"{signed(difference.mean)} {metric} ({between(difference, signed)})"
    if math.isnan(difference.low):
        return f"No verdict on {names[1]} and {names[0]}: {change}"
    if difference.low > 0:
        return f"{names[1]} is better than {names[0]}: {change}"
    if difference.high < 0:
        return f"{names[1]} is worse than {names[0]}: {change}"
    return f"No significant difference on these images: {change}"


def _verdict(difference: Interval) -> str:
    if math.isnan(difference.low):
        return "–"
    return "better" if difference.low > 0 else "worse" if difference.high < 0 else "not significantly different"


def _cells(own: Sequence[Interval], difference: Interval) -> list[Any]:
    change = signed(difference.mean), between(difference, signed)
    return [percent(own[0].mean), percent(own[1].mean), *change, _verdict(difference)]


def _row(comparison: Comparison, text: str, metric: str) -> list[Any]:
    return [text, *_cells([one.overall[metric] for one in comparison.own], comparison.difference.overall[metric])]


def _mask_rows(comparison: Comparison) -> list[list[Any]]:
    """Return rows of mask AP, without intervals and verdicts; none if it is not measured."""
    if (both := comparison.masks) is None:
        return []
    values = [(text, *(getattr(one, metric) for one in both)) for metric, text in _METRICS.items()]
    return [[f"mask {text}", percent(a), percent(b), signed(b - a), "–", "–"] for text, a, b in values]


def _classes(comparison: Comparison) -> list[list[Any]]:
    rows = zip(*(one.classes for one in comparison.own), comparison.difference.classes, strict=True)
    return [
        [difference.name, difference.boxes, *_cells([a.values["ap"], b.values["ap"]], difference.values["ap"])]
        for a, b, difference in rows
    ]


def _gallery(comparison: Comparison, names: Sequence[str]) -> list[Picture]:
    """Draw a, b and the annotations on the images where b is better, and worse, by the largest margins."""
    gains = comparison.gains
    order = np.argsort(gains, kind="stable")
    lost = [int(i) for i in order if gains[i] < 0][:_IMAGES]
    won = [int(i) for i in order[::-1] if gains[i] > 0][:_IMAGES]
    shown = []
    for i, tag in [*((i, "won") for i in won), *((i, "lost") for i in lost)]:
        pixels = to_pixels(comparison.a.dataset[i][0])
        drawn = [pictures.drawn(pixels, pictures.found_boxes(one, i)) for one in (comparison.a, comparison.b)]
        true = [box._replace(colour=pictures.TRUE) for box in pictures.true_boxes(comparison.a, i)]
        drawn.append(pictures.drawn(pixels, true))
        before, after = (one.score[i] for one in comparison.scores)
        text = f"score {before:.2f} → {after:.2f}"
        uri = data_uri(side_by_side(drawn, [*names, "annotated"], drawn[0].height), longest=_DRAWN_WIDTH, quality=72)
        shown.append(Picture(uri, f"{names[0]}, {names[1]} and annotated: {text}", text, _file(comparison, i), [tag]))
    return shown


def _file(comparison: Comparison, i: int) -> str:
    return comparison.a.truth.file_names[i]
