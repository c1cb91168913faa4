"""The other frameworks' detectors, with our weights and our numbers of proposals, classes and detections."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, fasterrcnn_resnet50_fpn_v2
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops.misc import FrozenBatchNorm2d

from benchmarks.measure import Task
from benchmarks.weights import rois, set_background, spread, take_statistics

_FROZEN = ("conv1", "bn1", "layer1")  # as with pretrained weights
Functions = tuple[nn.Module, Callable[[list[Tensor]], Any], Callable[[list[Tensor], list[dict[str, Tensor]]], Tensor]]


def _settings(task: Task) -> dict[str, Any]:
    """Ours, under torchvision's names: the same number of proposals, and the photograph at its own size."""
    numbers = {f"rpn_post_nms_top_n_{phase}": task.proposals for phase in ("train", "test")}
    numbers |= {"rpn_pre_nms_top_n_train": 2 * task.proposals, "rpn_pre_nms_top_n_test": task.proposals}
    size = {"min_size": min(task.size), "max_size": max(task.size)}
    return {**numbers, **size, "box_batch_size_per_image": rois(task), "box_score_thresh": 0.05}


def torchvision_v1(folder: Path, task: Task) -> FasterRCNN:
    """`fasterrcnn_resnet50_fpn`, built as with pretrained weights (batch norm fixed): exactly our `faster`."""
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d, trainable_layers=3
    )
    model = FasterRCNN(backbone, task.classes + 1, **_settings(task))
    model.load_state_dict(torch.load(folder / "torchvision.pth", weights_only=True))
    return model.eval()


def torchvision_v2(folder: Path, task: Task) -> FasterRCNN:
    """`fasterrcnn_resnet50_fpn_v2`: the same backbone; its own heads, random, scaled on the photograph likewise."""
    path = folder / "torchvision_v2.pth"
    torch.manual_seed(0)
    model: Any = fasterrcnn_resnet50_fpn_v2(
        weights=None, weights_backbone=None, num_classes=task.classes + 1, **_settings(task)
    ).eval()
    for name, parameter in model.backbone.body.named_parameters():
        parameter.requires_grad_(not name.startswith(_FROZEN))
    if path.exists():
        model.load_state_dict(torch.load(path, weights_only=True))
        return model
    same = torch.load(folder / "torchvision.pth", weights_only=True)
    own = model.state_dict()
    model.load_state_dict({k: v for k, v in same.items() if k in own and own[k].shape == v.shape}, strict=False)
    photo = torch.load(folder / "photo.pth", weights_only=True).float() / 255

    @torch.no_grad()
    def run() -> None:
        model([photo])

    with torch.no_grad():
        take_statistics(model, run)
        spread(model.rpn.head.cls_logits, run, 2.0)
        spread(model.rpn.head.bbox_pred, run, 0.2)
        take_statistics(model.roi_heads, run)
        spread(model.roi_heads.box_predictor.cls_score, run, 1.5)
        spread(model.roi_heads.box_predictor.bbox_pred, run, 0.5)
        set_background(model.roi_heads.box_predictor.cls_score, run)
    torch.save(model.state_dict(), path)
    return model


def detectron2(folder: Path, task: Task) -> Functions:
    """Its cascade (R50-FPN, without masks) with our cascade's weights, by its own names."""
    from detectron2 import model_zoo  # pyright: ignore[reportMissingImports]
    from detectron2.modeling import build_model  # pyright: ignore[reportMissingImports]
    from detectron2.structures import Boxes, Instances  # pyright: ignore[reportMissingImports]

    import cascade_rcnn
    from cascade_rcnn.interop import to_detectron2

    settings = model_zoo.get_config("Misc/cascade_mask_rcnn_R_50_FPN_3x.yaml")
    settings.MODEL.MASK_ON = False
    settings.MODEL.DEVICE = "cpu"
    settings.MODEL.ROI_HEADS.NUM_CLASSES = task.classes
    settings.MODEL.RESNETS.STRIDE_IN_1X1 = False
    settings.INPUT.FORMAT = "RGB"
    settings.MODEL.PIXEL_MEAN, settings.MODEL.PIXEL_STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    model = build_model(settings).eval()
    model.load_state_dict(to_detectron2(cascade_rcnn.load(folder / "cascade.safetensors")), strict=False)

    @torch.inference_mode()
    def detect(images: list[Tensor]) -> Any:
        return model.eval()([{"image": x, "height": task.size[0], "width": task.size[1]} for x in images])

    def loss(images: list[Tensor], targets: list[dict[str, Tensor]]) -> Tensor:
        inputs = []
        for image, target in zip(images, targets, strict=True):
            truth = Instances(tuple(image.shape[1:]))
            truth.gt_boxes, truth.gt_classes = Boxes(target["boxes"]), target["labels"] - 1
            inputs.append({"image": image, "instances": truth})
        return torch.stack(list(model.train()(inputs).values())).sum()

    return model, detect, loss


def mmdet(folder: Path, task: Task) -> Functions:
    """Its cascade (R50-FPN) with our backbone's weights; its heads are random, as it initialises them."""
    from mmdet.registry import MODELS  # pyright: ignore[reportMissingImports]
    from mmdet.structures import DetDataSample  # pyright: ignore[reportMissingImports]
    from mmdet.utils import register_all_modules  # pyright: ignore[reportMissingImports]
    from mmengine.hub import get_config  # pyright: ignore[reportMissingImports]
    from mmengine.structures import InstanceData  # pyright: ignore[reportMissingImports]

    import cascade_rcnn

    register_all_modules()
    settings = get_config("mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py").model
    settings.backbone.init_cfg = None
    for head in settings.roi_head.bbox_head:
        head.num_classes = task.classes
    model = MODELS.build(settings).eval()
    model.backbone.load_state_dict(cascade_rcnn.load(folder / "cascade.safetensors").backbone.state_dict(), False)

    def batch(images: list[Tensor], targets: list[dict[str, Tensor]] | None, training: bool) -> dict[str, Any]:
        samples = []
        for k, image in enumerate(images):
            shape = tuple(image.shape[1:])
            sample = DetDataSample(metainfo={"img_shape": shape, "ori_shape": shape, "scale_factor": (1.0, 1.0)})
            if targets is not None:
                sample.gt_instances = InstanceData(bboxes=targets[k]["boxes"], labels=targets[k]["labels"] - 1)
            samples.append(sample)
        return model.data_preprocessor({"inputs": [x.flip(0) for x in images], "data_samples": samples}, training)

    @torch.inference_mode()
    def detect(images: list[Tensor]) -> Any:
        return model.eval()(**batch(images, None, False), mode="predict")

    def loss(images: list[Tensor], targets: list[dict[str, Tensor]]) -> Tensor:
        losses = model.train()(**batch(images, targets, True), mode="loss")
        return model.parse_losses(losses)[0]

    return model, detect, loss
