"""Plots of given numbers."""

import numpy as np
from matplotlib.figure import Figure

from cascade_rcnn_study.curves import Curve, Panel
from cascade_rcnn_study.plots import plot_curves, plot_histograms, plot_scatter, save
from cascade_rcnn_study.sample_statistics import describe_stage


def panel(*curves: Curve, diagonal: bool = False) -> Panel:
    return Panel(title="t", xlabel="in" if diagonal else "x", ylabel="y", curves=list(curves), diagonal=diagonal)


def test_measured_curves_are_drawn_and_named():
    figure = plot_curves(
        [panel(Curve(label="a", x=[0.5, 0.6], y=[3, 2]), Curve(label="b", missing="b: c")), panel(diagonal=True)]
    )
    left, right = figure.axes
    legend = left.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["a"]
    assert (left.get_xlabel(), left.get_ylim()[0]) == ("x", 0)
    assert right.get_legend() is None
    assert [text.get_text() for text in right.texts] == ["not measured"]


def test_panels_of_one_kind_have_one_scale():
    low, high = (panel(Curve(label="a", x=[0.5, 0.6], y=[y, 0])) for y in (10, 30))
    assert [axis.get_ylim()[1] for axis in plot_curves([low, high]).axes] == [39, 39]
    localization = panel(Curve(label="b", x=[0.5, 0.6], y=[0.6, 0.7]), diagonal=True)
    scales = [axis.get_ylim()[1] for axis in plot_curves([low, localization]).axes]
    assert scales == [13, 1]


def test_no_tick_is_above_100_percent():
    (axis,) = plot_curves([panel(*(Curve(label=name, x=[0.5, 0.6], y=[95, 60]) for name in "abcd"))]).axes
    assert axis.get_ylim()[1] > 120
    assert max(axis.get_yticks()) == 100


def test_scatter_and_histograms_show_every_stage():
    rng = np.random.default_rng(0)
    stages = [describe_stage(rng.random(50), rng.normal(0, 0.1, (50, 4)), u) for u in (0.5, 0.6)]
    scatter = plot_scatter(stages)
    assert len(scatter.axes) == 4
    assert "u = 0.6" in scatter.axes[1].get_title()
    histograms = plot_histograms(stages, np.linspace(0, 1, 51).tolist())
    texts = [text.get_text() for text in histograms.axes[0].texts]
    assert texts == [f"{x:.1f}%" for x in stages[0]["percent_above"].values()]


def test_stages_without_samples_are_drawn(tmp_path):
    nothing = [describe_stage(np.zeros(0), np.zeros((0, 4)), 0.5)]
    save(plot_scatter(nothing), tmp_path / "a")
    save(plot_histograms(nothing, np.linspace(0, 1, 51).tolist()), tmp_path / "b")
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "a.svg", "b.png", "b.svg"}


def test_the_same_numbers_give_the_same_file_and_each_file_is_drawn_once(tmp_path, monkeypatch):
    drawn, draw = [], Figure.draw
    monkeypatch.setattr(Figure, "draw", lambda figure, renderer: drawn.append(renderer) or draw(figure, renderer))
    for name in ("a", "b"):
        save(plot_curves([panel(Curve(label="a", x=[0.5, 0.6], y=[3, 2]))]), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert len(drawn) == 4  # a .png and an .svg of each
