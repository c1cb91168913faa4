"""Complete lists on a dataset: properties of any list, mixing images, seeds, workers, and the end of mixing."""

import pickle

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torchvision import tv_tensors

from cascade_rcnn.config.augmentation import AugmentationConfig
from cascade_rcnn.config.augmentation_lists import KINDS, LISTS
from cascade_rcnn.data.augmentation.build import BUILDERS, build_augmentation
from cascade_rcnn.data.dataset import Dataset
from cascade_rcnn.data.loader import make_loader

SURE = ["scale_jitter:size=48,scale=0.5..1.5"] + [f"{name}:probability=1" for name in KINDS if name != "scale_jitter"]


def test_every_kind_has_a_builder():
    assert set(BUILDERS) == set(AugmentationConfig.__args__)  # type: ignore[attr-defined]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(st.sampled_from(SURE), min_size=1, max_size=4),
    shape=st.tuples(st.integers(20, 60), st.integers(20, 60)),
    number=st.integers(0, 4),
    seed=st.integers(0, 2**31),
)
def test_boxes_stay_inside_and_fields_keep_their_rows(sample, consistent, words, shape, number, seed):
    torch.manual_seed(seed)
    height, width = shape

    def draw():
        low = (torch.rand(number, 2) * torch.tensor([width - 12, height - 12])).int()
        return sample(height, width, torch.cat((low, low + torch.randint(1, 12, (number, 2))), 1).tolist())

    image, target = build_augmentation(words).sample(*draw(), draw)
    assert image.dtype == torch.uint8
    target["masks"] = tv_tensors.Mask(target["masks"])
    consistent(image, target)


@pytest.fixture
def dataset(make_annotations, write_image, tmp_path) -> Dataset:
    for i in range(6):
        write_image(tmp_path / f"{i}.png", 40, 30)
    return Dataset(make_annotations([(30, 40)] * 6, [[(1 + i, 2, 13, 14)] * (i % 3) for i in range(6)]))


def _loaded(dataset: Dataset, workers: int, skip: int = 0) -> list:
    loader = make_loader(dataset, batch_size=2, workers=workers, seed=3, shuffle=True, drop_last=True, epochs=2)
    loader.set_epoch(0, skip_batches=skip)
    return [
        (image, target["boxes"]) for images, targets in loader for image, target in zip(images, targets, strict=True)
    ]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_mixtures_depend_on_index_and_seed_alone(dataset):
    """Neither the number of workers nor resuming in the middle of an epoch changes them."""
    mixed = dataset.with_transforms(build_augmentation("aerial mosaic:probability=1 mixup:probability=1"))
    whole = _loaded(mixed, 0)
    again, rest = _loaded(mixed, 2), _loaded(mixed, 0, skip=1)
    assert len(whole) == 6
    for one, other in zip([*whole, *whole[2:]], [*again, *rest], strict=True):
        assert one[0].equal(other[0])
        assert one[1].equal(other[1])


def test_mixing_ends_before_the_training_does(dataset):
    mixed = dataset.with_transforms(build_augmentation("mosaic:probability=1,until=0.5"))
    plain = [image for image, _ in (dataset[i] for i in range(6))]
    early, late = ([mixed[i, 9, progress][0] for i in range(6)] for progress in (0.4, 0.5))
    assert not all(one.equal(other) for one, other in zip(early, plain, strict=True))
    assert all(one.equal(other) for one, other in zip(late, plain, strict=True))


def test_other_images_have_what_comes_before_the_mixture(sample):
    steps = build_augmentation("vertical_flip:probability=1 mixup:probability=1 color:probability=0")
    image, target = sample(20, 20, [[0, 0, 4, 4]])
    _, found = steps.sample(image, target, lambda: sample(20, 20, [[0, 0, 4, 4]], first_label=2))
    assert found["boxes"].tolist() == [[0, 16, 4, 20]] * 2


@pytest.mark.parametrize("name", [*LISTS, "mosaic mixup copy_paste"])
def test_lists_travel_to_worker_processes(sample, name):
    image, target = sample(30, 40, [[2, 2, 20, 20]])
    steps = build_augmentation(name)
    seen = []
    for each in (steps, pickle.loads(pickle.dumps(steps))):
        torch.manual_seed(4)
        seen.append(each.sample(image, target, lambda: sample(30, 40, [[5, 5, 30, 25]]))[0])
    assert seen[0].equal(seen[1])


@pytest.mark.parametrize("words", SURE)
def test_images_of_floating_point_look_like_those_of_bytes(sample, words):
    """The same augmentation with the same random numbers, of an image 0..255 and of 0..1."""
    (image, target), (other, its) = sample(40, 50, [[5, 5, 25, 30]]), sample(30, 45, [[2, 4, 20, 21]])
    generator = torch.Generator().manual_seed(0)
    smooth = torch.rand(3, 4, 5, generator=generator)[None]
    image = (torch.nn.functional.interpolate(smooth, (40, 50), mode="bilinear")[0] * 200 + 20).to(torch.uint8)
    found = []
    for one in (image, image / 255):
        torch.manual_seed(1)
        found.append(build_augmentation(words).sample(one, dict(target), lambda: (other, dict(its))))
    (pixels, first), (floating, second) = found
    assert (pixels.dtype, floating.dtype) == (torch.uint8, torch.float32)
    assert first["boxes"].equal(second["boxes"])
    assert 0 <= floating.min() <= floating.max() <= 1
    assert (pixels / 255 - floating).abs().mean() < 0.02
