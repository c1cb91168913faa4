"""Every tensor is mapped, in both directions; those that cannot be are named."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cascade_rcnn import create_model
from cascade_rcnn.config import Category, ContextConfig, DeformableConfig, NormConfig, replace
from cascade_rcnn.errors import UserError
from cascade_rcnn.interop import convert_checkpoint, detectron2, mmdet, to_detectron2
from cascade_rcnn.interop.convert import PEERS, names_at
from cascade_rcnn.interop.renaming import rename
from cascade_rcnn.models.build import build
from cascade_rcnn.models.checkpoint import load, save

SMALL = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 16}


def listed(file: Path) -> dict[str, Tensor]:
    """Return a state dict with a listing's names and shapes, without storage."""
    state = {}
    for line in file.read_text().splitlines():
        if not line.startswith("#"):
            name, shape, dtype, _ = line.split("\t")
            sizes = [int(x) for x in shape.strip("()").split(",") if x.strip()]
            state[name] = torch.empty(sizes, dtype=getattr(torch, dtype), device="meta")
    return state


@pytest.mark.parametrize("origin", ["detectron2", "mmdet"])
@pytest.mark.parametrize("detector", ["cascade", "faster"])
def test_stock_models_convert_whole_without_a_config(peers_folder, origin, detector):
    state = listed(peers_folder / origin / f"state_dict_{detector}_r50.txt")
    config, ours = PEERS[origin].convert(state, None)
    assert config.name == f"{detector}_rcnn_resnet50_fpn"
    assert (config.backbone.stem, config.backbone.planes, config.backbone.groups) == (64, 64, 1)
    assert config.backbone.stride_in_1x1 == (origin == "detectron2")
    assert (config.pyramid.channels, config.box_head.width, config.roi_align.resolution) == (256, 1024, 7)
    assert config.box_head.class_agnostic == (detector == "cascade")
    assert [c.name for c in config.categories][:3] == ["person", "bicycle", "car"]
    assert (len(config.categories), config.categories[-1].id) == (80, 90)
    kept = [name for name in state if not name.endswith("num_batches_tracked")]
    assert len(ours) == len(kept)
    assert sum(x.numel() for x in ours.values()) == sum(state[name].numel() for name in kept)


@pytest.mark.parametrize(
    "name", ["faster_rcnn_resnet18_fpn", "cascade_rcnn_resnet34_fpn", "cascade_rcnn_resnet101_fpn"]
)
def test_other_depths_are_told_by_their_shapes(name):
    with torch.device("meta"):
        model = create_model(name, num_classes=3)
    config, state = detectron2.convert(to_detectron2(model), None)
    assert config.name == name
    assert state.keys() == {k for k in model.state_dict() if not k.endswith("num_batches_tracked")}


def test_resnext_takes_its_stock_settings():
    with torch.device("meta"):
        model = create_model("cascade_rcnn_resnext101_32x8d_fpn", num_classes=80)
    config, _ = detectron2.convert(to_detectron2(model), None)
    assert (config.backbone.groups, config.backbone.width_per_group, config.backbone.depth) == (32, 8, 101)
    assert not config.backbone.stride_in_1x1
    assert config.preprocess.std == pytest.approx([57.375 / 255, 57.12 / 255, 58.395 / 255])


@pytest.mark.parametrize("modulated", [False, True])
def test_deformable_convolutions_and_group_norm_keep_their_kind_and_names(modulated):
    """As in detectron2's X152-32x8d: the offset convolution is stored next to the convolution it shifts."""
    with torch.device("meta"):
        plain = create_model("cascade_rcnn_resnet50_fpn", num_classes=80, backbone_norm="group", norm="group").config
        deformable = DeformableConfig(modulated=modulated, layers=(3, 4), groups=2 if modulated else 1)
        model = build(replace(plain, backbone=replace(plain.backbone, deformable=deformable)))
    theirs = to_detectron2(model)
    assert theirs["backbone.bottom_up.res4.0.conv2_offset.weight"].shape == (54 if modulated else 18, 256, 3, 3)
    assert "backbone.bottom_up.res4.0.conv2.norm.weight" in theirs
    theirs["sem_seg_head.predictor.weight"] = torch.empty(54, 128, 1, 1, device="meta")
    settings = {"MODEL.RESNETS.NORM": "GN", "MODEL.RESNETS.DEFORM_MODULATED": modulated}
    config, state = detectron2.convert(theirs, settings)
    assert config.backbone.deformable == deformable
    assert config.backbone.norm.kind == config.pyramid.norm.kind == "group"
    assert state.keys() == model.state_dict().keys()


