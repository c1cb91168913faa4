"""Advice from hand-made learning curves."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from cascade_rcnn.engine.training.advice import Advice
from cascade_rcnn.engine.training.callbacks import EpochEnd, StepEnd


def _steps(advice: Advice, losses: list[float], total: int = 1000) -> None:
    for loss in losses:
        values: Any = SimpleNamespace(
            losses={"loss_objectness": loss / 2, "loss_classifier_stage1": loss / 2},
            total_steps=total,
            step=len(advice.losses) + 1,
        )
        advice.on_step_end(cast(StepEnd, values))


def _epoch(advice: Advice, ap: float | None) -> None:
    metrics = None if ap is None else SimpleNamespace(ap=ap)
    advice.on_epoch_end(cast(EpochEnd, SimpleNamespace(metrics=metrics)))


@pytest.fixture
def told() -> list[str]:
    return []


def test_a_flat_loss_is_reported_once(told):
    advice = Advice(told.append)
    _steps(advice, [2.0] * 199)
    assert told == []
    _steps(advice, [2.0] * 400)
    assert len(told) == 1
    assert told[0].startswith(
        "the loss of proposals and classes is flat (2 at first, 2 after 200 updates): raise --opt"
    )


def test_the_losses_of_a_resumed_run_are_not_its_first(told):
    advice = Advice(told.append)
    for step in range(501, 1001):
        values: Any = SimpleNamespace(losses={"loss_objectness": 2.0}, total_steps=1000, step=step)
        advice.on_step_end(cast(StepEnd, values))
    assert told == []


def test_a_loss_that_falls_is_fine(told):
    _steps(Advice(told.append), [2.0 - 0.004 * k for k in range(400)])
    assert told == []


def test_box_losses_may_rise_while_proposals_and_classes_are_learned(told):
    """In a cascade that learns, more boxes become positives."""
    advice = Advice(told.append)
    for step in range(1, 401):
        falling, rising = 2.0 - 0.004 * step, 0.1 + 0.02 * step
        losses = {"loss_rpn_box_reg": falling, "loss_classifier_stage1": falling, "loss_box_reg_stage3": rising}
        advice.on_step_end(cast(StepEnd, SimpleNamespace(losses=losses, total_steps=1000, step=step)))
    assert told == []


def test_a_loss_that_rises_calls_for_a_lower_rate(told):
    _steps(Advice(told.append), [2.0 + 0.01 * k for k in range(400)])
    (line,) = told
    assert line.startswith(
        "the loss of proposals and classes rises (2.25 at first, 3.75 after 200 updates): lower --opt"
    )


def test_one_line_about_a_loss_that_explodes_and_falls_again(told):
    _steps(Advice(told.append), [4.0, 5.0, *[2.0] * 8, *[51.0] * 9, *[1e5] * 200, *[1.0] * 200, *[1e6] * 20])
    (line,) = told
    assert line.startswith("the loss has exploded (at first up to 5, 51 after 16 updates)")
    assert line.endswith("a lower --optimizer.lr or more --optimizer.warmup-steps")


def test_a_loss_may_explode_at_once(told):
    _steps(Advice(told.append), [4.0, 1e5, 5e8])
    (line,) = told
    assert line.startswith("the loss has exploded (at first up to 40, 1e+05 after 3 updates)")


def test_outliers_are_no_explosion(told):
    _steps(Advice(told.append), [5.0, *[4.0] * 9, *[1e6] * 4, *[3.0 - 0.005 * k for k in range(100)]])
    assert told == []


def test_a_long_training_gets_longer_to_show_it(told):
    """A twentieth of 10,000 updates is 500, so advice waits for 2,000 updates."""
    advice = Advice(told.append)
    _steps(advice, [1.0] * 1999, total=10_000)
    assert told == []
    _steps(advice, [1.0], total=10_000)
    assert len(told) == 1


@pytest.mark.parametrize(
    ("scores", "losses", "lines"),
    [
        ((0.3, 0.5, 0.45, 0.42), (1.0, 0.8, 0.6, 0.4), 1),
        ((0.3, 0.5, 0.45, 0.42, 0.40), (1.0, 0.8, 0.6, 0.4, 0.3), 1),  # advice is given once
        ((0.3, 0.5, 0.45, 0.49), (1.0, 0.8, 0.6, 0.4), 0),  # AP has recovered
        ((0.3, 0.5, 0.45, 0.42), (1.0, 0.8, 0.9, 1.0), 0),  # the loss rises as well, which has another cause
        ((0.3, 0.5, 0.49, 0.485), (1.0, 0.8, 0.6, 0.4), 0),  # within the scatter of evaluations
        ((0.3, None, 0.5, None, 0.55), (1.0, 0.8, 0.6, 0.4, 0.3), 0),  # not evaluated after every epoch
    ],
)
def test_ap_that_falls_while_the_loss_falls(told, scores, losses, lines):
    advice = Advice(told.append)
    for ap, loss in zip(scores, losses, strict=True):
        _steps(advice, [loss] * 50, total=10**6)
        _epoch(advice, ap)
    assert len(told) == lines
    assert all("AP has fallen from 0.500" in line and "--patience" in line for line in told)


def test_it_goes_to_the_terminal(capsys):
    _steps(Advice(), [2.0] * 200)
    assert capsys.readouterr().err.startswith("advice: the loss of proposals and classes is flat")
