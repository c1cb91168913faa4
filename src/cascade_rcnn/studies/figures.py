"""Every figure: its numbers in JSON, its picture in PNG and SVG, and what it shows in words."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade_rcnn.files import write_json
from cascade_rcnn.studies import curves, drawing
from cascade_rcnn.studies.curves import Panel
from cascade_rcnn.studies.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure in numbers, ready to be written."""

    name: str
    title: str
    definition: str
    numbers: dict[str, Any]  # JSON values
    missing: tuple[str, ...] = ()  # parts that have not been measured
    draw: "Callable[[], Picture] | None"  # None: nothing of it has been measured


_CURVES: dict[str, tuple[str, Callable[[Store], list[Panel]]]] = {
    "figure1": ("Figure 1 (c, d): localization and detection by IoU threshold", curves.figure1),
    "figure5": ("Figure 5: detectors on better proposals", curves.figure5),
    "figure6": ("Figure 6: every stage's detector on every stage's boxes", curves.figure6),
    "figure7": ("Figure 7: iterative BBox and integral loss", curves.figure7),
}
_FIGURE2 = (
    "Section 3.1: equation 2, not normalised, from the boxes a stage is trained on to their ground truth, on training "
    "images, for boxes of IoU >= .5. Red: outliers by the stage's u (IoU below it). Mean and deviation are of the "
    "others. Appended ground truth is left out."
)
_FIGURE4 = (
    "Section 4.2: IoU of the boxes a stage is trained on with their ground truth, on training images; stage 1: the "
    "sample drawn of the RPN's proposals, later ones: what reaches them. In red the percentage of all samples of at "
    "least that IoU. Appended ground truth is left out."
)
_SAMPLES = {
    "figure2": ("Figure 2: regression targets by stage", _FIGURE2),
    "figure4": ("Figure 4: IoU of the training samples by stage", _FIGURE4),
}
_OF_FIGURE4 = ("samples", "histogram", "percent_above")  # of a stage; the rest is Figure 2's
FIGURES = tuple(sorted((*_CURVES, *_SAMPLES)))


def figure(store: Store, name: str) -> Figure:
    """What has been measured of it."""
    return _of_curves(store, name) if name in _CURVES else _of_samples(store, name)


def write(figure: Figure, folder: Path) -> Path | None:
    """Write `folder`/NAME.json, .png and .svg; returns the drawing's path, None where nothing has been measured."""
    path = folder / figure.name
    values = {"title": figure.title, "definition": figure.definition, "missing": figure.missing, **figure.numbers}
    write_json(path.with_suffix(".json"), values)
    if figure.draw is None:
        return None
    drawing.save(figure.draw(), path)
    return path.with_suffix(".svg")


def _of_curves(store: Store, name: str) -> Figure:
    title, compute = _CURVES[name]
    panels = compute(store)
    every = [curve for panel in panels for curve in panel.curves]
    return Figure(
        name=name,
        title=title,
        definition=" ".join((compute.__doc__ or "").split()),
        numbers={"panels": [panel.to_dict() for panel in panels]},
        missing=tuple(dict.fromkeys(curve.missing for curve in every if curve.missing is not None)),
        draw=None if all(curve.missing for curve in every) else lambda: drawing.draw_curves(panels),
    )


def _of_samples(store: Store, name: str) -> Figure:
    title, definition = _SAMPLES[name]
    found = curves.first_measured(store, "cascade", lambda run: run.read("samples.json"))
    if found is None:
        missing = ("cascade: samples",)
        return Figure(name=name, title=title, definition=definition, numbers={}, missing=missing, draw=None)
    definition = f"{definition} {found['images']} images."
    stages, edges = found["stages"], found["edges"]
    if name == "figure2":
        numbers = {"stages": [{k: v for k, v in stage.items() if k not in _OF_FIGURE4} for stage in stages]}
        return Figure(
            name=name, title=title, definition=definition, numbers=numbers, draw=lambda: drawing.draw_scatter(stages)
        )
    return Figure(
        name=name,
        title=title,
        definition=definition,
        numbers={"edges": edges, "stages": [{k: stage[k] for k in ("u", *_OF_FIGURE4)} for stage in stages]},
        draw=lambda: drawing.draw_histograms(stages, edges),
    )
