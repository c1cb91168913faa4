"""The table of published detectors: complete, well-formed, and consistent with what the converters support."""

import re
from collections import Counter
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from safetensors.torch import load_file
from torchvision.models import detection

from cascade_rcnn import create_model
from cascade_rcnn.config import (
    ConvFCHeadConfig,
    FPNConfig,
    MViTConfig,
    NormConfig,
    SimplePyramidConfig,
    SwinConfig,
    ViTConfig,
    replace,
)
from cascade_rcnn.hub.listing import as_markdown, entries
from cascade_rcnn.hub.peers import config_file, outcome
from cascade_rcnn.hub.table import published, table
from cascade_rcnn.interop import layout
from cascade_rcnn.interop.convert import PEERS

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "fixtures" / "peers"
ROWS = list(published().values())
VITDET = [row for row in ROWS if row.config and row.config.base in ("detectron2/vitdet", "detectron2/mvitv2")]


def test_names_and_files_are_unique():
    assert len(published()) == len(table().weights)
    assert len({row.file for row in ROWS}) == len(ROWS)  # they all lie in one folder
    assert all(row.name.partition("/")[0] in ("detectron2", "mmdet", "swin", "convnext", "torchvision") for row in ROWS)
    assert all(re.fullmatch(r"[a-z0-9]+/[\w.+-]+", row.name) for row in ROWS)


def test_every_address_is_of_the_right_form():
    for row in ROWS:
        url = urlsplit(row.url)
        assert (url.scheme, url.query, url.fragment) == ("https", "", ""), row.url
        assert re.fullmatch(r"[a-z0-9.-]+\.[a-z]+", url.netloc), row.url
        assert re.fullmatch(r"(/[\w.+-]+)+\.(pkl|pth)", unquote(url.path)), row.url
        assert row.file.endswith(".pkl") == (row.source.origin == "detectron2"), row.url


def test_hashes_stand_in_the_names_where_a_publisher_puts_them():
    lengths = {"md5": 6, "sha256": 8}
    for row in ROWS:
        assert (row.digest is None) == (row.source.hash is None), row.name
        assert row.digest is None or len(row.digest[1]) == lengths[row.digest[0]], row.name
    assert published()["detectron2/cascade_mask_rcnn_R_50_FPN_3x"].digest == ("md5", "480dd8")
    assert published()["mmdet/cascade-mask-rcnn_regnetx-3.2GF_fpn_ms-3x_coco"].digest == ("sha256", "b9c2c58b")
    assert published()["swin/cascade_mask_rcnn_swin_tiny_patch4_window7"].digest is None


def test_metrics_are_in_percent():
    assert all(20 < row.box_ap < 60 and (row.mask_ap is None or 20 < row.mask_ap < row.box_ap) for row in ROWS)
    best = max(ROWS, key=lambda row: row.box_ap)
    assert (best.name, best.box_ap, best.mask_ap) == ("detectron2/cascade_mask_rcnn_vitdet_h_75ep", 58.7, 51.0)


def test_how_many_there_are():
    assert Counter(row.publisher for row in ROWS) == {
        "detectron2": 14,
        "vitdet": 16,
        "mmdet": 113,
        "swin": 6,
        "convnext": 6,
        "torchvision": 4,
    }


def test_torchvisions_are_torchvisions():
    known = {
        weights.COCO_V1.url: weights.COCO_V1.meta
        for weights in (
            detection.FasterRCNN_ResNet50_FPN_Weights,
            detection.FasterRCNN_ResNet50_FPN_V2_Weights,
            detection.FasterRCNN_MobileNet_V3_Large_FPN_Weights,
            detection.FasterRCNN_MobileNet_V3_Large_320_FPN_Weights,
        )
    }
    ours = {row.url: row for row in ROWS if row.publisher == "torchvision"}
    assert ours.keys() == known.keys()
    for url, meta in known.items():
        assert ours[url].box_ap == meta["_metrics"]["COCO-val2017"]["box_map"]
        assert ours[url].megabytes == pytest.approx(meta["_file_size"] * 2**20 / 1e6, abs=0.05)  # stated in MiB


def test_configs_are_built_on_their_bases():
    settings = published()["mmdet/cascade-rcnn_x101_64x4d_fpn_20e_coco"].settings()
    assert settings is not None
    backbone = settings["model"]["backbone"]
    assert (backbone["type"], backbone["depth"], backbone["groups"], backbone["base_width"]) == ("ResNeXt", 101, 64, 4)
    assert [head["bbox_coder"]["target_stds"][0] for head in settings["model"]["roi_head"]["bbox_head"]] == [
        *(0.1, 0.05, 0.033)
    ]
    caffe = published()["mmdet/cascade-rcnn_r50-caffe_fpn_1x_coco"].settings()
    assert caffe is not None
    assert caffe["model"]["backbone"]["style"] == "caffe"
    assert caffe["model"]["data_preprocessor"]["bgr_to_rgb"] is False
    assert caffe["model"]["data_preprocessor"]["std"] == [1.0, 1.0, 1.0]
    again = published()["mmdet/cascade-rcnn_r50_fpn_1x_coco"].settings()
    assert again is not None
    assert again["model"]["backbone"]["style"] == "pytorch"  # changing a config does not change its base
    zoo = published()["detectron2/faster_rcnn_X_101_32x8d_FPN_3x"].settings()
    assert zoo is not None
    assert (zoo["MODEL.RESNETS.STRIDE_IN_1X1"], zoo["MODEL.RESNETS.NUM_GROUPS"]) == (False, 32)
    assert zoo["DATASETS.TRAIN"] == ["coco_2017_train"]


