"""Advice on what to do next. Each rule applies only if the metrics call for it, and quotes them."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from cascade_rcnn.evaluation.bootstrap import LEAST_IMAGES
from cascade_rcnn.reporting import thresholds
from cascade_rcnn.reporting.analysis import Analysis
from cascade_rcnn.reporting.breakdown import Group
from cascade_rcnn.reporting.headline import images_with_objects
from cascade_rcnn.reporting.text import decimal
from cascade_rcnn.text import count

_MOST = 7  # pieces of advice
_COSTLY = 0.03  # AP lost to one type of error before it is mentioned
_BEHIND = 0.15  # gap between a group's recall and the overall recall
_FEW_IMAGES, _FEW_BOXES = 200, 100
_WIDE = 0.03  # AP, half the width of the 95 % interval
_BLIND = 0.2  # fraction of objects never found from which on the detector is to blame, not the annotations
_RISING, _FALLEN = 0.01, 0.01  # change of AP between evaluations


class Advice(NamedTuple):
    """A piece of advice."""

    title: str
    text: str
    weight: float  # roughly the AP to be gained; the largest comes first


def advise(analysis: Analysis) -> list[Advice]:
    """Return at most seven pieces of advice, the most rewarding first; empty if nothing stands out."""
    rules = (_placement, _classes, _background, _missed, _duplicates, _small, _crowded)
    rules += (_training, _data, _labels, _rare, _stage, _scores)
    found = [advice for rule in rules for advice in rule(analysis)]
    return sorted(found, key=lambda one: -one.weight)[:_MOST]


def _points(ap: float) -> str:
    return f"{100 * ap:.1f} AP"


def _placement(analysis: Analysis) -> Iterator[Advice]:
    split = analysis.splits[1]
    cost = split.cost["localization"]
    if split.worst != "localization" or cost < _COSTLY:
        return
    size = analysis.training.min_size if analysis.training else None
    now = f", currently {max(size)} pixels" if size else ""
    text = (
        f"Objects are found, but their boxes are not precise enough: at IoU 0.75, fixing localization errors alone "
        f"would add {_points(cost)}, more than fixing any other type of error. Train longer and on larger images "
        f"(`--options.min-size`{now}). If the annotated boxes are loose, tighten them first, as no detector is more "
        "precise than its labels."
    )
    stages = analysis.stages
    if stages is not None and len(stages.iou) == 2:  # the proposals and one stage
        text += " This detector has a single stage; a cascade of three regresses more precise boxes."
    yield Advice("Make the boxes more precise", text, cost)


def _classes(analysis: Analysis) -> Iterator[Advice]:
    cost, pairs = analysis.splits[0].cost["class"], analysis.confusion.pairs()
    if cost < _COSTLY or not pairs:
        return
    true, found, number, objects = pairs[0]
    text = (
        f"Well-localized boxes of the wrong class cost {_points(cost)} at IoU 0.5. Most often, {true} is mistaken for "
        f"{found} ({number} of {objects}). Check that the annotations distinguish the two consistently, and add "
        "examples of both."
    )
    yield Advice("Tell the classes apart", text, cost)


def _background(analysis: Analysis) -> Iterator[Advice]:
    split = analysis.splits[0]
    cost, number = split.cost["background"], split.counts["background"]
    if cost < _COSTLY:
        return
    unlabelled = sum(one.kind == "unlabelled" for one in analysis.suspects)
    look = f" For {unlabelled} of them, the label may be missing; check these first." if unlabelled else ""
    text = (
        f"{number} detections with a score of at least {decimal(analysis.evidence.threshold)} lie where nothing is "
        f"annotated, which costs {_points(cost)} at IoU 0.5.{look} If they are wrong, add similar images to the "
        "training data, including images without any objects."
    )
    yield Advice("Reduce false positives on background", text, cost)


def _missed(analysis: Analysis) -> Iterator[Advice]:
    cost = analysis.splits[0].cost["missed"]
    if cost < _COSTLY:
        return
    never = sum(one.kind == "never found" for one in analysis.suspects)
    objects = int(analysis.evidence.pairs.matches.truth.sum())
    text = (
        f"Objects without any detection near them cost {_points(cost)} at IoU 0.5; {never} of {objects} have none at "
        "any score. Look at them: if the anchors do not fit their sizes or shapes, set `--options.anchor-sizes` and "
        "`--options.anchor-ratios`; otherwise, add more examples like them."
    )
    yield Advice("Find the missed objects", text, cost)


def _duplicates(analysis: Analysis) -> Iterator[Advice]:
    cost = analysis.splits[0].cost["duplicates"]
    if cost < _COSTLY:
        return
    text = (
        f"Duplicate detections of the same object cost {_points(cost)} at IoU 0.5. Lower the IoU threshold of "
        "non-maximum suppression: `predict --nms 0.4`."
    )
    yield Advice("Find each object once", text, cost)


def _behind(groups: list[Group], wanted: range, overall: float) -> list[Group]:
    """Return the `wanted` groups (by index) that have enough objects and a recall well below the overall one."""
    total = sum(group.objects for group in groups)
    return [
        group
        for group in (groups[k] for k in wanted if k < len(groups))
        if group.objects >= max(10, total / 50) and group.recall < overall - _BEHIND
    ]


def _small(analysis: Analysis) -> Iterator[Advice]:
    overall, groups = analysis.evidence.operating.recall, analysis.breakdown.size
    small = [k for k, group in enumerate(groups) if group.name in ("up to 16 px", "16 to 32 px")]
    behind = _behind(groups, range(len(small)), overall)
    if not behind:
        return
    worst = min(behind, key=lambda group: group.recall)
    text = (
        f"Recall is {100 * worst.recall:.0f} % for the {worst.objects} objects of {worst.name}, compared with "
        f"{100 * overall:.0f} % overall. Train on larger images (`--options.min-size`) or with smaller anchors "
        "(`--options.anchor-sizes`); cut very large images into tiles."
    )
    yield Advice("Find small objects", text, (overall - worst.recall) * worst.objects / _objects(analysis))


def _crowded(analysis: Analysis) -> Iterator[Advice]:
    overall, groups = analysis.evidence.operating.recall, analysis.breakdown.crowding
    dense = [k for k, group in enumerate(groups) if group.name.startswith(("overlapping", "crowded"))]
    behind = _behind(groups, range(dense[0], dense[-1] + 1), overall) if dense else []
    if not behind:
        return
    worst = min(behind, key=lambda group: group.recall)
    text = (
        f"Recall is {100 * worst.recall:.0f} % for the {worst.objects} objects in the crowding group "
        f'"{worst.name}", compared with {100 * overall:.0f} % overall. Non-maximum suppression may remove them; try '
        "`predict --nms 0.6`, and check that such groups are annotated completely."
    )
    yield Advice("Find overlapping objects", text, (overall - worst.recall) * worst.objects / _objects(analysis))


def _objects(analysis: Analysis) -> int:
    return max(1, int(analysis.evidence.pairs.matches.truth.sum()))


def _training(analysis: Analysis) -> Iterator[Advice]:
    """Advise on training runs that were too long or too short."""
    curves = analysis.training.curves if analysis.training else None
    if curves is None or len(curves.evaluated) < 2:
        return
    scores = [one.ap for one in curves.evaluated]
    top, last = int(np.argmax(scores)), len(scores) - 1
    best = curves.evaluated[top]
    if scores[last] < scores[top] - _FALLEN:
        at_best = float(np.interp(best.step, curves.steps, curves.losses["loss"]))
        if curves.losses["loss"][-1] < at_best:
            text = (
                f"AP fell from {100 * best.ap:.1f} after epoch {best.epoch} to {100 * scores[last]:.1f} at the end, "
                f"while the training loss fell from {at_best:.2f} to {curves.losses['loss'][-1]:.2f}: the model is "
                f"overfitting. Train for {count(best.epoch, 'epoch')}, or with more augmentation (`--augmentation "
                "natural`, or the list for such images)."
            )
            yield Advice("Stop earlier", text, scores[top] - scores[last])
    elif top == last and scores[last] - scores[last - 1] > _RISING:
        before = curves.evaluated[last - 1]
        text = (
            f"AP was still rising at the end, from {100 * before.ap:.1f} after epoch {before.epoch} to "
            f"{100 * best.ap:.1f} after epoch {best.epoch}. Train for about {2 * curves.epochs} epochs."
        )
        yield Advice("Train longer", text, scores[last] - scores[last - 1])


def _data(analysis: Analysis) -> Iterator[Advice]:
    """Advise on too few training or validation images."""
    if analysis.training is not None and analysis.training.images < _FEW_IMAGES:
        text = (
            f"The detector was trained on about {analysis.training.images} images. With so few, more images usually "
            "help more than any setting; until you have them, use augmentation (`--augmentation natural`, "
            "or the list for such images)."
        )
        yield Advice("Label more images", text, _COSTLY)
    mean, low, high = analysis.headline.overall["ap"]
    if (shown := _shown(analysis)) < LEAST_IMAGES:
        text = (
            f"AP on {count(shown, 'image')} with objects says little: a 95 % interval, and a comparison with another "
            f"training run, take at least {LEAST_IMAGES}. Use more validation images."
        )
        yield Advice("Evaluate on more images", text, _COSTLY / 2)
    elif high - low > 2 * _WIDE:
        text = (
            f"With {len(analysis.evidence.truth)} images, the 95 % interval of AP {100 * mean:.1f} is "
            f"{100 * low:.1f} to {100 * high:.1f}; smaller differences between training runs are not meaningful. Use "
            "more validation images, or compare runs with `cascade-rcnn report A B`, which pairs them image by image."
        )
        yield Advice("Evaluate on more images", text, _COSTLY / 2)


def _shown(analysis: Analysis) -> int:
    """Return the number of images with objects."""
    return images_with_objects(analysis.evidence.pairs.matches.truth)


def _labels(analysis: Analysis) -> Iterator[Advice]:
    number, objects = len(analysis.suspects), _objects(analysis)
    if (never := sum(one.kind == "never found" for one in analysis.suspects)) > _BLIND * objects:
        number -= never
    if number < 0.03 * objects:
        return
    annotated = count(int(analysis.evidence.pairs.matches.truth.sum()), "annotated object")
    text = (
        f"The annotations may be wrong in {count(number, 'place')}, with {annotated} in all. The report shows the most "
        "suspicious ones, and report.json lists all. Fixing them improves both training and evaluation."
    )
    yield Advice("Check the annotations", text, min(0.1, number / objects / 2))


def _rare(analysis: Analysis) -> Iterator[Advice]:
    rows = [row for row in analysis.headline.classes if row.boxes]
    overall = analysis.headline.overall["ap"].mean
    low = min(0.75 * overall, overall - _COSTLY)
    poor = [row for row in rows if row.boxes < _FEW_BOXES and row.values["ap"].mean < low]
    if not poor or len(rows) < 2:
        return
    names = ", ".join(
        f"{row.name} (AP {100 * row.values['ap'].mean:.1f}, {count(row.boxes, 'box')})" for row in poor[:4]
    )
    text = f"Rare classes lower the mean AP of {100 * overall:.1f}: {names}. Label more of their objects first."
    lost = overall - float(np.mean([row.values["ap"].mean for row in poor]))
    yield Advice("Label more objects of rare classes", text, lost)


def _stage(analysis: Analysis) -> Iterator[Advice]:
    if analysis.stages is None or min(analysis.stages.images, _shown(analysis)) < LEAST_IMAGES:
        return
    *single, own = analysis.stages.rows
    best = max(single, key=lambda row: row.ap)
    if not best.ap > own.ap + 0.005:
        return
    text = (
        f"The boxes and scores of stage {best.test_stage} alone give {_points(best.ap)}, the model's own setting "
        f"{_points(own.ap)} (on {analysis.stages.images} images). Select the stage with "
        f"`load(..., test_stage={best.test_stage}, ensemble=False)`. If it is an early stage, the later ones have not "
        "learned enough yet; train longer."
    )
    yield Advice("Use another stage", text, best.ap - own.ap)


def _scores(analysis: Analysis) -> Iterator[Advice]:
    found, chosen = analysis.calibration, thresholds.best(analysis.evidence.pairs.matches)
    if not abs(found.bias) > 0.1 or chosen is None:
        return
    word = "higher" if found.bias > 0 else "lower"
    text = (
        f"On average, scores are {abs(found.bias):.2f} {word} than the fraction of correct detections. Do not read "
        f"them as probabilities; on this data, the threshold with the best F1 is {decimal(chosen.threshold)}."
    )
    yield Advice("Choose the threshold on your data", text, _COSTLY / 3)
