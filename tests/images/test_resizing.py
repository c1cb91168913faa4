"""Resizing in NumPy equals torch's interpolation."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cascade_rcnn.images.resizing import resize, resized_size


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("size", [(37, 53), (20, 90), (80, 30), (96, 128), (1, 1), (41, 53)])
def test_resize_is_torchs_bilinear_interpolation(size, antialias):
    image = np.random.default_rng(0).integers(0, 256, (41, 53, 3), dtype=np.uint8)
    tensor = torch.from_numpy(image).permute(2, 0, 1).float()[None]
    expected = F.interpolate(tensor, size=size, mode="bilinear", align_corners=False, antialias=antialias)
    found = resize(image, size, antialias)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected[0].permute(1, 2, 0).numpy(), atol=2e-3)


def test_resize_by_hand():
    row = np.array([[[0.0], [10.0]]])
    assert resize(row, (1, 4)).ravel().tolist() == [0, 2.5, 7.5, 10]
    assert resize(row, (1, 1)).ravel().tolist() == [5]


def test_sizes_by_hand():
    assert resized_size(480, 640, 240, 1000) == (240, 320)
    assert resized_size(480, 640, 480, 320) == (240, 320)  # limited by the long side
    assert resized_size(1, 5000, 800, 1333) == (1, 1333)  # never 0
