"""The comparison with other packages: everything that is computed without training."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from torch import nn

from benchmarks.against import detr, ours, page
from benchmarks.against.contest import fitting, to_rows
from benchmarks.against.setting import BATCH, Setting, batches, order, read_set, stem, stream
from benchmarks.against.torchvision_models import from_model, rate_factor
from cascade_rcnn import Predictor, assets
from cascade_rcnn.data import Annotations, load_annotations
from cascade_rcnn.data.check import check_images
from cascade_rcnn.data.dataset import Dataset
from cascade_rcnn.data.shapes import write_shapes
from cascade_rcnn.engine.environment import describe
from cascade_rcnn.files import read_json, write_json


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> Annotations:
    folder = write_shapes(tmp_path_factory.mktemp("against") / "shapes", train=3, val=1, size=32, seed=1)
    return load_annotations(folder / "train.json")


def test_every_round_has_every_image_once():
    indices = order(5, 12, seed=0).tolist()
    assert len(indices) == 12
    assert sorted(indices[:5]) == sorted(indices[5:10]) == list(range(5))
    assert indices == order(5, 12, seed=0).tolist() != order(5, 12, seed=1).tolist()


def test_a_stream_is_a_set_like_any_other(shapes, tmp_path):
    found = stream(shapes, 7, 0, tmp_path / "links")
    assert len(check_images(found)) == 7
    for k, i in enumerate(order(3, 7, 0).tolist()):
        (image, target), (own, original) = Dataset(found)[k], Dataset(shapes)[i]
        assert torch.equal(image, own)
        assert torch.equal(target["boxes"], original["boxes"])
        assert torch.equal(target["labels"], original["labels"])


def _setting(images: Annotations, folder: Path) -> Setting:
    return Setting(images=images, sides=(240, 408), weights=folder, seed=0, precision="bf16", folder=folder)


def test_batches_hold_every_image_and_mirror_boxes_with_it(shapes, tmp_path):
    torch.manual_seed(0)
    setting = _setting(stream(shapes, 6, 0, tmp_path / "links"), tmp_path)
    given = list(batches(setting))
    assert [len(batch) for batch in given] == [4, 2]
    mirrored = 0
    for k, (image, target) in enumerate(sample for batch in given for sample in batch.samples()):
        own, original = Dataset(setting.images)[k]
        if torch.equal(image, own):
            assert torch.equal(target["boxes"], original["boxes"])
        else:
            mirrored += 1
            assert torch.equal(image, own.flip(2))
            assert torch.allclose(target["boxes"][:, [2, 0]], 32 - original["boxes"][:, [0, 2]])
    assert 0 < mirrored < 6


def test_as_many_images_as_fit_into_the_time():
    ticks = [0.0, 9.0, 18.0, 27.0, 28.0, 29.0, 30.0]  # the first updates are slow; the rest take one second each
    assert fitting(ticks, 10.5) == 10 * 4
    assert fitting(ticks, 0.1) == 4


def test_torchvision_s_schedule_is_cut_to_the_updates():
    factors = [rate_factor(step, 260) for step in range(260)]
    assert factors[0] == pytest.approx(0.001)
    assert factors[10:160] == [1.0] * 150  # after a warm-up over one epoch of 26 updates
    assert factors[160:220] == pytest.approx([0.1] * 60)
    assert factors[220:] == pytest.approx([0.01] * 40)


class _SometimesNaN(nn.Module):
    """A model whose loss is NaN in its second update, and whose only weight is the score of its detection."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.updates = nn.Parameter(torch.zeros(1)), 0

    def forward(self, images, targets=None):
        if targets is None:
            return [{"boxes": torch.zeros(1, 4), "scores": self.weight, "labels": torch.ones(1)}]
        self.updates += 1
        return {"loss": -self.weight.sum() * (float("nan") if self.updates == 2 else 1.0)}


def test_an_update_that_is_not_finite_is_left_out(shapes, tmp_path):
    setting = _setting(stream(shapes, 3 * BATCH, 0, tmp_path / "links"), tmp_path)
    detect = from_model(lambda weights, classes, sides: _SometimesNaN())(setting, lambda: None)  # type: ignore[arg-type]
    _, scores, _ = detect(torch.zeros(3, 8, 8, dtype=torch.uint8))
    assert scores > 0


