"""The command `cascade-rcnn quickstart`."""

from pathlib import Path

from cascade_rcnn.commands.tables import print_table


def quickstart(*, output: Path = Path("runs/quickstart")) -> None:
    """Find people in a photo, then fine-tune, evaluate and visualise a cascade on blood cells, in minutes on any CPU.

    Args:
        output: Folder for all outputs.
    """
    from cascade_rcnn.api.quickstart import run

    print_table(run(output))
