"""Join the detections of overlapping tiles, so that objects on a border are detected once, and as a whole.

1. Two detections of the same class in two tiles belong to the same object if they agree in the overlap of the tiles:
   their boxes, clipped to it, have an IoU of at least 0.5. This works for objects that are complete in both tiles, cut
   by one, or larger than the overlap and complete in neither. Pairs are grouped in descending order of their IoU times
   the lower of their scores, and a group has at most one detection from each tile.
2. Each side of the joined box is taken from the highest-scoring member whose tile does not cut that side or, if all
   tiles cut it, from the outermost box. Members with less than half of the best score are ignored, so that an uncertain
   box cannot stretch a reliable one. The joined score is the highest of the group.
3. A box that is still cut, since it has no match in the neighbouring tile, is dropped as a fragment if another tile
   found a larger object of its class that contains most of it and has at least half of its score.
4. Class-wise NMS with the model's own threshold removes duplicates.

If the model's NMS is class-agnostic, all classes count as the same one, and the class is that of the highest score.

N detections · T tiles · H, W size of the image
"""

import torch
from torch import Tensor

from cascade_rcnn import boxes as box_ops
from cascade_rcnn.config import InferenceConfig
from cascade_rcnn.masks import Masks
from cascade_rcnn.nms import keep_mask
from cascade_rcnn.passes.interface import Found, join, rows

_SAME = 0.5  # IoU in the overlap
_INSIDE = 0.7  # fraction of a fragment that the larger box contains
_MARGIN = 0.05  # of a tile: a box that ends this close to an inner border counts as cut, as boxes are inexact
_RELIABLE = 0.5  # fraction of the best score
_CHUNK = 256  # boxes compared with all others at once


def join_tiles(parts: list[Found], windows: Tensor, size: tuple[int, int], config: InferenceConfig) -> Found:
    """Join detections in the pixels of each tile to those of the image, of size (H, W); windows (T, 4), XYXY."""
    if len(parts) == 1:
        return parts[0]
    found, tile = _in_image(parts, windows, size)
    if len(tile) == 0:
        return found
    labels = found["labels"]
    found["kinds"] = torch.zeros_like(labels) if config.agnostic_nms else labels  # all boxes of an object have the same
    groups = _groups(found, tile, windows.float())
    cut = _cut(found["boxes"], windows.float()[tile], size)
    joined, still_cut = _join(found, groups, cut)
    joined = rows(joined, ~_fragments(joined, still_cut, groups, tile))
    return _without_duplicates(joined, config.nms_iou)


def _in_image(parts: list[Found], windows: Tensor, size: tuple[int, int]) -> tuple[Found, Tensor]:
    """Shift detections to their position in the image; also return the index of each one's tile, (N,)."""
    moved = []
    for part, window in zip(parts, windows, strict=True):
        boxes = part["boxes"] + window[:2].repeat(2).to(part["boxes"])
        x, y, *_ = window.tolist()
        masks = {"masks": part["masks"].window(-y, -x, *size)} if "masks" in part else {}
        moved.append({**part, "boxes": boxes, **masks})
    numbers = windows.new_tensor([len(part["scores"]) for part in parts])
    return join(moved), torch.arange(len(parts), device=windows.device).repeat_interleave(numbers)


def _cut(boxes: Tensor, windows: Tensor, size: tuple[int, int]) -> Tensor:
    """Return which sides of each box are cut, (N, 4) bool: those at a border of its tile that is not the image's."""
    margin = _MARGIN * (windows[:, 2:] - windows[:, :2])
    height, width = size
    low = (boxes[:, :2] <= windows[:, :2] + margin) & (windows[:, :2] > 0)
    high = (boxes[:, 2:] >= windows[:, 2:] - margin) & (windows[:, 2:] < windows.new_tensor([width, height]))
    return torch.cat([low, high], dim=1)