def test_group_norm_takes_its_stock_settings():
    with torch.device("meta"):
        model = create_model("cascade_rcnn_resnet50_fpn", num_classes=80, backbone_norm="group")
    config, _ = detectron2.convert(to_detectron2(model), None)
    assert (config.backbone.norm.kind, config.backbone.stride_in_1x1) == ("group", False)


def test_what_detectron2_lacks_is_not_given_to_it():
    with torch.device("meta"):
        plain = create_model("cascade_rcnn_resnet50_fpn", num_classes=2).config
        model = build(replace(plain, backbone=replace(plain.backbone, context=ContextConfig())))
    with pytest.raises(UserError, match=r"detectron2 has no place for 'backbone\.layer2\.0\.context"):
        to_detectron2(model)


def test_a_panoptic_model_s_segmentation_is_left_out_and_reported(tmp_path):
    state = to_detectron2(create_model("cascade_rcnn_resnet18_fpn", num_classes=3, **SMALL))
    save_file(contiguous(state | {"sem_seg_head.predictor.bias": torch.zeros(54)}), tmp_path / "model.safetensors")
    model, notes = convert_checkpoint(tmp_path / "model.safetensors", "detectron2")
    assert any(note.startswith("the semantic segmentation head is left out") for note in notes)
    assert not any("seg" in name for name in model.state_dict())


@pytest.mark.parametrize("name", ["faster_rcnn_resnet18_fpn", "cascade_rcnn_resnet18_fpn"])
@pytest.mark.parametrize("class_agnostic", [True, False])
def test_to_detectron2_and_back_is_exact(name, class_agnostic):
    model = create_model(name, num_classes=3, class_agnostic=class_agnostic, **SMALL)
    config, state = detectron2.convert(to_detectron2(model), None)
    assert config.box_head == model.config.box_head
    assert state
    assert all(torch.equal(state[name], model.state_dict()[name]) for name in state)


@pytest.mark.parametrize("detector", ["cascade", "faster"])
def test_the_peers_names_come_back_as_they_were(peers_folder, detector):
    theirs = listed(peers_folder / "detectron2" / f"state_dict_{detector}_r50.txt")
    with torch.device("meta"):
        model = create_model(f"{detector}_rcnn_resnet50_fpn", num_classes=80, class_agnostic=detector == "cascade")
    ours = to_detectron2(model)
    assert {name: x.shape for name, x in ours.items()} == {name: x.shape for name, x in theirs.items()}


@pytest.mark.parametrize("name", ["faster_rcnn_resnet18_fpn", "mask_rcnn_resnet18_fpn"])
def test_a_keypoint_head_is_left_out_and_reported(name, tmp_path):
    state = to_detectron2(create_model(name, num_classes=1, **SMALL))
    state["roi_heads.keypoint_head.conv_fcn1.weight"] = torch.zeros(8, 8, 3, 3)
    save_file(contiguous(state), tmp_path / "model.safetensors")
    model, notes = convert_checkpoint(tmp_path / "model.safetensors", "detectron2")
    assert any(note.startswith("the mask or keypoint head (1 tensor) is left out") for note in notes)
    assert model.config.has_masks == name.startswith("mask")


@pytest.fixture
def checkpoint(tmp_path) -> Iterator[tuple[Path, dict[str, Tensor]]]:
    """Return a detectron2 checkpoint with another kind of mask head (PointRend's) and buffers of old versions."""
    model = create_model("cascade_rcnn_resnet18_fpn", num_classes=3, **SMALL)
    extra = {
        "roi_heads.mask_head.coarse_head.conv1.weight": torch.zeros(8, 8, 3, 3),
        "pixel_mean": torch.zeros(3, 1, 1),
    }
    return tmp_path / "model.safetensors", to_detectron2(model) | extra


def contiguous(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in state.items()}


def test_a_mask_head_of_another_kind_is_left_out_and_reported(checkpoint):
    file, state = checkpoint
    save_file(contiguous(state), file)
    model, notes = convert_checkpoint(file, "detectron2")
    assert not model.training
    assert [note.split()[0:4] for note in notes] == [
        ["no", "config", "given:", "preprocessing,"],
        ["the", "mask", "or", "keypoint"],
        ["the", "class", "names", "are"],
    ]
    assert torch.equal(model.backbone.conv1.weight, state["backbone.bottom_up.stem.conv1.weight"])  # type: ignore[union-attr]


