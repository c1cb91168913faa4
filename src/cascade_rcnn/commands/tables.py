"""Print tables of metrics to the console."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cascade_rcnn.evaluation import Metrics


def print_table(metrics: "Metrics") -> None:
    """Print metrics in a table of the console's width, or of 120 columns if stdout is not a terminal."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(metrics.table(console.width))
    for noun, part in (("mask", metrics.masks), ("outline", metrics.boundaries)):
        if part is not None:
            console.print()
            console.print(part.table(console.width, noun))
