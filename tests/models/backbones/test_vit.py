"""ViT: windows, relative and absolute positions, drop path, and the weights it starts from."""

from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from cascade_rcnn.config import ViTConfig, replace
from cascade_rcnn.errors import UserError
from cascade_rcnn.layers.attention import attend
from cascade_rcnn.models.backbones.pretrained import load_pretrained
from cascade_rcnn.models.backbones.vit import ViT, relative_positions
from cascade_rcnn.models.build import build_backbone

TINY = ViTConfig(width=16, depth=3, heads=2, window=3, global_blocks=(1,), grid=4, pretrained_grid=2, drop_path=0.0)


def network(**changes: object) -> ViT:
    """Return a tiny network in which every parameter has an effect."""
    torch.manual_seed(0)
    made = build_backbone(replace(TINY, **changes))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


def naive(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Compute softmax(q k / sqrt(d) + row bias + column bias) v, key by key."""
    bias = torch.stack(
        [rows[..., n // columns.shape[-1]] + columns[..., n % columns.shape[-1]] for n in range(k.shape[2])], dim=-1
    )
    return ((q @ k.transpose(-2, -1)) / q.shape[-1] ** 0.5 + bias).softmax(-1) @ v


@pytest.mark.parametrize("by_head", [False, True])
def test_attention_with_and_without_gradients(by_head):
    torch.manual_seed(0)
    grid = (5, 3)
    places = 15
    q, k, v = (torch.randn(1, 2, places, 4, requires_grad=True) for _ in range(3))
    rows, columns = (torch.randn(1, 2, places, length, requires_grad=True) for length in grid)
    inputs = (q, k, v, rows, columns)
    expected = naive(*inputs)
    with torch.no_grad():
        torch.testing.assert_close(attend(*inputs, by_head=by_head), expected, rtol=1e-4, atol=1e-5)
    found = attend(*inputs, by_head=by_head)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    weight = torch.randn_like(found)
    ours, theirs = (torch.autograd.grad((x * weight).sum(), inputs) for x in (found, expected))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_relative_positions_are_by_query_and_key():
    table = torch.arange(5.0)[:, None]  # for a line of 3: distances -2 to 2
    assert relative_positions(table, 3)[..., 0].tolist() == [[2, 1, 0], [3, 2, 1], [4, 3, 2]]
    longer = relative_positions(table, 4)  # 7 entries: stretched linearly around the centre
    assert longer.shape == (4, 4, 1)
    assert longer[0, 0, 0] == 2
    torch.testing.assert_close(longer[..., 0] + longer[..., 0].t(), torch.full((4, 4), 4.0))


def test_windows_do_not_see_one_another():
    """Blocks with windows only: a change to one patch reaches its window of 3 x 3, and nothing else."""
    vit = network(global_blocks=())
    image = torch.randn(1, 3, 80, 112)  # 5 x 7 patches: windows at the border are partial
    other = image.clone()
    other[..., 16:32, 64:80] += 1  # patch (1, 4)
    with torch.no_grad():
        moved = (vit(image)[0] - vit(other)[0]).abs().amax(dim=(0, 1)) > 1e-6
    assert moved.shape == (5, 7)
    expected = torch.zeros(5, 7, dtype=torch.bool)
    expected[0:3, 3:6] = True
    assert torch.equal(moved, expected)


def test_a_global_block_sees_everything():
    vit = network(global_blocks=(2,))
    image = torch.randn(1, 3, 80, 112)
    other = image.clone()
    other[..., :16, :16] += 1
    with torch.no_grad():
        assert bool(((vit(image)[0] - vit(other)[0]).abs().amax(dim=(0, 1)) > 1e-6).all())


def test_a_border_window_holds_patches_of_zeros():
    """Beyond the map, values are zero before the projection, so that the keys and values there are the bias."""
    vit = network(depth=1, global_blocks=())
    attention = vit.blocks[0].attn
    x = torch.randn(1, 2, 3, 16)
    padded = torch.cat([x, torch.zeros(1, 1, 3, 16)], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(attention(x), attention(padded)[:, :2], rtol=1e-4, atol=1e-5)


def test_positions_are_interpolated_from_the_grid_of_pretraining():
    vit = network()
    with torch.no_grad():
        same = vit._positions(2, 2)
        torch.testing.assert_close(same.flatten(1, 2), vit.pos_embed)
        assert vit._positions(5, 3).shape == (1, 5, 3, 16)


def test_drop_path_rises_and_rests_in_evaluation():
    vit = network(drop_path=0.4)
    assert [block.drop_path.rate for block in vit.blocks] == pytest.approx([0.0, 0.2, 0.4])
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(vit(image)[0], vit(image)[0])
        vit.train()
        torch.manual_seed(1)
        assert len({float(vit(image)[0].sum()) for _ in range(8)}) > 1


def test_checkpointing_gives_the_same_gradients():
    image = torch.randn(1, 3, 64, 64)
    gradients = []
    for checkpointing in (False, True):
        vit = network(checkpointing=checkpointing).train()
        vit(image)[0].square().mean().backward()
        gradients.append([p.grad for p in vit.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_layers_and_freezing():
    vit = network(frozen_stages=2)
    assert len(vit.layers()) == vit.config.layers == 4
    assert [id(p) for layer in vit.layers() for p in layer.parameters()] == [id(p) for p in vit.parameters()]
    frozen = {name for name, p in vit.named_parameters() if not p.requires_grad}
    assert frozen == {name for name in dict(vit.named_parameters()) if name.startswith(("pos", "patch", "blocks.0."))}


def test_resizing_keeps_heads_about_as_wide():
    assert (ViTConfig().resized(384).heads, ViTConfig().resized(16).heads) == (6, 1)
    assert ViTConfig(width=1280, heads=16).resized(200).heads == 2
    with pytest.raises(UserError, match="divides the width of 10"):
        ViTConfig(width=10, heads=3)
    with pytest.raises(UserError, match="global_blocks"):
        ViTConfig(depth=4)


def test_equals_timm_s_network_on_its_own_grid():
    """Without relative positions, and with the whole image as one window, it equals the classifier."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    theirs = timm.create_model(
        "vit_base_patch16_224", img_size=48, embed_dim=16, depth=2, num_heads=2, class_token=False, global_pool="avg"
    )
    theirs = theirs.eval()
    ours = ViT(ViTConfig(width=16, depth=2, heads=2, window=3, global_blocks=(1,), grid=3, pretrained_grid=3)).eval()
    ours.load_state_dict(theirs.state_dict(), strict=False)
    image = torch.randn(1, 3, 48, 48)
    with torch.no_grad():
        expected = theirs.forward_intermediates(image, norm=False, intermediates_only=True)[-1]
        torch.testing.assert_close(ours(image)[0], expected, rtol=1e-4, atol=1e-4)


