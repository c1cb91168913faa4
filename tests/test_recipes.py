"""Every recipe describes a training that exists."""

from dataclasses import FrozenInstanceError

import msgspec
import pytest

from cascade_rcnn.config import Category
from cascade_rcnn.config.augmentation import ScaleJitterConfig
from cascade_rcnn.hub.peers import outcome
from cascade_rcnn.hub.table import published
from cascade_rcnn.models.architectures import list_models
from cascade_rcnn.models.configure import model_config
from cascade_rcnn.recipes import RECIPES, Recipe

CATEGORIES = (Category(id=1, name="thing"),)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_names_a_model_and_explains_itself(name):
    recipe = RECIPES[name]()
    assert RECIPES[name].__name__ == name
    assert recipe.model in list_models()
    config = model_config(recipe.model, CATEGORIES, recipe.options, pretrained=recipe.weights_backbone is not None)
    assert len(config.stages) == (3 if recipe.model.startswith("cascade") else 1)
    assert len((RECIPES[name].__doc__ or "").split()) > 8


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_frozen_data(name):
    recipe = RECIPES[name]()
    assert RECIPES[name]() == recipe
    assert msgspec.json.decode(msgspec.json.encode(recipe), type=Recipe) == recipe
    with pytest.raises(FrozenInstanceError):
        recipe.epochs = 1  # type: ignore[misc]


@pytest.mark.parametrize("name", RECIPES)
def test_a_schedule_fits_its_training(name):
    recipe = RECIPES[name]()
    assert all(0 < drop < 1 for drop in recipe.optimizer.drops)
    assert list(recipe.optimizer.drops) == sorted(recipe.optimizer.drops)
    assert recipe.evaluate_every <= recipe.epochs
    assert recipe.data.flip is None  # a short form, which recipes move to their list


def test_outputs_do_not_collide():
    outputs = [recipe().output for recipe in RECIPES.values()]
    assert len(set(outputs)) == len(outputs)


@pytest.mark.parametrize(
    ("cascade", "baseline"),
    [
        ("cascade_rcnn_r50", "faster_rcnn_r50"),
        ("paper_cascade_r50", "paper_faster_r50"),
        ("paper_cascade_r101", "paper_faster_r101"),
        ("paper_cascade_vgg", "paper_faster_vgg"),
        ("paper_cascade_rfcn_r50", "paper_rfcn_r50"),
        ("paper_cascade_rfcn_r101", "paper_rfcn_r101"),
        ("small", "small_baseline"),
        ("small_rfcn", "small_rfcn_baseline"),
        ("small_vgg", "small_vgg_baseline"),
    ],
)
def test_a_baseline_differs_from_its_cascade_in_the_model_alone(cascade, baseline):
    one, other = (msgspec.to_builtins(RECIPES[name]()) for name in (cascade, baseline))
    assert {key for key in one if one[key] != other[key]} == {"model", "output"}
    kin = {one["model"].replace("cascade_rcnn", "faster_rcnn"), one["model"].removeprefix("cascade_")}
    assert other["model"] in kin


def test_finetune_starts_from_the_strongest_resnet_50_that_converts():
    rows = [
        row
        for row in published().values()
        if row.backbone.startswith("R50") and "cascade" in row.name and outcome(row).part != "none"
    ]
    best = max(row.box_ap for row in rows)
    assert [row.name for row in rows if row.box_ap == best] == [RECIPES["finetune"]().init]


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("finetune")])
def test_a_start_is_published_and_its_docstring_has_its_ap(name):
    init, doc = RECIPES[name]().init, RECIPES[name].__doc__ or ""
    assert init is not None
    row = published()[init]
    assert f"COCO AP {row.box_ap:.1f}" in doc
    assert row.dataset == "COCO"


def test_the_published_rates_of_each_start():
    """Learning rate for so many images, weight decay, layer decay."""
    found = {name: RECIPES[name]().optimizer for name in RECIPES if name.startswith("finetune_")}
    assert {name: (o.lr, o.lr_batch, o.weight_decay, o.layer_decay) for name, o in found.items()} == {
        "finetune_convnext": (2e-4, 16, 0.05, 0.7),
        "finetune_swin": (1e-4, 16, 0.05, 1.0),
        "finetune_vit": (1e-4, 16, 0.1, 0.7),
    }
    vit = RECIPES["finetune_vit"]()
    assert vit.augmentation[1] == ScaleJitterConfig(scale=(0.1, 2.0), size=1024)
    assert vit.options.min_size == vit.options.max_size == 1024


def test_the_paper_s_schedule():
    """Section 5.1.1 and 5.5: 280k iterations of 8 images; divided by 10 at 160k and 240k."""
    recipe = RECIPES["paper_cascade_r50"]()
    assert recipe.epochs * 118_287 / recipe.optimizer.lr_batch == pytest.approx(280_000, rel=0.01)
    assert [drop * 280 for drop in recipe.optimizer.drops] == pytest.approx([160, 240])
    assert recipe.options.rois == 512


def test_the_schedule_of_the_ablations():
    """Section 5.1.1: 120k iterations and 60k at a tenth of the rate, 8 GPUs with an image each, 256 RoIs."""
    recipe = RECIPES["paper_ablation"]()
    assert recipe.epochs * 118_287 / recipe.optimizer.lr_batch == pytest.approx(180_000, rel=0.02)
    assert [drop * 180 for drop in recipe.optimizer.drops] == pytest.approx([120])
    assert (recipe.optimizer.lr, recipe.options.rois, recipe.options.semantics) == (0.005, 256, "paper")


@pytest.mark.parametrize(
    ("name", "iterations", "gpus", "drops", "rois"),
    [("paper_cascade_vgg", 100_000, 2, [60, 90], 128), ("paper_cascade_rfcn_r50", 280_000, 4, [160, 240], 256)],
)
def test_the_schedules_without_a_pyramid(name, iterations, gpus, drops, rois):
    """Section 5.1.1; in whole epochs."""
    recipe = RECIPES[name]()
    assert recipe.optimizer.lr_batch == gpus * recipe.batch_size
    assert recipe.epochs * 118_287 / recipe.optimizer.lr_batch == pytest.approx(iterations, rel=0.06)
    assert [drop * iterations / 1000 for drop in recipe.optimizer.drops] == pytest.approx(drops)
    assert recipe.optimizer.lr == 0.003
    config = model_config(recipe.model, CATEGORIES, recipe.options, pretrained=True)
    assert config.sampling.rois == rois
    assert (config.preprocess.min_size, config.preprocess.max_size) == ((600,), 1000)