def _groups(found: Found, tile: Tensor, windows: Tensor) -> list[list[int]]:
    """Return the rows of the detections of each object (rule 1)."""
    there = torch.arange(len(tile), device=tile.device).split(tile.bincount(minlength=len(windows)).tolist())
    neighbours = box_ops.nonempty(_shared(windows[:, None], windows)).triu(diagonal=1).nonzero().tolist()
    pairs = [
        pair for a, b in neighbours for pair in _agreeing(found, there[a], there[b], _shared(windows[a], windows[b]))
    ]
    group = {i: [i] for i in range(len(tile))}
    for _, i, j in sorted(pairs, reverse=True):
        one, other = group[i], group[j]
        tiles = tile[tile.new_tensor(one + other)]
        if one is not other and len(tiles.unique()) == len(tiles):
            one += other
            group |= dict.fromkeys(other, one)
    return [members for first, members in group.items() if members[0] == first]


def _shared(a: Tensor, b: Tensor) -> Tensor:
    return torch.cat([torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])], dim=-1)


def _agreeing(found: Found, a: Tensor, b: Tensor, common: Tensor) -> list[tuple[float, int, int]]:
    """Return the rows of detections of two tiles that agree in their overlap, with their IoU times the lower score."""
    if len(a) == 0 or len(b) == 0:
        return []
    boxes, scores, kinds = (found[name] for name in ("boxes", "scores", "kinds"))
    iou = box_ops.iou(_shared(boxes[a], common), _shared(boxes[b], common))
    i, j = ((iou >= _SAME) & (kinds[a][:, None] == kinds[b])).nonzero().unbind(1)
    agreement = iou[i, j] * torch.minimum(scores[a[i]], scores[b[j]])
    return list(zip(agreement.tolist(), a[i].tolist(), b[j].tolist(), strict=True))


def _join(found: Found, groups: list[list[int]], cut: Tensor) -> tuple[Found, Tensor]:
    """Return one detection per group (rule 2), and which of them are still cut."""
    reliable = [_reliable(found["scores"], torch.tensor(members, device=cut.device)) for members in groups]
    area = box_ops.area(found["boxes"])
    fullest = torch.stack([members[area[members].argmax()] for members in reliable])
    joined, still_cut = rows(found, fullest), cut[fullest].any(dim=1)
    for row, members in enumerate(reliable):
        boxes, scores, hidden = found["boxes"][members], found["scores"][members], cut[members]
        best = torch.where(hidden, -1.0, scores[:, None]).argmax(dim=0)
        outermost = torch.cat([boxes[:, :2].amin(dim=0), boxes[:, 2:].amax(dim=0)])
        joined["boxes"][row] = torch.where(hidden.all(dim=0), outermost, boxes.gather(0, best[None])[0])
        joined["scores"][row], joined["labels"][row] = scores.max(), found["labels"][members[scores.argmax()]]
        still_cut[row] = hidden.all(dim=0).any()
    if "masks" in joined:
        joined["masks"] = Masks.cat([found["masks"][members].merged() for members in reliable])
    return joined, still_cut


def _reliable(scores: Tensor, members: Tensor) -> Tensor:
    return members[scores[members] >= _RELIABLE * scores[members].max()]


def _fragments(joined: Found, cut: Tensor, groups: list[list[int]], tile: Tensor) -> Tensor:
    """Return which detections are fragments of larger ones found in other tiles (rule 3)."""
    boxes, scores, kinds = (joined[name] for name in ("boxes", "scores", "kinds"))
    area = box_ops.area(boxes)
    tiles = [frozenset(tile[tile.new_tensor(members)].tolist()) for members in groups]
    fragment = torch.zeros_like(cut)
    for some in cut.nonzero()[:, 0].split(_CHUNK):
        inside = box_ops.intersection_over_area(boxes, boxes[some]).T >= _INSIDE
        inside &= (kinds[some][:, None] == kinds) & (area[some][:, None] < area)
        inside &= _RELIABLE * scores[some][:, None] <= scores
        for row, whole in zip(some.tolist(), inside, strict=True):
            fragment[row] = any(tiles[k] - tiles[row] for k in whole.nonzero()[:, 0].tolist())
    return fragment


def _without_duplicates(found: Found, nms_iou: float) -> Found:
    """Apply NMS and sort by score (rule 4)."""
    boxes, scores, kinds = (found[name][None] for name in ("boxes", "scores", "kinds"))
    keep = keep_mask(boxes, scores, kinds, torch.ones_like(scores, dtype=torch.bool), nms_iou)[0]
    order = found["scores"].argsort(descending=True, stable=True)
    del found["kinds"]
    return rows(found, order[keep[order]])
