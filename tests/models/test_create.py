"""Models from weights; models by name are tested with the architectures."""

import pytest
import torch

from cascade_rcnn import create_model, load
from cascade_rcnn.errors import UserError


def test_from_the_starter_for_other_classes():
    model = create_model(weights="starter", categories=["bolt", "nut"], min_size=160)
    assert model.training
    assert model.class_names == ["bolt", "nut"]
    assert model.config.preprocess.min_size == (160,)
    starter = load("starter")
    name = "pyramid.lateral.2.weight"
    torch.testing.assert_close(model.get_parameter(name), starter.get_parameter(name))
    torch.testing.assert_close(model.roi_heads.heads[2].regressor.weight, starter.roi_heads.heads[2].regressor.weight)
    assert model.roi_heads.heads[0].classifier.weight.shape[0] == 3
    losses = model(
        [torch.rand(3, 160, 200)], [{"boxes": torch.tensor([[20.0, 20, 90, 80]]), "labels": torch.tensor([2])}]
    )
    assert all(loss.isfinite() for loss in losses.values())


def test_lists_are_as_good_as_tuples():
    options = {"min_size": [48, 64], "anchor_sizes": [8, 16, 32, 64, 128], "stages": 2, "stage_ious": [0.5, 0.6]}
    found = create_model("cascade_rcnn_resnet18_fpn", 2, backbone_width=8, head_width=8, **options).config
    tuples = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    assert found == create_model("cascade_rcnn_resnet18_fpn", 2, backbone_width=8, head_width=8, **tuples).config
    assert load("starter", min_size=[48, 64]).config.preprocess.min_size == (48, 64)


def test_without_classes_it_keeps_its_own_and_finds_the_same():
    model = create_model("cascade_rcnn_resnet18_fpn", weights="starter").eval()
    assert model.class_names == ["person"]
    image = torch.rand(3, 96, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model([image]), load("starter")([image]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "faster_rcnn_resnet18_fpn", "weights": "starter"}, "starter is a cascade_rcnn_resnet18_fpn"),
        ({"weights": "starter", "weights_backbone": "imagenet"}, "leave out one of them"),
        ({"weights": "starter", "rois": 5}, "'rois' cannot be changed"),
        ({"weights": "nowhere.safetensors"}, "no such checkpoint"),
        ({"num_classes": 3}, "needs a name"),
        ({"weights": "starter", "categories": "dog"}, r"categories is 'dog'; give a list, such as \['dog'\]"),
        ({"weights": "starter", "categories": ["a", "b", "a"]}, "categories has 'a' 2 times; give each class"),
        ({"weights": "starter", "categories": [1]}, "categories has 1; give names"),
        ({"weights": "starter", "num_classes": 1.5}, "num_classes is 1.5; give a whole number"),
        ({"weights": "starter", "min_sise": 64}, r"no option 'min_sise'; did you mean 'min_size'\?"),
    ],
)
def test_mistakes(arguments, message):
    with pytest.raises(UserError, match=message):
        create_model(**arguments)
