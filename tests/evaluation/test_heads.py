"""A detector's heads with changed options."""

import torch

from cascade_rcnn import create_model
from cascade_rcnn.evaluation.heads import heads_for

TINY = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 16, "proposals": 30, "rois": 32, "min_size": None}


def model(name: str = "cascade_rcnn_resnet18_fpn"):
    torch.manual_seed(0)
    return create_model(name, 2, **TINY).eval()


def test_weights_are_shared_and_the_model_keeps_its_own_options():
    whole = model()
    heads = heads_for(whole, {"test_stage": 1, "ensemble": False})
    assert heads.heads[0] is whole.roi_heads.heads[0]
    assert (heads.inference.stage, whole.roi_heads.inference.stage) == (1, None)


def test_iterated_heads_read_the_pyramid_as_the_model_does():
    baseline = model("faster_rcnn_resnet18_fpn")
    heads = heads_for(baseline, {"iterations": 3})
    assert heads.lay_out == baseline.roi_heads.lay_out
    assert heads.lay_out is not list
