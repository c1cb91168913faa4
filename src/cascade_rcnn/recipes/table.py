"""All recipes by name, in the order in which they are listed."""

from collections.abc import Callable

from cascade_rcnn.recipes import bundled, coco, cpu, finetuning, paper
from cascade_rcnn.recipes.config import Recipe

RECIPES: dict[str, Callable[[], Recipe]] = {
    recipe.__name__: recipe
    for recipe in (
        bundled.quickstart,
        bundled.starter,
        bundled.shapes,
        finetuning.finetune,
        finetuning.finetune_convnext,
        finetuning.finetune_swin,
        finetuning.finetune_vit,
        cpu.small,
        cpu.small_baseline,
        cpu.small_rfcn,
        cpu.small_rfcn_baseline,
        cpu.small_vgg,
        cpu.small_vgg_baseline,
        coco.cascade_rcnn_r50,
        coco.faster_rcnn_r50,
        paper.paper_cascade_r50,
        paper.paper_faster_r50,
        paper.paper_cascade_r101,
        paper.paper_faster_r101,
        paper.paper_ablation,
        paper.paper_cascade_vgg,
        paper.paper_faster_vgg,
        paper.paper_cascade_rfcn_r50,
        paper.paper_rfcn_r50,
        paper.paper_cascade_rfcn_r101,
        paper.paper_rfcn_r101,
    )
}
