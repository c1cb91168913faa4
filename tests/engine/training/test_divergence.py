"""The note about a loss that explodes."""

from collections.abc import Iterable

import torch

from cascade_rcnn.engine.training.callbacks import StepEnd
from cascade_rcnn.engine.training.divergence import DivergenceWatch
from cascade_rcnn.models.create import create_model
from cascade_rcnn.recipes import OptimizerConfig


def watch(losses: Iterable[float]) -> None:
    torch.manual_seed(0)
    model = create_model("cascade_rcnn_resnet18_fpn", 1, backbone_width=8, pyramid_channels=8, head_width=8)
    watching = DivergenceWatch(OptimizerConfig(lr=0.08, warmup_steps=30))
    for step, loss in enumerate(losses, start=1):
        end = StepEnd(
            model=model,
            epoch=1,
            step=step,
            total_steps=90,
            learning_rate=0.02,
            losses={"a": loss / 4, "b": 3 * loss / 4},
        )
        watching.on_step_end(end)


def test_one_line_about_a_loss_that_explodes_and_falls_again(capsys):
    watch([4.0, 5.0, *[2.0] * 8, *[51.0] * 9, *[1e5] * 20, *[1.0] * 20, *[1e6] * 20])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: the loss has risen from 5 to 51 by update 16: training diverges")
    assert line.endswith("a lower --optimizer.lr (now 0.08) or more --optimizer.warmup-steps (now 30)")


def test_none_about_outliers_and_a_slow_rise(capsys):
    watch([5.0, *[2.0] * 9, *[1e6] * 4, *[2.0] * 10, *[49.0] * 20])
    assert capsys.readouterr().err == ""
