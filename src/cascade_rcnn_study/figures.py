"""The figures of the paper: their numbers as JSON, their plots as PNG and SVG, and their definitions in words."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade_rcnn.errors import UserError
from cascade_rcnn.files import write_json
from cascade_rcnn_study import curves, plots
from cascade_rcnn_study.architectures import architectures
from cascade_rcnn_study.curves import Panel
from cascade_rcnn_study.diagrams import plot_architectures
from cascade_rcnn_study.pictures import SHOWN, decode, plot_outputs
from cascade_rcnn_study.run_files import damaged
from cascade_rcnn_study.study_folder import RunFolder, StudyFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Plot


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure as numbers, ready to be written."""

    name: str
    title: str
    definition: str
    numbers: dict[str, Any]  # plain JSON values
    missing: tuple[str, ...] = ()  # parts that have not been measured
    plot: "Callable[[], Plot] | None"  # None: none of it has been measured


_CURVES: dict[str, tuple[str, Callable[[StudyFolder], list[Panel]]]] = {
    "figure1": ("Figure 1 (c, d): localization and detection by IoU threshold", curves.figure1),
    "figure5": ("Figure 5: detectors on better proposals", curves.figure5),
    "figure6": ("Figure 6: detectors of all stages on the inputs of all stages", curves.figure6),
    "figure7": ("Figure 7: iterative BBox and integral loss", curves.figure7),
}
_FIGURE2 = (
    "Section 3.1: equation 2, not normalised, from the boxes that a stage is trained on to their ground truth, on "
    "training images, for boxes with IoU >= .5. Outliers, whose IoU is below the stage's u, are red. Mean and standard "
    "deviation are those of the other boxes. Appended ground truth is left out."
)
_FIGURE4 = (
    "Section 4.2: IoU of the boxes that a stage is trained on with their ground truth, on training images: at stage 1 "
    "the sampled proposals of the RPN, at later stages the boxes that reach them. The percentages of all samples with "
    "at least that IoU are red. Appended ground truth is left out."
)
_FIGURE3 = (
    "Section 3: the architectures of the models with these names and default options, drawn from their configs. H are "
    "heads, C classifiers with the u that they are trained with, and B regressors, from whose boxes the features of "
    "the next head are pooled. Parts with the same name share their weights."
)
_FIGURE1AB = (
    "Section 1: what detectors of one stage find in validation images, trained with u = .5 and with u = .7: boxes with "
    f"a score of at least {SHOWN:g}, coloured by their best IoU with an object of their class. The images are those "
    "whose smallest objects are the largest."
)
_OUTPUTS = {"baseline": "(a) detection of u = .5", "baseline-70": "(b) detection of u = .7"}
_SAMPLES = {
    "figure2": ("Figure 2: regression targets by stage", _FIGURE2),
    "figure4": ("Figure 4: IoU of the training samples by stage", _FIGURE4),
}
_OF_FIGURE4 = ("samples", "histogram", "percent_above")  # numbers of a stage; the others belong to Figure 2
FIGURES = tuple(sorted((*_CURVES, *_SAMPLES, "figure1ab", "figure3")))


def figure(folder: StudyFolder, name: str) -> Figure:
    """Make a figure from what has been measured."""
    if name == "figure3":
        return _of_architectures()
    if name == "figure1ab":
        return _of_outputs(folder)
    return _of_curves(folder, name) if name in _CURVES else _of_samples(folder, name)


def write(figure: Figure, folder: Path) -> Path | None:
    """Write NAME.json, .png and .svg to `folder`; return the path of the SVG, None if nothing has been measured."""
    path = folder / figure.name
    values = {"title": figure.title, "definition": figure.definition, "missing": figure.missing, **figure.numbers}
    write_json(path.with_suffix(".json"), values)
    if figure.plot is None:
        return None
    plots.save(figure.plot(), path)
    return path.with_suffix(".svg")


def _of_architectures() -> Figure:
    panels = architectures()
    return Figure(
        name="figure3",
        title="Figure 3: the architectures",
        definition=_FIGURE3,
        numbers={"panels": [panel.to_dict() for panel in panels]},
        plot=lambda: plot_architectures(panels),
    )


def _of_outputs(folder: StudyFolder) -> Figure:
    found = {title: curves.first_measured(folder, variant, _outputs) for variant, title in _OUTPUTS.items()}
    panels = {title: outputs for title, outputs in found.items() if outputs}  # there are none without annotated objects
    if len({tuple(output["image"] for output in outputs) for outputs in panels.values()}) > 1:
        files = " and ".join(f"{variant}-seed*/outputs.json" for variant in _OUTPUTS)
        raise UserError(f"{folder.runs}: {files} are of different images; delete these files and rerun the study")
    boxes = {title: [_without_picture(output) for output in outputs] for title, outputs in panels.items()}
    return Figure(
        name="figure1ab",
        title="Figure 1 (a, b): detections of u = .5 and u = .7",
        definition=_FIGURE1AB,
        numbers={"panels": boxes},
        missing=tuple(f"{variant}: outputs" for variant, title in _OUTPUTS.items() if title not in panels),
        plot=(lambda: plot_outputs(panels)) if panels else None,
    )


def _outputs(run: RunFolder) -> list[dict[str, Any]] | None:
    outputs = run.read("outputs.json")
    for output in outputs or ():
        if len({len(output[name]) for name in ("boxes", "scores", "ious")}) > 1:
            raise damaged(run.path / "outputs.json", "boxes, scores and ious differ in number")
        try:
            decode(output["picture"])
        except (UserError, ValueError):
            raise damaged(run.path / "outputs.json", f"the picture of {output['image']} is not an image") from None
    return outputs


def _without_picture(output: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in output.items() if name != "picture"}


def _of_curves(folder: StudyFolder, name: str) -> Figure:
    title, compute = _CURVES[name]
    panels = compute(folder)
    every = [curve for panel in panels for curve in panel.curves]
    return Figure(
        name=name,
        title=title,
        definition=" ".join((compute.__doc__ or "").split()),
        numbers={"panels": [panel.to_dict() for panel in panels]},
        missing=tuple(dict.fromkeys(curve.missing for curve in every if curve.missing is not None)),
        plot=None if all(curve.missing for curve in every) else lambda: plots.plot_curves(panels),
    )


def _of_samples(folder: StudyFolder, name: str) -> Figure:
    title, definition = _SAMPLES[name]
    found = curves.first_measured(folder, "cascade", lambda run: run.read("samples.json"))
    if found is None:
        missing = ("cascade: samples",)
        return Figure(name=name, title=title, definition=definition, numbers={}, missing=missing, plot=None)
    definition = f"{definition} {found['images']} images."
    stages, edges = found["stages"], found["edges"]
    if name == "figure2":
        numbers = {"stages": [{k: v for k, v in stage.items() if k not in _OF_FIGURE4} for stage in stages]}
        return Figure(
            name=name, title=title, definition=definition, numbers=numbers, plot=lambda: plots.plot_scatter(stages)
        )
    return Figure(
        name=name,
        title=title,
        definition=definition,
        numbers={"edges": edges, "stages": [{k: stage[k] for k in ("u", *_OF_FIGURE4)} for stage in stages]},
        plot=lambda: plots.plot_histograms(stages, edges),
    )