def test_weak_detections_of_ours_count_like_those_of_the_others():
    image = torch.from_numpy(np.asarray(PIL.Image.open(assets.PHOTO).convert("RGB")).copy()).permute(2, 0, 1)
    _, scores, labels = ours._detect(Predictor("starter", device="cpu"))(image)
    assert 0.0 < float(scores.min()) < 0.5 < float(scores.max())
    assert labels.unique().tolist() == [1]


def test_detections_in_the_form_of_the_evaluation():
    rows = to_rows(7, np.array([[1.0, 2.0, 4.0, 8.0]]), np.array([0.5]), np.array([3]))
    assert rows.tolist() == [[7, 1, 2, 3, 6, 0.5, 3]]
    assert to_rows(7, np.zeros((0, 4)), np.zeros(0), np.zeros(0)).shape == (0, 7)


@pytest.mark.parametrize(
    ("theirs", "torchvision"),
    [
        ("model.embedder.embedder.convolution.weight", "conv1.weight"),
        ("model.embedder.embedder.normalization.running_var", "bn1.running_var"),
        ("model.encoder.stages.0.layers.1.layer.0.convolution.weight", "layer1.1.conv1.weight"),
        ("model.encoder.stages.3.layers.0.layer.1.normalization.bias", "layer4.0.bn2.bias"),
        ("model.encoder.stages.1.layers.0.shortcut.convolution.weight", "layer2.0.downsample.0.weight"),
        ("model.encoder.stages.1.layers.0.shortcut.normalization.weight", "layer2.0.downsample.1.weight"),
    ],
)
def test_names_of_a_resnet(theirs, torchvision):
    assert detr.torchvision_name(theirs) == torchvision


def test_detr_gets_resized_padded_images_and_boxes_in_shares_of_them():
    target = {"boxes": torch.tensor([[0.0, 0.0, 100.0, 60.0]]), "labels": torch.tensor([2])}
    pixels, labels = detr.collate([(torch.zeros(3, 120, 200, dtype=torch.uint8), target)], (240, 408))
    assert detr.scale(torch.zeros(3, 120, 200), (240, 408)) == 2.0  # 240 x 400, within 240 x 408, padded to 256 x 416
    assert pixels.shape == (1, 3, 256, 416)
    assert labels[0]["class_labels"].tolist() == [1]
    expected = torch.tensor([[100 / 416, 60 / 256, 200 / 416, 120 / 256]])
    assert torch.allclose(labels[0]["boxes"], expected)


def _row(contender: str, ap90: float, **more) -> dict:
    figures = {"set": "cells", "images_seen": 1234, "budget": 60.0, "precision": "bf16", "seconds": 59.6}
    figures |= {"training_mb": 1000.4, "milliseconds": 50.2}
    return {"contender": contender, "seed": 0, "ap": 0.5, "ap50": 0.8, "ap75": 0.6, "ap90": ap90} | figures | more


def test_a_table_says_how_far_the_others_are_behind_and_how_ap90_compares():
    behind = {metric: [0.1, 0.05, 0.15] for metric in page.METRICS}
    rows = [_row("starter", 0.06), _row("cascade", 0.05), _row("torchvision", 0.02, behind=behind)]
    text = page.table(rows)
    assert text.startswith("## `cells`, 60 seconds each, bf16\n")
    assert "| 50.0 | 80.0 | 60.0 | 6.0 | 1,234 | 60 | 1,000 | 50 |  |  |  |" in text
    assert "+10.0 (+5.0 to +15.0)" in text
    assert 'and 2.00 for "torchvision Faster R-CNN v1" (3.0 times as much).' in text
    assert "times" not in page.table([_row("starter", 0.06), _row("torchvision", 0.0)])


def test_a_table_of_several_seeds_names_them():
    rows = [_row(name, ap90, seed=seed) for name, ap90 in (("starter", 0.06), ("torchvision", 0.02)) for seed in (0, 1)]
    text = page.table(rows)
    assert text.splitlines()[2].startswith("|  | seed | AP |")
    assert "| torchvision Faster R-CNN v1 | 1 | 50.0 | 80.0 | 60.0 | 2.0 |" in text
    assert text.count("(3.0 times as much), seed 1.") == 1


