"""The curves of Figures 1 (c, d), 5, 6 and 7 as numbers.

A figure is a list of panels and a panel a list of curves, all plain JSON values. A figure shows one seed, the first
that has been measured.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from cascade_rcnn.evaluation.metrics import IOU_THRESHOLDS
from cascade_rcnn_study.study_folder import RunFolder, StudyFolder

DETECTORS = {"baseline": "u = .5", "baseline-60": "u = .6", "baseline-70": "u = .7"}  # variants and their labels
T = TypeVar("T")
_FEWEST = 10  # minimum number of boxes in a bin


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line of a panel."""

    label: str
    x: Sequence[float] = ()
    y: Sequence[float] = ()
    look: int = 0  # index of its colour and marker
    dashed: bool = False
    missing: str | None = None  # the measurement that is missing


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes."""

    title: str
    xlabel: str
    ylabel: str
    curves: list[Curve] = field(default_factory=list)
    diagonal: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def first_measured(folder: StudyFolder, variant: str, read: Callable[[RunFolder], T | None]) -> T | None:
    """Return what `read` finds in the runs of a variant, for the first seed that has it."""
    found = (read(run) for run in folder.of(variant))
    return next((values for values in found if values is not None), None)


def _detection(
    folder: StudyFolder, variant: str, setting: str, label: str, look: int, *, dashed: bool = False
) -> Curve:
    """Return AP (percent) by IoU threshold, with the COCO mean in the label."""
    metrics = first_measured(folder, variant, lambda run: run.metrics(setting))
    if metrics is None:
        return Curve(label=label, look=look, dashed=dashed, missing=f"{variant}: {setting}")
    values = [round(100 * x, 3) for x in metrics.precision_by_iou]
    return Curve(label=f"{label} (AP {100 * metrics.ap:.1f})", x=IOU_THRESHOLDS, y=values, look=look, dashed=dashed)


def _localization(
    folder: StudyFolder, variant: str, step: int, label: str, look: int, *, dashed: bool = False
) -> Curve:
    """Return the mean IoU of boxes after `step` regressions by the IoU of their RPN proposals, in bins of .05.

    Both IoUs are with the object that the proposal overlaps most. Only proposals with IoU >= .5 on validation images
    count.
    """
    found = first_measured(folder, variant, lambda run: run.read("localization.json"))
    if found is None or len(found["mean"]) <= step:
        return Curve(label=label, look=look, dashed=dashed, missing=f"{variant}: localization")
    bins = zip(found["count"], found["mean"][0], found["mean"][step], strict=True)
    points = [(before, after) for count, before, after in bins if count >= _FEWEST]
    x, y = zip(*points, strict=True) if points else ((), ())
    return Curve(label=label, x=x, y=y, look=look, dashed=dashed)


def _detectors(folder: StudyFolder, setting: str) -> list[Curve]:
    """Return the AP curves of the single-stage detectors in one setting."""
    return [_detection(folder, variant, setting, label, k) for k, (variant, label) in enumerate(DETECTORS.items())]


def _detection_panel(title: str, curves: list[Curve]) -> Panel:
    return Panel(title=title, xlabel="IoU threshold", ylabel="AP (%)", curves=curves)


def _localization_panel(title: str, curves: list[Curve]) -> Panel:
    return Panel(title=title, xlabel="IoU in", ylabel="IoU out", curves=curves, diagonal=True)


def figure1(folder: StudyFolder) -> list[Panel]:
    """Figure 1 (c, d), section 1: single-stage detectors, each trained with a different u, on their own proposals.

    (c) IoU of boxes before and after regression; above the grey line they improve. (d) AP by IoU threshold.
    """
    regressors = [_localization(folder, variant, 1, label, k) for k, (variant, label) in enumerate(DETECTORS.items())]
    return [
        _localization_panel("(c) regressor", regressors),
        _detection_panel("(d) detector", _detectors(folder, "default")),
    ]


def figure5(folder: StudyFolder) -> list[Panel]:
    """Figure 5, section 5.2: the detectors of Figure 1 on better proposals.

    (a) Solid lines use their own proposals; dashed lines use the boxes that enter the cascade's stage with the same u,
    the 2nd (u = .6) or the 3rd (u = .7). (b) Their own proposals and the ground truth.
    """
    dashed = [
        _detection(folder, variant, f"on-cascade-inputs{t}", f"{DETECTORS[variant]}, stage {t}'s", t - 1, dashed=True)
        for variant, t in (("baseline-60", 2), ("baseline-70", 3))
    ]
    return [
        _detection_panel("(a) own proposals, cascade's proposals", [*_detectors(folder, "default"), *dashed]),
        _detection_panel("(b) with ground truth added", _detectors(folder, "with-truth")),
    ]


def figure6(folder: StudyFolder) -> list[Panel]:
    """Figure 6, section 5.2: the detector of each stage, without the others, on the inputs of each stage."""
    panels = []
    for detector, u in enumerate((".5", ".6", ".7"), start=1):
        curves = []
        for inputs in (1, 2, 3):
            setting = f"stage{detector}" if inputs == detector else f"stage{detector}-on-inputs{inputs}"
            curves.append(_detection(folder, "cascade", setting, f"inputs of stage {inputs}", inputs - 1))
        panels.append(_detection_panel(f"detector of stage {detector}, u = {u}", curves))
    return panels


def figure7(folder: StudyFolder) -> list[Panel]:
    """Figure 7, section 5.3.

    (a) IoU of the RPN's proposals before and after one, two and three regressions. Solid lines use the regressors of
    the cascade; dashed lines repeat the single regressor of the baseline (iterative BBox). (b) The classifiers of the
    integral loss, alone and averaged.
    """
    steps = ((1, "1st"), (2, "2nd"), (3, "3rd"))
    cascade = [_localization(folder, "cascade", t, f"cascade, {name} stage", t - 1) for t, name in steps]
    repeated = [
        _localization(folder, "baseline", t, f"iterative, {name} iteration", t - 1, dashed=True) for t, name in steps
    ]
    classifiers = [
        _detection(folder, "integral", f"stage{t}", f"u = {u}", t - 1) for t, u in ((1, ".5"), (2, ".6"), (3, ".7"))
    ]
    average = _detection(folder, "integral", "default", "ensemble", 3, dashed=True)
    return [
        _localization_panel("(a) localization", cascade + repeated),
        _detection_panel("(b) classifiers of the integral loss", [*classifiers, average]),
    ]
