import hotcoco.mask
import numpy as np
import pytest
import torch

from cascade_rcnn.config import Category
from cascade_rcnn.data import load_annotations
from cascade_rcnn.engine.evaluate import check_classes, coco_rows, collect, detect, evaluation_loader, run_predictor
from cascade_rcnn.engine.predictor import Predictor
from cascade_rcnn.errors import UserError
from cascade_rcnn.masks import Masks
from cascade_rcnn.models.checkpoint import save


@pytest.fixture
def val(shapes):
    return load_annotations(shapes / "val.json")


def test_rows_are_the_models_detections_in_coco_form(detector, val):
    rows, masks = detect(detector, evaluation_loader(val, 2, 0), len(val), shown=False)
    assert masks is None
    image = detector.predict(val.path(0), threshold=0.0)
    mine = rows[rows[:, 0] == int(val.image_ids[0])]
    assert rows.shape[1] == 7
    assert set(rows[:, 0]) <= set(val.image_ids.tolist())
    assert set(rows[:, 6]) <= {c.id for c in val.categories}
    assert (rows[:, 3:5] >= 0).all()
    # Batches pad their images, but these all have the same size, so batching changes nothing.
    corners = np.concatenate([mine[:, 1:3], mine[:, 1:3] + mine[:, 3:5]], axis=1)
    np.testing.assert_allclose(np.sort(corners, axis=0), np.sort(image.xyxy, axis=0), atol=1e-2)


class OnDevice(torch.Tensor):
    """A tensor on a device without float64, such as Apple's GPU."""

    def double(self):
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    def cpu(self):
        return self.as_subclass(torch.Tensor)


def test_rows_of_a_device_without_float64(detector):
    box, score, label = torch.tensor([[1.0, 2, 4, 8]]), torch.tensor([0.5]), torch.tensor([1])
    found = {
        name: value.as_subclass(OnDevice) for name, value in (("boxes", box), ("scores", score), ("labels", label))
    }
    rows = coco_rows([found], [{"image_id": torch.tensor(7)}], detector.config)
    assert rows.tolist() == [[7, 1, 2, 3, 6, 0.5, detector.config.categories[0].id]]


def test_ranks_share_the_images(detector, val):
    parts = [detect(detector, evaluation_loader(val, 2, 0, rank=r, world_size=2), 3, shown=False).rows for r in (0, 1)]
    whole = detect(detector, evaluation_loader(val, 2, 0), 5, shown=False).rows
    assert not set(parts[0][:, 0]) & set(parts[1][:, 0])
    assert len(parts[0]) + len(parts[1]) == len(whole)


def test_the_mode_of_the_model_is_left_as_it_was(detector, val):
    detector.train()
    detect(detector, evaluation_loader(val, 5, 0), 5, shown=False)
    assert detector.training


def test_other_classes_are_refused_in_one_line(detector, val, tmp_path):
    check_classes(detector.config, val, "model")
    object.__setattr__(val, "categories", (*val.categories[:-1], Category(id=4, name="moon")))
    save(detector, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"which differ \(first: id 4, '(moon|star)'\)") as error:
        run_predictor(Predictor(tmp_path / "model.safetensors", device="cpu"), val, 1, 0)
    assert "\n" not in str(error.value)


def test_other_ids_of_the_same_classes_are_named(detector, val):
    first, *others = val.categories
    object.__setattr__(val, "categories", (*others, Category(id=18, name=first.name)))
    with pytest.raises(UserError, match=f"have the same classes with other ids .*'{first.name}', {first.id}, 18"):
        check_classes(detector.config, val, "model")


def test_bf16_finds_about_the_same(detector, val, tmp_path):
    save(detector, tmp_path / "model.safetensors")
    predictors = [Predictor(tmp_path / "model.safetensors", device="cpu", precision=p) for p in ("fp32", "bf16")]
    full, half = (run_predictor(predictor, val, 1, 0).rows for predictor in predictors)
    assert abs(full[:, 5].mean() - half[:, 5].mean()) < 0.01


@pytest.mark.parametrize("encoded", [False, True])
def test_masks_are_collected_as_run_lengths(detector, val, encoded):
    """A mask of the image's left half, and one of probability .49 everywhere, hence empty."""

    def predict(images):
        found = []
        for image in images:
            masks = torch.zeros(2, 1, *image.shape[1:])
            masks[0, :, :, : image.shape[2] // 2], masks[1] = 0.5, 0.49
            given = Masks.encode(masks[:, 0] >= 0.5) if encoded else masks
            scores, labels = torch.tensor([0.9, 0.8]), torch.tensor([1, 2])
            found.append({"boxes": torch.zeros(2, 4), "scores": scores, "labels": labels, "masks": given})
        return found

    rows, masks = collect(predict, detector.config, evaluation_loader(val, 2, 0), len(val), shown=False)
    assert masks is not None
    assert len(rows) == len(masks) == 2 * len(val)
    height, width = val.image_sizes[0].tolist()
    assert [hotcoco.mask.area(mask) for mask in masks[:2]] == [height * (width // 2), 0]