def test_what_does_not_fit_is_named_in_one_line(checkpoint):
    file, state = checkpoint
    conv, fc = "backbone.bottom_up.res3.1.conv1.weight", "roi_heads.box_head.1.fc2.weight"
    faults = {
        r"'backbone\.layer2\.1\.conv2\.weight' is missing": {"backbone.bottom_up.res3.1.conv2.weight": None},
        r"'roi_heads\.heads\.1\.fc2\.weight' is \(16, 17\) where the model has \(16, 16\)": {fc: torch.zeros(16, 17)},
        r"'roi_heads\.heads\.0\.conv1\.bias' is missing": {"roi_heads.box_head.0.conv1.weight": torch.zeros(1)},
        r"'rpn\.objectness\.bias' is missing": {"proposal_generator.rpn_head.objectness_logits.bias": None},
        r"'backbone\.layer1\.1\.conv3\.weight' is unexpected": {
            "backbone.bottom_up.res2.1.conv3.weight": torch.zeros(1)
        },
        r"the backbone has \(2, 1, 2, 2\) blocks": {conv: None},
        r"has no tensor for 'pyramid\.lateral\.0\.weight'": {"backbone.fpn_lateral2.weight": None},
    }
    for message, change in faults.items():
        changed = {name: x for name, x in (state | change).items() if x is not None}
        save_file(contiguous(changed), file)
        with pytest.raises(UserError, match=message) as caught:
            convert_checkpoint(file, "detectron2")
        assert str(caught.value).startswith(f"{file}: ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("origin", "name", "kind"),
    [
        ("mmdet", "backbone.patch_embed.conv.weight", "a Swin or another vision transformer"),
        ("mmdet", "backbone.downsample_layers.0.0.weight", "a ConvNeXt"),
    ],
)
def test_what_a_foreign_tensor_belongs_to_is_reported(tmp_path, origin, name, kind):
    """Its owner is named before anything is said about the config or its absence."""
    sign = {"detectron2": "proposal_generator.rpn_head.conv.weight", "mmdet": "rpn_head.rpn_conv.weight"}[origin]
    save_file({sign: torch.zeros(1), name: torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=rf"holds '{name}' \(1,\) \(of {kind}\), which has no place") as caught:
        convert_checkpoint(tmp_path / "model.safetensors", origin, tmp_path / "config.py")
    assert "\n" not in str(caught.value)


def test_other_anchors_than_those_assumed_are_named_as_such(checkpoint):
    file, state = checkpoint
    head = "proposal_generator.rpn_head."
    shapes = {"objectness_logits.weight": (5, 8, 1, 1), "objectness_logits.bias": (5,)}
    save_file(contiguous(state | {head + name: torch.zeros(shape) for name, shape in shapes.items()}), file)
    with pytest.raises(UserError, match=r"its RPN has 5 anchors per position, but its config .* has 3; give"):
        convert_checkpoint(file, "detectron2")


def test_another_origin_is_recognised(checkpoint):
    file, state = checkpoint
    save_file(contiguous(state), file)
    for wrong in ("mmdet", "torchvision"):
        with pytest.raises(UserError, match="this looks like a detectron2 checkpoint: use --from detectron2"):
            convert_checkpoint(file, wrong)
    save_file({"neck.lateral_convs.0.conv.weight": torch.zeros(1), "backbone.conv1.weight": torch.zeros(1)}, file)
    with pytest.raises(UserError, match="this looks like a mmdet checkpoint: use --from mmdet"):
        convert_checkpoint(file, "detectron2")
    save_file({"backbone.body.conv1.weight": torch.zeros(1)}, file)
    with pytest.raises(UserError, match="this looks like a torchvision checkpoint: use --from torchvision"):
        convert_checkpoint(file, "mmdet")
    save_file({"bbox_head.weight": torch.zeros(1)}, file)
    with pytest.raises(UserError, match="tensor names match no detector"):
        convert_checkpoint(file, "mmdet")
    with pytest.raises(UserError, match="origin 'keras' is unknown"):
        convert_checkpoint(file, "keras")  # type: ignore[arg-type]


def test_a_converted_model_is_saved_as_our_own(peers_folder, peer_weights, tmp_path):
    for origin, config in (("detectron2", "config.yaml"), ("mmdet", "config.py")):
        config_file = peers_folder / origin / "cascade_thin" / config
        model, notes = convert_checkpoint(peer_weights[origin], origin, config_file)
        (note,) = notes
        assert note.startswith("the class names are unknown; they are set to 'class 1' to 'class 20'")
        save(model, tmp_path / "model.safetensors")
        loaded = load(tmp_path / "model.safetensors")
        assert loaded.config == model.config
        torch.testing.assert_close(loaded.state_dict(), model.state_dict(), rtol=0, atol=0)


def test_config_and_names_inside_an_mmdet_checkpoint_are_used(peers_folder, peer_weights, tmp_path):
    folder = peers_folder / "mmdet" / "cascade_thin"
    state = {name: torch.zeros_like(x) for name, x in load_file(peer_weights["mmdet"]).items()}
    names = tuple(f"kind {k}" for k in range(20))
    meta = {"cfg": (folder / "config.py").read_text().replace("score_thr=0.05", "score_thr=0.2"), "epoch": 12}
    torch.save({"state_dict": state, "meta": meta | {"dataset_meta": {"classes": names}}}, tmp_path / "epoch_12.pth")
    model, notes = convert_checkpoint(tmp_path / "epoch_12.pth", "mmdet")
    assert notes == ["settings are those in the checkpoint"]
    assert tuple(model.class_names) == names
    assert model.config.inference.score_threshold == 0.2
    assert model.config.stages[2].std == (0.033, 0.033, 0.067, 0.067)
    stock = mmdet.to_config(model.config, None)
    assert stock.inference.score_threshold == 0.05


@pytest.mark.parametrize("norm", [None, "group"])
def test_masks_survive_the_way_to_detectron2_and_back(norm, tmp_path):
    options = SMALL | {"pyramid_channels": 32, "mask_agnostic": norm is None, "norm": norm}
    model = create_model("cascade_mask_rcnn_resnet18_fpn", num_classes=3, **options)
    file = tmp_path / "model.safetensors"
    save_file(contiguous(to_detectron2(model)), file)
    again, notes = convert_checkpoint(file, "detectron2")
    assert not any("left out" in note for note in notes)
    assert again.config.name == "cascade_mask_rcnn_resnet18_fpn"
    (masks,) = again.config.tasks
    assert (masks.stages, masks.weights, masks.class_agnostic) == ((1,), (1.0,), norm is None)
    assert masks.norm == (None if norm is None else NormConfig(kind="group"))
    state = again.state_dict()
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items() if "tasks" in name)