def test_others_are_compared_with_the_starter_where_it_may_compete():
    assert page.reference([_row("cascade", 0.0), _row("starter", 0.0)]) == "starter"
    assert page.reference([_row("cascade", 0.0), _row("torchvision", 0.0)]) == "cascade"
    assert page.reference([_row("torchvision", 0.0)]) is None


def test_pairs_of_one_start_are_compared_over_their_seeds():
    values = {("cascade", 0): 0.5, ("cascade", 1): 0.7, ("baseline", 0): 0.4, ("baseline", 1): 0.5}
    draws = {key: np.full((3, 10), ap) for key, ap in values.items()}
    draws["small", 0] = np.full((3, 10), 0.1)  # has no counterpart
    (pair,) = page.paired(draws)
    assert (pair["ours"], pair["theirs"], pair["seeds"]) == ("cascade", "baseline", [0, 1])
    assert pair["ap"] == pytest.approx([0.15, 0.15, 0.15])
    assert page.paired({("cascade", 0): np.zeros((3, 10)), ("baseline", 1): np.zeros((3, 10))}) == []


def test_others_are_behind_ours_of_their_seed():
    rows = [{"contender": "torchvision", "seed": seed, "ap": 0.1 * seed} for seed in (0, 1)]
    rows.append({"contender": "cascade", "seed": 0, "ap": 0.3})
    draws = {(row["contender"], row["seed"]): np.full((3, 10), row["ap"]) for row in rows}
    first, *rest = page.with_differences(rows, draws)
    assert first["contender"] == "cascade"
    assert [row.get("behind", {}).get("ap90") for row in rest] == [None, pytest.approx([0.3, 0.3, 0.3])]


def test_runs_of_another_time_get_a_table_of_their_own(tmp_path):
    _, truth = read_set(tmp_path, "cells")
    images = truth.image_ids[truth.owners]
    categories = torch.tensor([category.id for category in truth.categories])[truth.labels.long() - 1]
    perfect = np.column_stack((images, truth.boxes, torch.ones(len(images)), categories))
    for contender, seconds, ap in (("starter", 60.0, 1.0), ("baseline", 60.0, 0.1), ("starter", 240.0, 1.0)):
        own = tmp_path / stem("cells", contender, seconds, "bf16", 0)
        np.save(f"{own}.npy", perfect if ap == 1.0 else perfect[:9])
        write_json(Path(f"{own}.json"), _row(contender, 0.1) | {"ap": ap, "budget": seconds})
    page.write_page(tmp_path, tmp_path, tmp_path / "page")
    short, long = read_json(tmp_path / "page" / "against.json")["contests"]
    assert [(row["contender"], row["budget"]) for row in short["rows"]] == [("starter", 60.0), ("baseline", 60.0)]
    assert [(row["contender"], row["budget"]) for row in long["rows"]] == [("starter", 240.0)]
    assert short["rows"][1]["behind"]["ap90"][0] > 0.5
    text = (tmp_path / "page" / "against.md").read_text()
    assert text.index("## `cells`, 60 seconds each") < text.index("## `cells`, 240 seconds each")


def test_tables_without_runs_are_kept(tmp_path):
    kept = [_row("cascade", 0.1, set="bccd", precision="fp32")]
    replaced = [_row("cascade", 0.1)]
    contests = [{"machine": describe() | {"processor": "Old"}, "rows": rows, "pairs": []} for rows in (kept, replaced)]
    write_json(tmp_path / "page" / "against.json", {"contests": contests})
    own = tmp_path / stem("cells", "baseline", 60.0, "bf16", 0)
    np.save(f"{own}.npy", np.zeros((0, 7)))
    write_json(Path(f"{own}.json"), _row("baseline", 0.0))
    page.write_page(tmp_path, tmp_path, tmp_path / "page")
    first, second = read_json(tmp_path / "page" / "against.json")["contests"]
    assert [row["contender"] for row in first["rows"]] == ["baseline"]
    assert (first["machine"], second) == (describe(), contests[0])
    text = (tmp_path / "page" / "against.md").read_text()
    assert text.count("Old, one thread") == text.count("## `bccd`, 60 seconds each, fp32") == 1


def test_an_interval_in_points_of_ap():
    assert page.interval_text([0.017, 0.0096, 0.0221]) == "+1.7 (+1.0 to +2.2)"
    assert page.interval_text([-0.0002, -0.001, 0.0001]) == "0.0 (-0.1 to 0.0)"
