"""The paper's recipes, which follow its sections 5.1.1 and 5.5."""

from dataclasses import replace

from cascade_rcnn.config import ModelOptions
from cascade_rcnn.config.augmentation import ColorConfig, HorizontalFlipConfig
from cascade_rcnn.recipes.config import OptimizerConfig, Recipe


def _paper(model: str, output: str) -> Recipe:
    """Section 5.5: 280k iterations of 8 images, learning rate 0.005, divided by 10 at 160k and 240k, 512 RoIs."""
    return Recipe(
        model=model,
        options=ModelOptions(semantics="paper", rois=512, max_size=1312),
        optimizer=OptimizerConfig(lr=0.005, lr_batch=8, drops=(160 / 280, 240 / 280)),
        augmentation=(HorizontalFlipConfig(), ColorConfig()),
        epochs=19,  # 118k images: 280k iterations of 8
        batch_size=1,
        precision="fp32",
        output=output,
    )


def paper_cascade_r50() -> Recipe:
    """Table 6, FPN+ ResNet-50 with cascade, the authors' schedule; they published AP 40.3 on COCO val.

    cascade-rcnn train paper_cascade_r50 --devices 8 --data.train instances_train2017.json --data.val ...
    8 GPUs x 1 image, 280k iterations; not yet measured here.
    """
    return _paper("cascade_rcnn_resnet50_fpn", "runs/paper_cascade_r50")


def paper_faster_r50() -> Recipe:
    """Table 6, FPN+ ResNet-50 baseline, the authors' schedule; they published AP 36.5 on COCO val."""
    return _paper("faster_rcnn_resnet50_fpn", "runs/paper_faster_r50")


def paper_cascade_r101() -> Recipe:
    """Table 6, FPN+ ResNet-101 with cascade, the authors' schedule; they published AP 42.7 on COCO val."""
    return _paper("cascade_rcnn_resnet101_fpn", "runs/paper_cascade_r101")


def paper_faster_r101() -> Recipe:
    """Table 6, FPN+ ResNet-101 baseline, the authors' schedule; they published AP 38.5 on COCO val."""
    return _paper("faster_rcnn_resnet101_fpn", "runs/paper_faster_r101")


def paper_ablation() -> Recipe:
    """The ablations of section 5 (Tables 1 to 4): FPN+ ResNet-50 with 256 RoIs; the published cascade has AP 38.9.

    cascade-rcnn study run table1 --recipe paper_ablation --batch-size 8 --data.train instances_train2017.json ...
    180k iterations of 8 images (section 5.1.1), learning rate 0.005, divided by 10 at 120k; not yet measured here.
    """
    recipe = _paper("cascade_rcnn_resnet50_fpn", "runs/paper_ablation")
    options = replace(recipe.options, rois=256)
    return replace(recipe, options=options, optimizer=replace(recipe.optimizer, drops=(120 / 180,)), epochs=12)


def _paper_vgg(model: str, output: str) -> Recipe:
    """Released code: 100k iterations of 2 x 4 images, learning rate 0.003 (paper: 0.002), dropped at 60k and 90k."""
    recipe = _paper(model, output)
    optimizer = replace(recipe.optimizer, lr=0.003, drops=(0.6, 0.9), weight_decay=5e-4)
    return replace(recipe, options=ModelOptions(semantics="paper"), optimizer=optimizer, epochs=7, batch_size=4)


def paper_cascade_vgg() -> Recipe:
    """Table 6, Faster R-CNN VGG-16 with cascade, the authors' schedule; they published AP 27.0 on COCO val.

    cascade-rcnn train paper_cascade_vgg --devices 2 --data.train instances_train2017.json --data.val ...
    2 GPUs x 4 images; the fully connected layers are initialised randomly (the paper prunes the ImageNet weights).
    """
    return _paper_vgg("cascade_rcnn_vgg16", "runs/paper_cascade_vgg")


def paper_faster_vgg() -> Recipe:
    """Table 6, Faster R-CNN VGG-16 baseline, the authors' schedule; they published AP 23.6 on COCO val."""
    return _paper_vgg("faster_rcnn_vgg16", "runs/paper_faster_vgg")


def _paper_rfcn(model: str, output: str) -> Recipe:
    """Section 5.1.1: 280k iterations of 4 x 1 images, learning rate 0.003, divided by 10 at 160k and 240k, 256 RoIs."""
    recipe = _paper(model, output)
    optimizer = replace(recipe.optimizer, lr=0.003, lr_batch=4)
    return replace(recipe, options=ModelOptions(semantics="paper"), optimizer=optimizer, epochs=9)


def paper_cascade_rfcn_r50() -> Recipe:
    """Table 6, R-FCN ResNet-50 with cascade, the authors' schedule; they published AP 31.1 on COCO val.

    cascade-rcnn train paper_cascade_rfcn_r50 --devices 4 --data.train instances_train2017.json --data.val ...
    4 GPUs x 1 image, 266k iterations (whole epochs); not yet measured here.
    """
    return _paper_rfcn("cascade_rfcn_resnet50", "runs/paper_cascade_rfcn_r50")


def paper_rfcn_r50() -> Recipe:
    """Table 6, R-FCN ResNet-50 baseline, the authors' schedule; they published AP 27.0 on COCO val."""
    return _paper_rfcn("rfcn_resnet50", "runs/paper_rfcn_r50")


def paper_cascade_rfcn_r101() -> Recipe:
    """Table 6, R-FCN ResNet-101 with cascade, the authors' schedule; they published AP 33.3 on COCO val."""
    return _paper_rfcn("cascade_rfcn_resnet101", "runs/paper_cascade_rfcn_r101")


def paper_rfcn_r101() -> Recipe:
    """Table 6, R-FCN ResNet-101 baseline, the authors' schedule; they published AP 30.3 on COCO val."""
    return _paper_rfcn("rfcn_resnet101", "runs/paper_rfcn_r101")
