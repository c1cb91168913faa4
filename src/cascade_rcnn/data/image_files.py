"""Image files without decoding them: which there are, how large they are, which are missing."""

import os
from pathlib import Path

import PIL.Image

from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.errors import UserError
from cascade_rcnn.images import EXTENSIONS

_ORIENTATION = 0x0112  # EXIF tag; 5 to 8 turn the image by a quarter


def list_images(folder: Path) -> list[Path]:
    """Every image file below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS)


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of the upright image, from the header of its file.

    Raises UserError naming the file when it is missing or is no image.
    """
    try:
        with PIL.Image.open(path) as image:
            turned = image.getexif().get(_ORIENTATION, 1) >= 5
            return (image.width, image.height) if turned else (image.height, image.width)
    except FileNotFoundError:
        raise UserError(f"{path}: no such image; check the path and the images folder") from None
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise UserError(f"{path}: this image does not open ({error}); replace it or remove it from the list") from None


def check_images(annotations: Annotations) -> None:
    """Raise one UserError with the number of missing image files and the first of them.

    Each folder is listed once: a look-up per file is slow on network file systems.
    """
    listings: dict[str, set[str]] = {}
    missing = []
    for name in annotations.file_names:
        folder, base = os.path.split(annotations.images_dir / name)
        if folder not in listings:
            listings[folder] = set(os.listdir(folder)) if Path(folder).is_dir() else set()  # noqa: PTH208
        if base not in listings[folder]:
            missing.append(name)
    if missing:
        raise UserError(
            f"{annotations.source}: {len(missing)} of {len(annotations)} images are not in {annotations.images_dir} "
            f"(first: {missing[0]}); give the right images folder"
        )
