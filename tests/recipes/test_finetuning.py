"""Recipes that fine-tune published detectors agree with the table of published detectors."""

import pytest

from cascade_rcnn.config.augmentation import ScaleJitterConfig
from cascade_rcnn.hub.peers import outcome
from cascade_rcnn.hub.table import published
from cascade_rcnn.recipes import RECIPES


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
    """The learning rate for a given number of images, weight decay, and layer decay."""
    found = {name: RECIPES[name]().optimizer for name in RECIPES if name.startswith("finetune_")}
    assert {name: (o.lr, o.lr_batch, o.weight_decay, o.layer_decay) for name, o in found.items()} == {
        "finetune_convnext": (2e-4, 16, 0.05, 0.7),
        "finetune_swin": (1e-4, 16, 0.05, 1.0),
        "finetune_vit": (1e-4, 16, 0.1, 0.7),
    }
    vit = RECIPES["finetune_vit"]()
    assert vit.augmentation[1] == ScaleJitterConfig(scale=(0.1, 2.0), size=1024)
    assert vit.options.min_size == vit.options.max_size == 1024
