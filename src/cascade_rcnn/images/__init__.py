"""Images: files and arrays to RGB pixels. Only `tensors` needs torch, so that the runtime can do without it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cascade_rcnn.images.tensors import read_image, to_tensor

__all__ = ["read_image", "to_tensor"]


def __getattr__(name: str) -> Any:  # where these two were before they had a file of their own
    if name in __all__:
        from cascade_rcnn.images import tensors

        return getattr(tensors, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