@pytest.fixture
def of_mmdet(tmp_path):
    """Return a function that writes an mmdetection checkpoint with this metadata, with three classes."""
    model = create_model("faster_rcnn_resnet18_fpn", num_classes=3, **SMALL)
    rows = names_at("mmdet", model.config)
    state = {rename(name, rows): tensor for name, tensor in model.state_dict().items()}

    def write(**meta: object) -> Path:
        torch.save({"state_dict": state, "meta": meta}, tmp_path / "epoch_1.pth")
        return tmp_path / "epoch_1.pth"

    return write


def test_names_in_the_checkpoint_need_no_config(of_mmdet):
    model, notes = convert_checkpoint(of_mmdet(dataset_meta={"classes": ("a", "b", "c"), "palette": None}), "mmdet")
    assert model.class_names == ["a", "b", "c"]
    assert len(notes) == 1
    assert notes[0].startswith("no config given")


def test_names_in_the_checkpoint_select_categories_and_another_order_is_noted(of_mmdet):
    given = tuple(Category(id=k, name=name) for k, name in enumerate(("all", "a", "b", "c")))
    model, notes = convert_checkpoint(of_mmdet(CLASSES=("a", "b", "c")), "mmdet", categories=given)
    assert [(c.id, c.name) for c in model.config.categories] == [(1, "a"), (2, "b"), (3, "c")]
    assert len(notes) == 1
    _, notes = convert_checkpoint(of_mmdet(CLASSES=("c", "a", "b")), "mmdet", categories=given)
    assert notes[1].startswith("the checkpoint names the same classes in another order (c, a, b)")
    with pytest.raises(UserError, match="has 3 classes, but 4 categories are given"):
        convert_checkpoint(of_mmdet(CLASSES=("a", "b", "z")), "mmdet", categories=given)


def test_version_1_of_mmdetection_is_refused_by_its_name(of_mmdet):
    with pytest.raises(UserError, match=r"epoch_1\.pth: this is from mmdetection 1\.x"):
        convert_checkpoint(of_mmdet(mmdet_version="1.2.0+0f33c08"), "mmdet")