@pytest.fixture(scope="module")
def skeletons(peer_weights):
    """Return the shapes of a thin cascade's tensors for each peer, with one stage and with three."""
    found = {}
    for origin in ("detectron2", "mmdet"):
        state = load_file(peer_weights[origin])
        family, ours = layout.our_names(origin, state, PEERS[origin].NAMES, PEERS[origin].IGNORED)
        found[origin, True] = layout.skeleton(ours, family)
        single = {k: v for k, v in ours.items() if not re.search(r"heads\.[12]\.", k)}
        found[origin, False] = layout.skeleton(single, family)
    return found


@pytest.fixture(scope="module")
def outcomes():
    return {row.name: outcome(row) for row in ROWS}


def test_the_config_of_what_converts_makes_a_config_of_ours(skeletons, outcomes):
    for row in ROWS:
        if not row.config or row in VITDET or outcomes[row.name].part == "none":
            continue
        peer = PEERS[row.source.origin]
        with config_file(row) as file:
            settings, _ = peer.read_settings(file, {})
        config = peer.to_config(skeletons[row.source.origin, "cascade" in row.name], settings)
        assert config.preprocess.min_size[-1] == 800, row.name
        assert config.backbone.stride_in_1x1 == (
            "caffe" in row.backbone or (row.publisher == "detectron2" and not re.search("X|GN", row.backbone))
        ), row.name
        ious = [0.5, 0.6, 0.7] if "cascade" in row.name else [0.5]
        assert [stage.iou for stage in config.stages] == ious, row.name


DROP_PATH = {  # as in their configs
    "COCO": {"ViT-B": 0.1, "ViT-L": 0.4, "ViT-H": 0.5, "Swin-B": 0.4, "Swin-L": 0.4},
    "LVIS": {"ViT-B": 0.1, "ViT-L": 0.4, "ViT-H": 0.4, "Swin-B": 0.3, "Swin-L": 0.3},
}
MVIT = {"MViTv2-B": 0.4, "MViTv2-L": 0.5, "MViTv2-H": 0.6}


@pytest.mark.parametrize("row", VITDET, ids=lambda row: row.name)
def test_the_config_of_a_transformer_makes_a_config_of_ours(row, skeletons, outcomes):
    assert outcomes[row.name].part == "whole"
    lvis = row.dataset == "LVIS"
    with config_file(row) as file:
        settings, notes = PEERS["detectron2"].read_settings(file, {})
    norm = NormConfig(kind="group")  # settings that tensors reveal; layer normalisation has the same ones
    head = ConvFCHeadConfig(convs=4, norm=norm, fcs=1)
    kind = row.backbone.partition("-")[0]
    plain = kind == "ViT"
    seen = replace(
        skeletons["detectron2", True],
        backbone={"ViT": ViTConfig(drop_path=0.0), "MViTv2": MViTConfig(), "Swin": SwinConfig()}[kind],
        pyramid=SimplePyramidConfig(norm=norm) if plain else FPNConfig(norm=norm),
        box_head=head,
    )
    config = PEERS["detectron2"].to_config(seen, settings)
    own = create_model("cascade_rcnn_vit_b", 1, backbone_width=16, pyramid_channels=16, head_width=32).config
    assert config.preprocess.std == pytest.approx(own.preprocess.std)
    assert config.preprocess == replace(own.preprocess, antialias=True, std=config.preprocess.std)
    assert (config.pyramid.norm, config.box_head.norm) == (NormConfig.of("layer"),) * 2
    assert config.backbone.drop_path == (DROP_PATH[row.dataset] | MVIT)[row.backbone]
    assert (config.classification, len(notes)) == (("sigmoid", 1) if lvis else ("softmax", 0))
    assert (config.inference.score_threshold, config.inference.max_detections) == ((0.02, 300) if lvis else (0.05, 100))
    assert config.rpn.post_nms_train == own.rpn.post_nms_train == 1000


def test_what_cannot_convert_is_refused_for_its_own_reason(outcomes):
    assert "HybridTaskCascade" in outcomes["mmdet/htc_r50_fpn_1x_coco"].reason
    assert "SABLHead" in outcomes["mmdet/sabl-cascade-rcnn_r50_fpn_1x_coco"].reason
    assert "DetectoRS" in outcomes["mmdet/detectors_cascade-rcnn_r50_1x_coco"].reason
    assert "NormedLinear" in outcomes["mmdet/cascade-mask-rcnn_r101_fpn_seesaw-loss_random-ms-2x_lvis-v1"].reason
    assert all(found.part != "none" or found.reason for found in outcomes.values())


def test_the_documentation_lists_them():
    page = (ROOT / "docs" / "weights.md").read_text()
    written = [line for line in page.splitlines() if line.startswith("|") and "AP" not in line and "---" not in line]
    assert written == as_markdown(entries(every=True))[2:], "docs/weights.md: run `python -m tools.weights`"
