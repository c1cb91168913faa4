"""Compact instance masks of an image: memory grows with the objects' bounding rectangles, not with G * H * W.

G objects · g selected objects · H, W size of the image · h, w size of an object's rectangle
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cascade_rcnn.errors import UserError
from cascade_rcnn.rle import Bounds

_BITS = torch.tensor([bin(byte).count("1") for byte in range(256)], dtype=torch.uint8, device="cpu")


@dataclass(eq=False)  # not frozen: with mixed precision, Lightning Fabric rejects frozen dataclasses as model inputs
class Masks:
    """The masks of an image's G objects, each stored as the bits of its bounding rectangle.

    >>> dense = torch.zeros(2, 40, 60, dtype=torch.uint8)
    >>> dense[0, 10:20, 5:50] = 1
    >>> masks = Masks.encode(dense)
    >>> masks.boxes().tolist(), masks.areas().tolist()
    ([[5.0, 10.0, 50.0, 20.0], [0.0, 0.0, 0.0, 0.0]], [450, 0])
    >>> bool((masks.hflip().dense() == dense.flip(-1)).all())
    True
    """

    size: tuple[int, int]  # H, W of the image
    bounds: Tensor  # (G, 4) int32: x0, y0, x1, y1 (exclusive) of each rectangle, inside the image; all 0 if empty
    first: Tensor  # (G + 1,) int64: offset of each rectangle's bytes in `data`
    data: Tensor  # uint8: np.packbits of each rectangle, row-major; every rectangle starts at a new byte

    @classmethod
    def encode(cls, dense: Tensor) -> Self:
        """Encode masks (G, H, W). Pixels inside are nonzero or, in floating point, at least 0.5, as probabilities."""
        if dense.ndim != 3:
            raise UserError(f"masks have shape {tuple(dense.shape)}; give (N, H, W), one for each object")
        plain = dense.as_subclass(Tensor)
        inside = (one >= 0.5 if one.is_floating_point() else one != 0 for one in plain)  # one at a time, to save memory
        rows = (one.cpu().numpy() for one in inside)
        return cls.build((int(dense.shape[1]), int(dense.shape[2])), (((0, 0), row) for row in rows))

    @classmethod
    def build(cls, size: tuple[int, int], crops: Iterable[tuple[tuple[int, int], np.ndarray]]) -> Self:
        """Encode crops (h, w) bool inside the image, each given with the column and row of its top left corner.

        Crops larger than their object are trimmed.
        """
        bounds, packed = [], []
        for (left, top), crop in crops:
            rows, columns = (np.flatnonzero(crop.any(axis=axis)) for axis in (1, 0))
            if len(rows) == 0:
                bounds.append((0, 0, 0, 0))
                packed.append(np.empty(0, dtype=np.uint8))
                continue
            x, y, x_end, y_end = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
            bounds.append((left + x, top + y, left + x_end, top + y_end))
            packed.append(np.packbits(crop[y:y_end, x:x_end]))
        first = np.cumsum([0, *map(len, packed)], dtype=np.int64)
        table = np.array(bounds, dtype=np.int32).reshape(-1, 4)
        data = np.concatenate([np.empty(0, dtype=np.uint8), *packed])
        return cls(size, torch.from_numpy(table), torch.from_numpy(first), torch.from_numpy(data))

    @classmethod
    def cat(cls, many: Sequence[Self]) -> Self:
        """Concatenate masks of images of the same size."""
        sizes = sorted({one.size for one in many})
        if len(sizes) != 1:
            raise UserError(f"masks of images of sizes {sizes} cannot be joined; give at least one, all of one size")
        starts = np.cumsum([0, *(len(one.data) for one in many)]).tolist()
        first = [one.first[:-1] + start for one, start in zip(many, starts[:-1], strict=True)]
        last = torch.full_like(many[0].first[:1], starts[-1])
        bounds, data = (torch.cat([getattr(one, name) for one in many]) for name in ("bounds", "data"))
        return cls(sizes[0], bounds, torch.cat([*first, last]), data)

    def to(self, device: torch.device | str) -> Self:
        """Return the masks on a device."""
        return type(self)(self.size, *(x.to(device) for x in (self.bounds, self.first, self.data)))

    def __len__(self) -> int:
        return len(self.bounds)

    def __getitem__(self, rows: Tensor) -> Self:
        """Select objects by a bool mask (G,) or by indices (g,)."""
        rows = rows.nonzero()[:, 0] if rows.dtype == torch.bool else rows.long()
        starts, lengths = self.first[:-1][rows], self.first.diff()[rows]
        first = F.pad(lengths.cumsum(0), (1, 0))
        place = torch.arange(int(first[-1]), device=first.device)
        place = place + (starts - first[:-1]).repeat_interleave(lengths)
        return type(self)(self.size, self.bounds[rows], first, self.data[place])

    def crop(self, i: int) -> np.ndarray:
        """Decode the rectangle of object i: (h, w) bool."""
        x, y, x_end, y_end = self.bounds[i].tolist()
        packed = self.data[self.first[i] : self.first[i + 1]].cpu().numpy()
        height, width = y_end - y, x_end - x
        return np.unpackbits(packed, count=height * width).reshape(height, width).view(bool)

    def dense(self, rows: Tensor | None = None) -> Tensor:
        """Decode all masks, or the selected ones, to (g, H, W) uint8, torchvision's format."""
        chosen = self if rows is None else self[rows]
        full = torch.zeros((len(chosen), *self.size), dtype=torch.uint8, device="cpu")
        for row, (x, y, x_end, y_end), crop in zip(full.numpy(), chosen.bounds.tolist(), chosen.crops(), strict=True):
            row[y:y_end, x:x_end] = crop
        return full.to(self.data.device)

    def flags(self, kept: np.ndarray) -> np.ndarray:
        """Decode the masks of the objects selected by `kept` (G,) bool: (g, H, W) bool."""
        return self.dense(torch.from_numpy(kept.nonzero()[0])).cpu().numpy().view(np.bool_)

    def crops(self) -> Iterable[np.ndarray]:
        """Decode the objects' rectangles one by one."""
        return (self.crop(i) for i in range(len(self)))

    def union(self) -> Tensor:
        """Return the pixels of any object, (H, W) bool."""
        whole = np.zeros(self.size, dtype=np.bool_)
        for (x, y, x_end, y_end), crop in zip(self.bounds.tolist(), self.crops(), strict=True):
            whole[y:y_end, x:x_end] |= crop
        return torch.from_numpy(whole).to(self.data.device)

    def merged(self) -> Self:
        """Return the union of the objects, of which there is at least one, as a single one."""
        x, y, *_ = self.bounds.amin(dim=0).tolist()
        *_, x_end, y_end = self.bounds.amax(dim=0).tolist()
        whole = np.zeros((y_end - y, x_end - x), dtype=np.bool_)
        for (left, top, right, bottom), crop in zip(self.bounds.tolist(), self.crops(), strict=True):
            whole[top - y : bottom - y, left - x : right - x] |= crop
        return self.build(self.size, [((x, y), whole)]).to(self.data.device)

    def without(self, pixels: Tensor) -> Self:
        """Return what is left of each object without some pixels, (H, W) bool."""
        kept = ~pixels.cpu().numpy()
        return self._moved(self.size, lambda b: (b[0], b[1]), lambda crop, b: crop & kept[b[1] : b[3], b[0] : b[2]])

    def areas(self) -> Tensor:
        """Count each object's pixels: (G,) int64."""
        until = F.pad(_BITS.to(self.data.device)[self.data.long()].cumsum(0, dtype=torch.int64), (1, 0))
        return until[self.first].diff()

    def boxes(self) -> Tensor:
        """Return the smallest box around each mask: (G, 4) float32 XYXY; all 0 for empty ones."""
        return self.bounds.float()

    # -- geometric transforms, with exactly their effect on dense masks --------------------------------------------

    def hflip(self) -> Self:
        """Flip horizontally."""
        width = self.size[1]
        return self._moved(self.size, lambda b: (width - b[2], b[1]), lambda crop, _: crop[:, ::-1])

    def vflip(self) -> Self:
        """Flip vertically."""
        height = self.size[0]
        return self._moved(self.size, lambda b: (b[0], height - b[3]), lambda crop, _: crop[::-1])

    def rot90(self, k: int) -> Self:
        """Rotate counterclockwise by k right angles, like `torch.rot90(masks, k, (1, 2))`."""
        height, width = self.size
        k %= 4
        corner: dict[int, Callable[[Bounds], tuple[int, int]]] = {
            0: lambda b: (b[0], b[1]),
            1: lambda b: (b[1], width - b[2]),
            2: lambda b: (width - b[2], height - b[3]),
            3: lambda b: (height - b[3], b[0]),
        }
        size = (height, width) if k % 2 == 0 else (width, height)
        return self._moved(size, corner[k], lambda crop, _: np.rot90(crop, k))

    def window(self, top: int, left: int, height: int, width: int) -> Self:
        """Crop to a window, filled with 0 outside the image."""

        def cut(crop: np.ndarray, b: Bounds) -> np.ndarray:
            x, y = b[0] - left, b[1] - top  # position of the crop in the window
            return crop[max(0, -y) : max(0, height - y), max(0, -x) : max(0, width - x)]

        return self._moved((height, width), lambda b: (max(0, b[0] - left), max(0, b[1] - top)), cut)

    def resize(self, height: int, width: int) -> Self:
        """Resize with nearest-neighbour interpolation, like `F.interpolate(masks, (height, width), mode="nearest")`."""
        rows, columns = _sources(self.size[0], height), _sources(self.size[1], width)

        def resized(crop: np.ndarray, b: Bounds) -> np.ndarray:
            y, x = (
                source[slice(*np.searchsorted(source, span))] for source, span in ((rows, b[1::2]), (columns, b[::2]))
            )
            return crop[(y - b[1])[:, None], x - b[0]]

        def corner(b: Bounds) -> tuple[int, int]:
            return int(np.searchsorted(columns, b[0])), int(np.searchsorted(rows, b[1]))

        return self._moved((height, width), corner, resized)

    def _moved(
        self,
        size: tuple[int, int],
        corner: Callable[[Bounds], tuple[int, int]],
        change: Callable[[np.ndarray, Bounds], np.ndarray],
    ) -> Self:
        """Transform each crop by `change` and encode it at the column and row given by `corner`."""
        bounds = [(x, y, x_end, y_end) for x, y, x_end, y_end in self.bounds.tolist()]
        pairs = zip(bounds, self.crops(), strict=True)
        return self.build(size, ((corner(b), change(crop, b)) for b, crop in pairs)).to(self.data.device)


def _sources(old: int, new: int) -> np.ndarray:
    """Return the index of the source pixel of each new pixel, rounded like torch does."""
    pixels = torch.arange(float(old), device="cpu")
    return F.interpolate(pixels[None, None], size=new, mode="nearest")[0, 0].long().numpy()
