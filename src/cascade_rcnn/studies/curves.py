"""Figures 1 (c, d), 5, 6 and 7 in numbers: what each curve is, where it is computed, section by section.

A figure is a list of panels, a panel a list of curves; all of it is plain JSON. Figures show one seed, the
first that has been measured.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from cascade_rcnn.evaluation.coco import IOU_THRESHOLDS
from cascade_rcnn.studies.store import RunFolder, Store

QUALITY_NAMES = {"baseline": "u = .5", "baseline-60": "u = .6", "baseline-70": "u = .7"}
T = TypeVar("T")
_FEWEST = 10  # boxes that the mean of a bin is taken of


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line; colour and marker by number."""

    label: str
    x: Sequence[float] = ()
    y: Sequence[float] = ()
    look: int = 0
    dashed: bool = False
    missing: str | None = None  # what would have to be measured


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes."""

    title: str
    xlabel: str
    ylabel: str
    curves: list[Curve] = field(default_factory=list)
    diagonal: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def first_measured(store: Store, variant: str, read: Callable[[RunFolder], T | None]) -> T | None:
    """What `read` finds in the first seed's run that has it."""
    found = (read(store.run(variant, seed)) for seed in store.seeds(variant))
    return next((values for values in found if values is not None), None)


def _detection(store: Store, variant: str, setting: str, label: str, look: int, *, dashed: bool = False) -> Curve:
    """AP (percent) over the IoU at which a detection counts as right (COCO's), with the mean in the legend."""
    metrics = first_measured(store, variant, lambda run: run.metrics(setting))
    if metrics is None:
        return Curve(label=label, look=look, dashed=dashed, missing=f"{variant}: {setting}")
    values = [round(100 * x, 3) for x in metrics.precision_by_iou]
    return Curve(label=f"{label} (AP {100 * metrics.ap:.1f})", x=IOU_THRESHOLDS, y=values, look=look, dashed=dashed)


def _localization(store: Store, variant: str, step: int, label: str, look: int, *, dashed: bool = False) -> Curve:
    """Mean IoU of a box after `step` regressions over the IoU of the RPN's proposal that it was, in bins of .05.

    Both with the object that the proposal overlaps most; proposals of the validation images of IoU >= .5.
    """
    found = first_measured(store, variant, lambda run: run.read("localization.json"))
    if found is None or len(found["mean"]) <= step:
        return Curve(label=label, look=look, dashed=dashed, missing=f"{variant}: localization")
    bins = zip(found["count"], found["mean"][0], found["mean"][step], strict=True)
    points = [(into, out) for count, into, out in bins if count >= _FEWEST]
    x, y = zip(*points, strict=True) if points else ((), ())
    return Curve(label=label, x=x, y=y, look=look, dashed=dashed)


def _detection_panel(title: str, curves: list[Curve]) -> Panel:
    return Panel(title=title, xlabel="IoU threshold", ylabel="AP (%)", curves=curves)


def _localization_panel(title: str, curves: list[Curve]) -> Panel:
    return Panel(title=title, xlabel="IoU in", ylabel="IoU out", curves=curves, diagonal=True)


def figure1(store: Store) -> list[Panel]:
    """Figure 1 (c) and (d), section 1: detectors of one stage, each trained with another u, on their own proposals.

    (c) IoU of a box before and after the regressor; above the grey line boxes become better. (d) AP over IoU.
    """
    names = QUALITY_NAMES.items()
    into_out = [_localization(store, variant, 1, label, k) for k, (variant, label) in enumerate(names)]
    ap = [_detection(store, variant, "default", label, k) for k, (variant, label) in enumerate(names)]
    return [_localization_panel("(c) regressor", into_out), _detection_panel("(d) detector", ap)]


def figure5(store: Store) -> list[Panel]:
    """Figure 5, section 5.2: the detectors of Figure 1 on better proposals.

    (a) solid: their own; dashed: the boxes that enter the cascade's stage of the same u, its 2nd (u = .6) and 3rd
    (u = .7). (b) their own and the ground truth.
    """
    own = [_detection(store, v, "default", label, k) for k, (v, label) in enumerate(QUALITY_NAMES.items())]
    dashed = [
        _detection(
            store,
            f"baseline-{percent}",
            f"on-cascade-inputs{t}",
            f"u = .{percent // 10}, stage {t}'s",
            t - 1,
            dashed=True,
        )
        for percent, t in ((60, 2), (70, 3))
    ]
    truth = [_detection(store, v, "with-truth", label, k) for k, (v, label) in enumerate(QUALITY_NAMES.items())]
    return [
        _detection_panel("(a) own proposals, cascade's proposals", own + dashed),
        _detection_panel("(b) with ground truth added", truth),
    ]


def figure6(store: Store) -> list[Panel]:
    """Figure 6, section 5.2: the detector of each stage, alone, on the boxes that enter each of the stages."""
    panels = []
    for detector, u in enumerate((".5", ".6", ".7"), start=1):
        curves = []
        for inputs in (1, 2, 3):
            setting = f"stage{detector}" if inputs == detector else f"stage{detector}-on-inputs{inputs}"
            curves.append(_detection(store, "cascade", setting, f"inputs of stage {inputs}", inputs - 1))
        panels.append(_detection_panel(f"detector of stage {detector}, u = {u}", curves))
    return panels


def figure7(store: Store) -> list[Panel]:
    """Figure 7, section 5.3.

    (a) IoU of the RPN's proposals before and after one, two and three steps: solid the cascade's regressors, dashed
    the baseline's one, applied again (iterative BBox). (b) the classifiers of the integral loss, alone and averaged.
    """
    numbers = ((1, "1st"), (2, "2nd"), (3, "3rd"))
    cascade = [_localization(store, "cascade", t, f"cascade, {name} stage", t - 1) for t, name in numbers]
    again = [
        _localization(store, "baseline", t, f"iterative, {name} iteration", t - 1, dashed=True) for t, name in numbers
    ]
    classifiers = [
        _detection(store, "integral", f"stage{t}", f"u = {u}", t - 1) for t, u in ((1, ".5"), (2, ".6"), (3, ".7"))
    ]
    average = _detection(store, "integral", "default", "ensemble", 3, dashed=True)
    return [
        _localization_panel("(a) localization", cascade + again),
        _detection_panel("(b) classifiers of the integral loss", [*classifiers, average]),
    ]
