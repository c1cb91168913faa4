import pytest
import torch
from torchvision.ops import roi_align

from cascade_rcnn.masks import Masks
from cascade_rcnn.tasks import mask_targets as module
from cascade_rcnn.tasks.mask_targets import mask_targets


def scene(seed: int) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return dense masks of two images of different sizes (one object is empty), and boxes in, across and beyond."""
    draw = torch.Generator().manual_seed(seed)
    dense = []
    for height, width in ((30, 47), (52, 21)):
        masks = torch.zeros(3, height, width, dtype=torch.uint8)
        for mask in masks[:2]:
            (y, y_end), (x, x_end) = (torch.randint(0, s + 1, (2,), generator=draw).sort()[0] for s in (height, width))
            mask[y:y_end, x:x_end] = (torch.rand(y_end - y, x_end - x, generator=draw) < 0.7).byte()
        dense.append(masks)
    image, matched = torch.randint(0, 2, (40,), generator=draw), torch.randint(0, 3, (40,), generator=draw)
    corner = torch.rand(40, 2, generator=draw) * 60 - 10
    boxes = torch.cat([corner, corner + torch.rand(40, 2, generator=draw) ** 2 * 90], dim=1)
    boxes[0, 2:] = boxes[0, :2]  # empty
    boxes[1] += 1000  # far outside
    return dense, image, matched, boxes


def pooled(dense: list[torch.Tensor], image: torch.Tensor, matched: torch.Tensor, boxes: torch.Tensor, aligned: bool):
    """Pool with torchvision, one box at a time."""
    bitmaps = [dense[i][k][None, None].float() for i, k in zip(image, matched, strict=True)]
    pairs = zip(bitmaps, boxes[:, None], strict=True)
    return torch.cat([roi_align(bitmap, [box], 28, 1.0, 0, aligned)[:, 0] for bitmap, box in pairs])


@pytest.mark.parametrize("cells", [1 << 22, 500])
def test_they_are_those_of_roi_align_on_the_full_bitmaps(cells, monkeypatch):
    monkeypatch.setattr(module, "_CELLS", cells)  # in one chunk, and in many
    for seed in range(4):
        dense, image, matched, boxes = scene(seed)
        masks = [Masks.encode(one) for one in dense]
        soft = mask_targets(masks, image, matched, boxes, 28, soft=True)
        torch.testing.assert_close(soft, pooled(dense, image, matched, boxes, aligned=False), atol=2e-5, rtol=0)
        share = pooled(dense, image, matched, boxes, aligned=True)
        binary = mask_targets(masks, image, matched, boxes, 28, soft=False)
        clear = (share - 0.5).abs() > 1e-4
        assert torch.equal(binary[clear], (share >= 0.5).float()[clear])
        assert binary.unique().tolist() == [0, 1]


def test_a_half_lies_inside():
    """Each bin of a 28 x 28 target is one mask pixel, shifted by half a pixel: the left column is half inside."""
    dense = torch.zeros(1, 40, 40, dtype=torch.uint8)
    dense[:, 5:20, 5:20] = 1
    box = torch.tensor([[4.5, 5, 32.5, 33]])
    zero = torch.zeros(1, dtype=torch.int64)
    target = mask_targets([Masks.encode(dense)], zero, zero, box, 28, soft=False)[0]
    assert target[:15].sum(dim=1).tolist() == [16.0] * 15  # both half-covered columns
    assert int(target[15:].sum()) == 0


def test_images_without_objects_have_empty_targets():
    none = Masks.encode(torch.zeros(0, 8, 8))
    zero = torch.zeros(1, dtype=torch.int64)
    assert mask_targets([none], zero, zero, torch.tensor([[0.0, 0, 8, 8]]), 28, soft=False).sum() == 0
