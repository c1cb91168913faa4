"""The command `cascade-rcnn study`."""

from collections.abc import Sequence


def study(arguments: Sequence[str]) -> None:
    """Reproduce the paper's tables and figures on your data: `study list`, `plan`, `run`, `render`."""
    from cascade_rcnn_study.command import main as run

    run(arguments)
