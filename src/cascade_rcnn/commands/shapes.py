"""The command `cascade-rcnn shapes`."""

from pathlib import Path

from cascade_rcnn.commands.parameters import Positional


def shapes(
    folder: Positional[Path],
    /,
    *,
    train: int = 400,
    val: int = 100,
    size: int = 256,
    seed: int = 0,
) -> None:
    """Write the built-in toy dataset `shapes` as COCO json and images.

    Args:
        folder: Folder to write to.
        train: Number of training images.
        val: Number of validation images.
        size: Height and width of the images in pixels.
        seed: Random seed of the dataset.
    """
    from cascade_rcnn.data.shapes import write_shapes

    print(write_shapes(folder, train=train, val=val, size=size, seed=seed))
