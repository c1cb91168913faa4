import PIL.Image
import pytest
import torch
from torchvision.transforms import v2

from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.data.augmentation.build import build_transforms
from cascade_rcnn.data.coco import load_coco
from cascade_rcnn.data.dataset import Dataset
from cascade_rcnn.errors import UserError


@pytest.fixture
def annotations(make_annotations, write_image, tmp_path) -> Annotations:
    for i in range(2):
        write_image(tmp_path / f"{i}.png", 40, 30)
    boxes = [(-5, 4, 20, 10), (50, 0, 5, 5), (1, 2, 3, 4), (5, 5, 0, 3), (30, 20, 100, 100)]
    return make_annotations([(30, 40), (30, 40)], [boxes, []])


def test_targets_are_clipped_and_lose_boxes_without_size_in_every_field(annotations):
    image, target = Dataset(annotations)[0]
    assert image.dtype == torch.uint8
    assert image.shape == (3, 30, 40)
    assert image[:, 7, 9].tolist() == [9, 7, 0]  # pixels count columns in red and rows in green
    assert target["boxes"].tolist() == [[0, 4, 15, 14], [1, 2, 4, 6], [30, 20, 40, 30]]
    assert target["area"].tolist() == [200, 12, 10000]
    assert target["labels"].tolist() == [1, 1, 1]
    assert target["iscrowd"].tolist() == [0, 0, 0]
    assert target["image_id"].item() == 100
    dtypes = {key: value.dtype for key, value in target.items()}
    assert dtypes == {
        "boxes": torch.float32,
        "labels": torch.int64,
        "area": torch.float32,
        "iscrowd": torch.int64,
        "image_id": torch.int64,
    }


@pytest.mark.parametrize("transforms", [None, build_transforms(1, 1)])
def test_an_image_without_boxes(annotations, transforms):
    dataset = Dataset(annotations, transforms)
    assert len(dataset) == 2
    _, target = dataset[1, 0]
    assert target["boxes"].shape == (0, 4)
    assert target["labels"].shape == target["area"].shape == target["iscrowd"].shape == (0,)


def test_ignored_boxes_are_crowds(make_annotations, write_image, tmp_path):
    write_image(tmp_path / "0.png", 40, 30)
    _, target = Dataset(make_annotations([(30, 40)], [[(0, 0, 5, 5), (6, 6, 5, 5)]]))[0]
    assert target["iscrowd"].tolist() == [0, 1]


def test_a_sample_depends_on_its_seed_alone(annotations):
    dataset = Dataset(annotations, build_transforms(0.5, 0.5))
    state = torch.get_rng_state()
    first = {seed: dataset[0, seed] for seed in range(8)}
    assert torch.get_rng_state().equal(state)
    torch.rand(5)
    for seed in (5, 2):
        image, target = dataset[0, seed]
        assert image.equal(first[seed][0])
        assert all(target[key].equal(first[seed][1][key]) for key in target)
    assert len({tuple(image.flatten().tolist()) for image, _ in first.values()}) > 2


def test_without_a_seed_the_global_generator_draws(annotations):
    dataset = Dataset(annotations, build_transforms(0.5))
    torch.manual_seed(0)
    flipped = {dataset[0][0][0, 0, 0].item() for _ in range(20)}
    assert flipped == {0, 39}


def test_transformed_samples_are_plain_tensors(annotations):
    image, target = Dataset(annotations, build_transforms(1))[0, 1]
    assert {type(value) for value in (image, *target.values())} == {torch.Tensor}


def test_transforms_that_normalise_are_refused(annotations):
    """The model does so itself: it would find little, and learn little."""
    steps = [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
    assert Dataset(annotations, v2.Compose(steps[:1]))[0][0].dtype == torch.float32
    with pytest.raises(UserError, match=r"after the transforms, an image tensor .* \(the model normalises"):
        Dataset(annotations, v2.Compose(steps))[0]


def test_transforms_that_crop_lose_boxes_in_every_field(annotations):
    crop = v2.Compose([v2.CenterCrop([10, 20])])  # columns 10..30, rows 10..20
    image, target = Dataset(annotations, crop)[0]
    assert image.shape == (3, 10, 20)
    assert target["boxes"].tolist() == [[0, 0, 5, 4]]
    assert target["area"].tolist() == [200]


def test_the_same_samples_transformed_otherwise(annotations):
    plain = Dataset(annotations)
    flipped = plain.with_transforms(v2.RandomHorizontalFlip(1))
    assert flipped[0][0].equal(plain[0][0].flip(-1))
    assert plain.transforms is None


def test_image_of_another_size_than_annotated(annotations, write_image, tmp_path, one_line):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    write_image(tmp_path / "0.png", 40, 30, exif=exif)
    with pytest.raises(UserError) as caught:
        Dataset(annotations)[0]
    one_line(caught, "0.png", "30 x 40", "annotated as 40 x 30", "EXIF")


def test_missing_image(annotations, tmp_path, one_line):
    (tmp_path / "1.png").unlink()
    with pytest.raises(UserError) as caught:
        Dataset(annotations)[1]
    one_line(caught, "1.png")


def test_coco_person_boxes_lie_inside_their_images(shared):
    folder = shared / "coco_person"
    dataset = Dataset(load_coco(folder / "instances_val.json", folder / "images"), build_transforms(0.5))
    for i in range(20):
        image, target = dataset[i, i]
        limits = torch.tensor([image.shape[2], image.shape[1]])
        assert (target["boxes"][:, :2] >= 0).all()
        assert (target["boxes"][:, 2:] <= limits).all()
        assert (target["boxes"][:, 2:] > target["boxes"][:, :2]).all()
        assert 1 <= target["labels"].min() <= target["labels"].max() <= 80


def test_the_former_name_leads_to_the_same_class():
    from cascade_rcnn.data import dataset

    assert dataset.DetectionDataset is dataset.Dataset
