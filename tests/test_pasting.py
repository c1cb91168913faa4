import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.models.detection.roi_heads import paste_masks_in_image

from cascade_rcnn.pasting import paste, paste_crops, paste_encoded

HEIGHT, WIDTH = 60, 90


@pytest.fixture(scope="module")
def maps() -> tuple[torch.Tensor, torch.Tensor]:
    """Return probabilities, and boxes inside, across the border, and smaller than a pixel."""
    draw = torch.Generator().manual_seed(0)
    corner = torch.rand(12, 2, generator=draw) * torch.tensor([80.0, 50]) - 5
    boxes = torch.cat([corner, corner + torch.rand(12, 2, generator=draw) * 60], dim=1)
    boxes[0, 2:] = boxes[0, :2] + 0.3
    return torch.rand(12, 28, 28, generator=draw), boxes


def test_they_are_those_of_grid_sample_at_pixel_centres(maps):
    masks, boxes = maps
    x = (torch.arange(WIDTH) + 0.5 - boxes[:, 0:1]) / (boxes[:, 2:3] - boxes[:, 0:1]) * 2 - 1
    y = (torch.arange(HEIGHT) + 0.5 - boxes[:, 1:2]) / (boxes[:, 3:4] - boxes[:, 1:2]) * 2 - 1
    grid = torch.stack([x[:, None].expand(-1, HEIGHT, -1), y[:, :, None].expand(-1, -1, WIDTH)], dim=-1)
    expected = F.grid_sample(masks[:, None], grid, align_corners=False)[:, 0]
    torch.testing.assert_close(paste(masks, boxes, HEIGHT, WIDTH), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("whole", [False, True])
def test_crops_are_the_pixels_from_a_half_on(maps, whole):
    masks, boxes = maps
    dense = paste(masks, boxes, HEIGHT, WIDTH, whole=whole).numpy()
    for one, ((x, y, x_end, y_end), crop) in zip(
        dense, paste_crops(masks.numpy(), boxes.numpy(), HEIGHT, WIDTH, whole=whole), strict=True
    ):
        full = np.zeros((HEIGHT, WIDTH), dtype=bool)
        full[y:y_end, x:x_end] = crop
        assert crop.dtype == bool
        assert not (full != (one >= 0.5))[np.abs(one - 0.5) > 1e-5].any()


def test_whole_pixels_are_torchvisions(maps):
    masks, boxes = maps
    expected = paste_masks_in_image(masks[:, None], boxes, (HEIGHT, WIDTH))[:, 0]
    torch.testing.assert_close(paste(masks, boxes, HEIGHT, WIDTH, whole=True), expected, atol=1e-4, rtol=0)
    assert paste(masks[:0], boxes[:0], HEIGHT, WIDTH, whole=True).shape == (0, HEIGHT, WIDTH)


def test_encoded_ones_are_the_crops(maps):
    masks, boxes = maps
    encoded = paste_encoded(masks, boxes, HEIGHT, WIDTH)
    dense = paste(masks, boxes, HEIGHT, WIDTH)
    assert encoded.size == (HEIGHT, WIDTH)
    assert not (encoded.dense().bool() != (dense >= 0.5))[(dense - 0.5).abs() > 1e-5].any()
    assert len(paste_encoded(masks[:0], boxes[:0], HEIGHT, WIDTH)) == 0
