"""Every figure: its numbers in JSON, its picture in PNG and SVG, and what it shows in words."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade_rcnn.files import write_json
from cascade_rcnn.studies import curves, drawing
from cascade_rcnn.studies.curves import Panel
from cascade_rcnn.studies.store import Store


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A figure that has been written."""

    name: str
    title: str
    definition: str
    svg: Path | None  # None: nothing of it has been measured
    missing: tuple[str, ...]  # parts that have not


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


def render(store: Store, name: str, folder: Path) -> Drawn:
    """Write `folder`/NAME.json, and .png and .svg unless nothing of it has been measured."""
    return _render_curves(store, name, folder) if name in _CURVES else _render_samples(store, name, folder)


def _render_curves(store: Store, name: str, folder: Path) -> Drawn:
    title, compute = _CURVES[name]
    definition = " ".join((compute.__doc__ or "").split())
    panels = compute(store)
    every = [curve for panel in panels for curve in panel.curves]
    missing = tuple(dict.fromkeys(curve.missing for curve in every if curve.missing is not None))
    _write(folder / name, title, definition, {"panels": [panel.to_dict() for panel in panels]}, missing)
    measured = any(curve.missing is None for curve in every)
    if measured:
        drawing.save(drawing.draw_curves(panels), folder / name)
    svg = folder / f"{name}.svg" if measured else None
    return Drawn(name=name, title=title, definition=definition, svg=svg, missing=missing)


def _render_samples(store: Store, name: str, folder: Path) -> Drawn:
    title, definition = _SAMPLES[name]
    runs = [store.run("cascade", seed) for seed in store.seeds("cascade")]
    found = next((values for run in runs if (values := run.read("samples.json")) is not None), None)
    if found is None:
        missing = ("cascade: samples",)
        _write(folder / name, title, definition, {}, missing)
        return Drawn(name=name, title=title, definition=definition, svg=None, missing=missing)
    definition = f"{definition} {found['images']} images."
    stages, edges = found["stages"], found["edges"]
    if name == "figure2":
        numbers = {"stages": [{k: v for k, v in stage.items() if k not in _OF_FIGURE4} for stage in stages]}
        drawing.save(drawing.draw_scatter(stages), folder / name)
    else:
        numbers = {"edges": edges, "stages": [{k: stage[k] for k in ("u", *_OF_FIGURE4)} for stage in stages]}
        drawing.save(drawing.draw_histograms(stages, edges), folder / name)
    _write(folder / name, title, definition, numbers, ())
    return Drawn(name=name, title=title, definition=definition, svg=folder / f"{name}.svg", missing=())


def _write(path: Path, title: str, definition: str, numbers: dict[str, Any], missing: tuple[str, ...]) -> None:
    values = {"title": title, "definition": definition, "missing": missing, **numbers}
    write_json(path.with_suffix(".json"), values)