# -- weights files -------------------------------------------------------------------------------------------------


def of_mae(vit: ViT) -> dict[str, Tensor]:
    """Return the weights of an autoencoder of this size: a class token first, a final norm, no relative positions."""
    state = {name: torch.randn_like(value) for name, value in vit.state_dict().items() if "rel_pos" not in name}
    state["pos_embed"] = torch.randn(1, 1 + 3 * 3, 16)
    return state | {"cls_token": torch.zeros(1, 1, 16), "norm.weight": torch.ones(16), "norm.bias": torch.zeros(16)}


@pytest.mark.parametrize("file", ["mae.pth", "timm.pth", "timm.safetensors"])
def test_weights_of_mae_and_timm_fill_the_backbone(tmp_path, file):
    vit = ViT(TINY)
    state, path = of_mae(vit), tmp_path / file
    if path.suffix == ".pth":
        torch.save({"model": state} if file == "mae.pth" else state, path)
    else:
        save_file({**state, "head.weight": torch.zeros(5, 16)}, path)
    load_pretrained(vit, vit.config, path)
    torch.testing.assert_close(vit.blocks[2].mlp["fc1"].weight, state["blocks.2.mlp.fc1.weight"])
    assert not vit.blocks[0].attn.rel_pos_h.any()
    grid = state["pos_embed"][:, 1:].unflatten(1, (3, 3)).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(grid, size=(2, 2), mode="bicubic")
    torch.testing.assert_close(vit.pos_embed, expected.flatten(2).transpose(1, 2))


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "other.pth"
    torch.save(of_mae(ViT(TINY)) | {"pos_embed": torch.zeros(1, 10, 8)}, path)
    with pytest.raises(UserError, match="not weights of a vit_16x3: 'pos_embed' is") as caught:
        load_pretrained(ViT(TINY), TINY, path)
    assert "\n" not in str(caught.value)


def test_imagenet_is_mae_s(monkeypatch):
    def fail(url: str, *_: object, **__: object) -> None:
        raise URLError(url)

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", fail)
    with pytest.raises(UserError, match=r"mae_pretrain_vit_base\.pth.*weights_backbone=PATH") as caught:
        load_pretrained(torch.nn.Module(), ViTConfig(), "imagenet")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no published weights have this size"):
        load_pretrained(torch.nn.Module(), TINY, "imagenet")
