"""MViTv2: its blocks, windows and positions, and the weights it starts from."""

import pytest
import torch

from cascade_rcnn import UserError, create_model
from cascade_rcnn.config import MVITS, MViTConfig, replace
from cascade_rcnn.models.backbones.mvit import MViT, _joined, _plans, _windows, relative_positions
from cascade_rcnn.models.backbones.pretrained import load_pretrained
from cascade_rcnn.models.build import build_backbone

TINY = MViTConfig(width=8, depths=(1, 2, 2, 1), window=8, grid=8)


def network(**changes: object) -> MViT:
    """Return a tiny network in which every parameter has an effect."""
    torch.manual_seed(0)
    made = build_backbone(replace(TINY, **changes))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


def test_the_blocks_of_the_base_network():
    plans = list(_plans(MViTConfig()))
    assert len(plans) == 24
    assert [k for k, plan in enumerate(plans) if plan.window is None] == [4, 20, 23]
    assert [k for k, plan in enumerate(plans) if plan.q_stride == 2] == [2, 5, 21]
    assert [plans[k].kv_stride for k in (0, 1, 2, 3, 4, 5, 19, 20, 21, 23)] == [4, 4, 2, 2, 4, 1, 1, 2, 1, 1]
    assert [plans[k].window for k in (0, 1, 2, 3, 5, 6, 21, 22)] == [56, 56, 56, 28, 28, 14, 14, 7]
    assert [(plans[k].inputs, plans[k].width, plans[k].heads) for k in (1, 2, 3, 23)] == [
        *((96, 96, 1), (96, 192, 2), (192, 192, 2), (768, 768, 8))
    ]


@pytest.mark.parametrize(("name", "millions"), [("mvitv2_t", 24), ("mvitv2_s", 35), ("mvitv2_b", 52)])
def test_sizes_are_the_published_ones(name, millions):
    """With the classifier of 1000 classes."""
    width, heads, depths = MVITS[name]
    with torch.device("meta"):
        backbone = MViT(MViTConfig(width=width, heads=heads, depths=depths))
    number = sum(p.numel() for p in backbone.parameters()) + 1001 * backbone.channels[-1]
    assert number / 1e6 == pytest.approx(millions, abs=0.9)
    assert backbone.config.label == name


def test_relative_positions_of_lines_of_different_lengths():
    table = torch.arange(7.0)[:, None]  # for 4 positions: distances -3 to 3
    same = [[3, 2, 1, 0], [4, 3, 2, 1], [5, 4, 3, 2], [6, 5, 4, 3]]
    assert relative_positions(table, 4, 4, 4)[..., 0].tolist() == same
    assert relative_positions(table, 4, 2, 4)[..., 0].tolist() == [[2, 0], [3, 1], [4, 2], [5, 3]]
    assert relative_positions(table, 2, 4, 4)[..., 0].tolist() == [[3, 2, 1, 0], [5, 4, 3, 2]]
    assert relative_positions(table, 8, 8, 8).shape == (8, 8, 1)


def test_windows_are_cut_and_joined():
    x = torch.arange(2 * 5 * 7 * 3.0).view(2, 5, 7, 3)
    windows = _windows(x, 4)
    assert windows.shape == (2 * 2 * 2, 4, 4, 3)
    assert torch.equal(windows[0], x[0, :4, :4])
    assert torch.equal(windows[3, :1, :3], x[0, 4:, 4:])
    assert not windows[3, 1:].any()
    assert torch.equal(_joined(windows, 5, 7), x)


@torch.no_grad()
def test_only_the_last_blocks_see_everything():
    """A change in one corner reaches the opposite one only from the second stage's last block on."""
    mvit = network()
    image = torch.randn(1, 3, 128, 96)
    other = image.clone()
    other[..., :4, :4] += 1
    moved = [(a - b).abs().amax(dim=(0, 1)) for a, b in zip(mvit(image), mvit(other), strict=True)]
    assert float(moved[0][-1, -1]) == 0
    assert all(float(x[-1, -1]) > 0 for x in moved[1:])


@torch.no_grad()
def test_weights_of_timm_and_of_the_authors_are_loaded(tmp_path):
    timm = pytest.importorskip("timm")
    theirs = timm.models.mvitv2.MultiScaleVit(
        timm.models.mvitv2.MultiScaleVitCfg(depths=(1, 2, 2, 1), embed_dim=8, num_heads=1), (32, 32), num_classes=2
    )
    torch.save(theirs.state_dict(), tmp_path / "timm.pth")
    ours = network()
    load_pretrained(ours, TINY, tmp_path / "timm.pth")
    block = theirs.stages[2].blocks[1]
    assert torch.equal(ours.blocks[4].attn.pool_k.weight, block.attn.pool_k.weight)
    assert torch.equal(ours.blocks[3].proj.weight, theirs.stages[2].blocks[0].shortcut_proj_attn.weight)
    state = {name: x for name, x in ours.state_dict().items() if not name.startswith("output_norm")}
    state |= {"cls_token": torch.zeros(1, 1, 8), "norm.weight": torch.ones(64), "head.projection.bias": torch.ones(2)}
    torch.save({"model_state": state, "epoch": 3}, tmp_path / "authors.pyth")
    again = network()
    load_pretrained(again, TINY, tmp_path / "authors.pyth")
    assert torch.equal(again.blocks[4].mlp["fc2"].weight, block.mlp.fc2.weight)
    with pytest.raises(UserError, match="not weights of a mvitv2"):
        load_pretrained(network(width=16), replace(TINY, width=16), tmp_path / "authors.pyth")


def test_what_no_network_has_is_refused():
    assert (MViTConfig().resized(16).heads, replace(MViTConfig(), width=192, heads=3).resized(64).heads) == (1, 1)
    assert {MViTConfig(width=w, heads=h, depths=d).label for w, h, d in MVITS.values()} == MVITS.keys()
    for changes, message in (
        ({"width": 10, "heads": 3}, "divides the width"),
        ({"kv_stride": 3}, "a power of 2"),
        ({"window": 12}, "a multiple of 8"),
    ):
        with pytest.raises(UserError, match=message):
            replace(TINY, **changes)
    with pytest.raises(UserError, match="has a fixed backbone"):
        create_model("cascade_rcnn_mvitv2_t_fpn", 2, backbone="resnet18")
