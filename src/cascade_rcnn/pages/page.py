"""Render a page, and embed pictures in it: what a page needs is inside its file, and no request leaves it."""

import base64
import io
from typing import Any

import jinja2
import numpy as np
import PIL.Image

from cascade_rcnn.text import printable


def render(template: str, **values: Any) -> str:
    """Return the HTML page of a template of this package; every value is escaped, and a missing one is an error.

    A template extends `base.html.j2` and takes its macros from `parts.html.j2`, whose comments describe them.
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
    """Escape what a file of UTF-8 cannot hold: names of files come from anywhere."""
    return "\n".join(map(printable, value.split("\n"))) if type(value) is str and not value.isprintable() else value


def data_uri(image: PIL.Image.Image | np.ndarray, *, longest: int = 640, quality: int = 80) -> str:
    """Return an image (PIL, or RGB (H, W, 3) uint8) as a WebP data URI, its long side reduced to `longest` pixels."""
    picture = PIL.Image.fromarray(image) if isinstance(image, np.ndarray) else image.convert("RGB")
    picture.thumbnail((longest, longest), PIL.Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=quality)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
