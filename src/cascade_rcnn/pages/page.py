"""Render self-contained pages, with their pictures embedded, that make no network requests."""

import base64
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import jinja2
import numpy as np
import PIL.Image

from cascade_rcnn.text import printable


class Picture(NamedTuple):
    """A picture in a gallery."""

    uri: str  # from `data_uri`
    alt: str
    caption: str
    path: str  # shown below the caption; may be empty
    tags: Sequence[str]  # to filter by; may be empty


def render(template: str, **values: Any) -> str:
    """Render a template of this package to HTML. All values are escaped; a missing one raises jinja2.UndefinedError.

    Templates extend `base.html.j2` and import macros from `parts.html.j2`; comments in both describe them.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cascade_rcnn", "pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_writable,
    )
    return environment.get_template(template).render(**values)


def _writable(value: Any) -> Any:
    """Escape control characters and what UTF-8 cannot encode; file names come from untrusted data."""
    return "\n".join(map(printable, value.split("\n"))) if type(value) is str and not value.isprintable() else value


def data_uri(image: PIL.Image.Image | np.ndarray, *, longest: int = 640, quality: int = 80) -> str:
    """Encode an image (PIL, or RGB (H, W, 3) uint8) as a WebP data URI with a long side of at most `longest` pixels."""
    picture = PIL.Image.fromarray(image) if isinstance(image, np.ndarray) else image.convert("RGB")
    picture.thumbnail((longest, longest), PIL.Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=quality)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
