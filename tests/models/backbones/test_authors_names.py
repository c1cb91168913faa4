"""Names of the weights of the authors' classifiers."""

import pytest
import torch

from cascade_rcnn.models.backbones.authors_names import as_torchvision_s


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("patch_embed.proj.weight", "features.0.0.weight"),
        ("patch_embed.norm.bias", "features.0.2.bias"),
        ("layers.2.blocks.10.attn.relative_position_bias_table", "features.5.10.attn.relative_position_bias_table"),
        ("layers.3.blocks.1.mlp.fc2.weight", "features.7.1.mlp.3.weight"),
        ("layers.0.downsample.norm.weight", "features.2.norm.weight"),
        ("downsample_layers.0.1.bias", "features.0.1.bias"),
        ("downsample_layers.3.1.weight", "features.6.1.weight"),
        ("stages.2.26.dwconv.weight", "features.5.26.block.0.weight"),
        ("stages.0.0.pwconv2.bias", "features.1.0.block.5.bias"),
        ("layer1.0.conv1.weight", "layer1.0.conv1.weight"),
        ("features.0.0.weight", "features.0.0.weight"),
    ],
)
def test_names_of_the_authors(theirs, ours):
    assert list(as_torchvision_s({theirs: torch.zeros(1)})) == [ours]


def test_timm_merges_patches_before_a_stage_and_the_authors_after_one():
    assert list(as_torchvision_s({"layers.1.downsample.reduction.weight": torch.zeros(1)})) == [
        "features.2.reduction.weight"
    ]
    both = {f"layers.{k}.downsample.norm.weight": torch.zeros(1) for k in (0, 1)}
    assert list(as_torchvision_s(both)) == ["features.2.norm.weight", "features.4.norm.weight"]


def test_a_scale_has_the_dimensions_of_a_map():
    (found,) = as_torchvision_s({"stages.1.2.gamma": torch.arange(3.0)}).items()
    assert found[0] == "features.3.2.layer_scale"
    assert found[1].shape == (3, 1, 1)
