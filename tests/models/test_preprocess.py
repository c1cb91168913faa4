"""Lists of images -> dense batches: sizes by hand, values, errors."""

import pytest
import torch

from cascade_rcnn.config import PreprocessConfig as Config
from cascade_rcnn.errors import UserError
from cascade_rcnn.images.resizing import resized_size
from cascade_rcnn.models.preprocess import Preprocess

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)}  # pixel values come out as 0..255


def module(divisor: int = 32, **options) -> Preprocess:
    return Preprocess(Config(**options), divisor).eval()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((480, 640), (800, 1067)),  # x 5/3: 1066.67
        ((640, 480), (1067, 800)),
        ((500, 500), (800, 800)),
        ((300, 900), (444, 1333)),  # limited by the long side: x 1333/900, 444.3
        ((1600, 1600), (800, 800)),
        ((1, 2000), (1, 1333)),  # 0.67 rounds up
        ((1, 9000), (1, 1333)),  # 0.15: at least one pixel
        ((1, 1), (800, 800)),
    ],
)
def test_resized_sizes_by_hand(size, expected):
    assert resized_size(*size, 800, 1333) == expected


def test_batches_are_padded_with_zeros_to_a_multiple():
    images = [torch.ones(3, 40, 90), torch.ones(3, 70, 50)]
    for divisor, shape in ((32, (96, 96)), (1, (70, 90)), (64, (128, 128))):
        batch = module(min_size=None, divisor=divisor, mean=(0.5, 0.5, 0.5))(images)
        assert batch.pixels.shape == (2, 3, *shape)
        assert batch.sizes.tolist() == batch.original_sizes.tolist() == [[40, 90], [70, 50]]
        inside = torch.zeros(2, *shape, dtype=torch.bool)
        inside[0, :40, :90] = inside[1, :70, :50] = True
        assert bool((batch.pixels != 0).all(dim=1).eq(inside).all())  # the padding is the mean value: 0


def test_sizes_before_and_after():
    batch = module(min_size=(64,), max_size=96)([torch.rand(3, 30, 40), torch.rand(3, 100, 20)])
    assert batch.original_sizes.tolist() == [[30, 40], [100, 20]]
    assert batch.sizes.tolist() == [[64, 85], [96, 19]]  # 85.3; 96 / 100 x 20 = 19.2
    assert batch.pixels.shape == (2, 3, 96, 96)
    assert batch.pixels.is_contiguous(memory_format=torch.channels_last)


def test_normalisation_by_hand():
    image = torch.tensor([0, 51, 255], dtype=torch.uint8)[:, None, None].expand(3, 32, 32)
    batch = module(min_size=None, mean=(0.5, 0.2, 0.0), std=(0.5, 1.0, 0.25))([image])
    torch.testing.assert_close(batch.pixels[0, :, 0, 0], torch.tensor([-1.0, 0, 4]))


def test_bytes_and_fractions_are_the_same_image():
    image = torch.randint(0, 256, (3, 20, 31), dtype=torch.uint8)
    preprocess = module(min_size=(40,))
    expected = preprocess([image]).pixels
    for other in (image.float() / 255, image.double() / 255):
        found = preprocess([other]).pixels
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_bgr_turns_the_channels_and_mean_with_them():
    """Mean and deviation are given in the order of the network's channels."""
    image = torch.tensor([10.0, 20, 30])[:, None, None].expand(3, 32, 32) / 255
    found = module(min_size=None, bgr=True, mean=(30 / 255, 0, 0), std=PLAIN["std"])([image]).pixels
    torch.testing.assert_close(found[0, :, 5, 5], torch.tensor([0.0, 20, 10]))


def test_resizing_is_bilinear_without_corners():
    """A step from 0 to 200 at twice the size: new pixels lie at a quarter and three quarters between the old ones."""
    image = torch.tensor([0.0, 200]).expand(3, 2, 2) / 255
    found = module(min_size=(4,), **PLAIN)([image]).pixels[0, 0, :4, :4]
    torch.testing.assert_close(found, torch.tensor([0.0, 50, 150, 200]).expand(4, 4))


def test_several_sizes_are_drawn_in_training_only():
    preprocess = Preprocess(Config(min_size=(32, 48, 64), max_size=200), 32)
    images = [torch.rand(3, 40, 40), torch.rand(3, 20, 20)]
    torch.manual_seed(0)
    drawn = [preprocess.train()(images).sizes.tolist() for _ in range(30)]
    assert {size[0][0] for size in drawn} == {32, 48, 64}
    assert all(size[0] == size[1] for size in drawn)  # one size per batch
    assert {preprocess.eval()(images).sizes[0, 0].item() for _ in range(5)} == {64}


def test_images_in_other_forms_and_wrong_ones():
    array = torch.zeros(20, 30, 3, dtype=torch.uint8).numpy()
    assert module(min_size=None)([array]).sizes.tolist() == [[20, 30]]
    with pytest.raises(UserError, match="shape"):
        module()([torch.zeros(2, 20, 30)])


@pytest.mark.parametrize("image", [torch.full((3, 20, 30), 255.0), -torch.ones(3, 20, 30), torch.zeros(3, 20, 30) / 0])
def test_values_in_another_range_are_refused(image):
    with pytest.raises(UserError, match=r"values from .*; give 0\.\.1, or uint8"):
        module()([torch.rand(3, 20, 30), image])


def test_values_are_not_checked_in_a_compiled_model():
    """The check depends on data, at which `fullgraph` raises."""
    torch.compiler.reset()
    preprocess, image = module(min_size=(32,), divisor=1), torch.rand(3, 20, 30)
    found = torch.compile(preprocess, fullgraph=True, backend="eager")([image])
    torch.testing.assert_close(found.pixels, preprocess([image]).pixels)


def test_images_are_a_list_or_a_batch():
    batch = torch.rand(2, 3, 20, 30)
    assert module()(batch).pixels.equal(module()(list(batch)).pixels)
    for wrong, named in ((batch[0], r"of shape \(3, 20, 30\)"), (batch[0].numpy(), "of shape"), ("a.png", "a str")):
        with pytest.raises(UserError, match=rf"images is {named}.*; give a list of tensors \(3, height, width\)"):
            module()(wrong)
    for wrong in ([], batch[:0]):
        with pytest.raises(UserError, match="empty"):
            module()(wrong)


def test_gradients_flow_to_the_images():
    """For saliency maps and adversarial training; each image gets those of its own slot."""
    images = [torch.rand(3, 20, 30, requires_grad=True), torch.rand(3, 30, 10, requires_grad=True)]
    pixels = module(min_size=None, std=(0.5, 0.5, 0.5))(images).pixels
    (pixels[0].sum() + 3 * pixels[1].sum()).backward()
    for image, slope in zip(images, (2.0, 6.0), strict=True):
        assert image.grad is not None
        torch.testing.assert_close(image.grad, torch.full_like(image, slope))


def test_padding_to_a_square():
    """Its side is that of the config or, where an image is larger, the side that holds it."""
    for size, side in (((40, 60), 64), ((40, 70), 96)):
        preprocess = Preprocess(Config(min_size=None, square=64), 32)
        batch = preprocess([torch.ones(3, *size)])
        assert batch.pixels.shape == (1, 3, side, side)
        assert batch.sizes.tolist() == [list(size)]
        assert not batch.pixels[..., size[0] :, :].any()
