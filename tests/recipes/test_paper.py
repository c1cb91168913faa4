"""The paper's recipes have the paper's schedules."""

import pytest

from cascade_rcnn.config import Category
from cascade_rcnn.models.configure import model_config
from cascade_rcnn.recipes import RECIPES

CATEGORIES = (Category(id=1, name="thing"),)


def test_the_paper_s_schedule():
    """Sections 5.1.1 and 5.5: 280k iterations of 8 images; the rate is divided by 10 at 160k and 240k."""
    recipe = RECIPES["paper_cascade_r50"]()
    assert recipe.epochs * 118_287 / recipe.optimizer.lr_batch == pytest.approx(280_000, rel=0.01)
    assert [drop * 280 for drop in recipe.optimizer.drops] == pytest.approx([160, 240])
    assert recipe.options.rois == 512


def test_the_schedule_of_the_ablations():
    """Section 5.1.1: 120k iterations, then 60k at a tenth of the rate, 8 GPUs with one image each, 256 RoIs."""
    recipe = RECIPES["paper_ablation"]()
    assert recipe.epochs * 118_287 / recipe.optimizer.lr_batch == pytest.approx(180_000, rel=0.02)
    assert [drop * 180 for drop in recipe.optimizer.drops] == pytest.approx([120])
    assert (recipe.optimizer.lr, recipe.options.rois, recipe.options.semantics) == (0.005, 256, "paper")


@pytest.mark.parametrize(
    ("name", "iterations", "gpus", "drops", "rois"),
    [("paper_cascade_vgg", 100_000, 2, [60, 90], 128), ("paper_cascade_rfcn_r50", 280_000, 4, [160, 240], 256)],
)
def test_the_schedules_without_a_pyramid(name, iterations, gpus, drops, rois):
    """Section 5.1.1, in whole epochs."""
    recipe = RECIPES[name]()
    assert recipe.optimizer.lr_batch == gpus * recipe.batch_size
    assert recipe.epochs * 118_287 / recipe.optimizer.lr_batch == pytest.approx(iterations, rel=0.06)
    assert [drop * iterations / 1000 for drop in recipe.optimizer.drops] == pytest.approx(drops)
    assert recipe.optimizer.lr == 0.003
    config = model_config(recipe.model, CATEGORIES, recipe.options, pretrained=True)
    assert config.sampling.rois == rois
    assert (config.preprocess.min_size, config.preprocess.max_size) == ((600,), 1000)
