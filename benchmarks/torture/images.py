"""Damaged images in every supported format, read as the data loader reads them.

An accepted image must have the pixels that Pillow decodes from the same bytes or, if the file was only truncated, those
of the intact file.
"""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps

from benchmarks.torture.areas import Case
from benchmarks.torture.mutations import Random, cut, mutate_bytes, one
from cascade_rcnn.images.decoding import EXTENSIONS
from cascade_rcnn.images.tensors import read_image

_SIZE = (23, 17)  # width, height

# Variants in which Pillow writes each kind of file: suffix -> (mode, arguments of save).
_VARIANTS: dict[str, list[tuple[str, dict]]] = {
    ".jpg": [("RGB", {"quality": 80}), ("L", {}), ("CMYK", {}), ("RGB", {"progressive": True})],
    ".png": [(mode, {}) for mode in ("RGB", "L", "RGBA", "P", "1", "LA")],
    ".apng": [("RGB", {"save_all": True}), ("P", {})],
    ".bmp": [(mode, {}) for mode in ("RGB", "L", "P", "1")],
    ".webp": [("RGB", {}), ("RGB", {"lossless": True}), ("RGBA", {})],
    ".tif": [
        *(
            (m, {"compression": c})
            for m in ("RGB", "L", "RGBA")
            for c in (None, "tiff_lzw", "tiff_deflate", "packbits")
        ),
        *(("RGB", {"compression": "jpeg"}), ("1", {"compression": "group4"})),
    ],
    ".ppm": [("RGB", {})],
    ".pgm": [("L", {})],
    ".pbm": [("1", {})],
    ".gif": [("P", {}), ("L", {})],
    ".jp2": [("RGB", {}), ("L", {}), ("RGB", {"no_jp2": True})],
    ".mpo": [("RGB", {"save_all": True}), ("RGB", {})],
    ".avif": [("RGB", {})],
}
_SAME_AS = dict.fromkeys((".jpeg", ".jfif", ".jpe"), ".jpg") | {".tiff": ".tif", ".pnm": ".ppm"}
_SAME_AS |= dict.fromkeys((".j2k", ".jpx", ".jpf", ".jpc", ".j2c"), ".jp2")
_FOREIGN = {  # other content under an image's name
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(owned) (w) file\nshowpage\n%%EOF\n",
    "xbm": b"#define a_width 8\n#define a_height 1\nstatic char a_bits[] = {\n0xff };\n",
    "text": b"hello, I am no image\n",
}


def suffixes() -> list[str]:
    """Return the supported image formats, with one suffix for each."""
    return sorted(_VARIANTS.keys() & {_SAME_AS.get(suffix, suffix) for suffix in EXTENSIONS})


def not_covered() -> list[str]:
    """Return the supported formats that cannot be written here."""
    return sorted(suffix for suffix in EXTENSIONS if _SAME_AS.get(suffix, suffix) not in _VARIANTS)


class Images:
    """Files of one kind."""

    def __init__(self, suffix: str) -> None:
        self.suffix, self.name = suffix, f"images: {suffix}"

    def prepare(self, folder: Path) -> None:
        """Write the variants of the format, some with an EXIF orientation."""
        self.good = list(self._write())

    def _write(self) -> Iterator[tuple[bytes, np.ndarray | None]]:
        y, x = np.mgrid[: _SIZE[1], : _SIZE[0]]
        pixels = np.stack((x * 11, y * 15, (x + y) * 6), axis=2).astype(np.uint8)
        for k, (mode, options) in enumerate(_VARIANTS[self.suffix]):
            exif = PIL.Image.Exif()
            exif[0x0112] = 1 + k % 8
            more = {"exif": exif} if self.suffix in (".jpg", ".png", ".webp") else {}
            file = io.BytesIO()
            kind = PIL.Image.registered_extensions()[self.suffix]
            PIL.Image.fromarray(pixels).convert(mode).save(file, kind, **options, **more)
            yield file.getvalue(), decoded(file.getvalue())

    def case(self, random: Random, folder: Path) -> Case:
        """Damage one of the files, or write other content under its name."""
        good, pixels = one(random, self.good)
        path = folder / f"case{self.suffix}"
        if random.random() < 0.02:
            what = one(random, list(_FOREIGN))
            return self._reading(path, _FOREIGN[what], lambda _: f"{what} was opened as {self.suffix}", what)
        if random.random() < 0.25:
            data = cut(random, good)
            return self._reading(path, data, lambda found: _differs(found, pixels), f"cut at {len(data)}")
        what, data = mutate_bytes(random, good)
        return self._reading(path, data, lambda found: _differs(found, decoded(data)), what)

    @staticmethod
    def _reading(path: Path, data: bytes, wrong: Callable[[np.ndarray], str | None], what: str) -> Case:
        def run() -> str | None:
            path.write_bytes(data)
            found = read_image(path)
            if found.dtype.itemsize != 1 or found.shape[0] != 3:
                return f"a tensor of {found.dtype}, {tuple(found.shape)}"
            return wrong(found.permute(1, 2, 0).numpy())

        return what, run


def decoded(data: bytes) -> np.ndarray | None:
    """Decode with Pillow to upright uint8 RGB; None for more than 8 bits per channel, which need a scaling rule."""
    with PIL.Image.open(io.BytesIO(data)) as image:
        if image.mode.startswith(("I", "F")):
            return None
        return np.array(PIL.ImageOps.exif_transpose(image).convert("RGB"))


def _differs(found: np.ndarray, expected: np.ndarray | None) -> str | None:
    if expected is None or np.array_equal(found, expected):
        return None
    if found.shape != expected.shape:
        return f"{found.shape} instead of {expected.shape}"
    return f"{int((found != expected).any(axis=2).sum())} of {found.shape[0] * found.shape[1]} pixels differ"
