"""Test pipelines of mmdetection convert only if they do what the model does here."""

import pytest

from cascade_rcnn.errors import UserError
from cascade_rcnn.interop.mmdet import parse_config
from cascade_rcnn.interop.mmdet_pipeline import scale

LOAD, RESIZE = {"type": "LoadImageFromFile"}, {"type": "Resize", "scale": (900, 600), "keep_ratio": True}
NORMALIZE, PAD = {"type": "Normalize", "mean": [0, 0, 0], "std": [1, 1, 1]}, {"type": "Pad", "size_divisor": 32}
PACK = {"type": "PackDetInputs", "meta_keys": ("img_id", "scale_factor")}
LATER = {"type": "DetDataPreprocessor", "pad_size_divisor": 32}


def read(steps, preprocessor=None):
    return parse_config(f"model = dict(data_preprocessor={preprocessor})\ntest_pipeline = {steps}", "config.py")


def test_those_of_version_3_resize():
    file = {**LOAD, "color_type": "color", "backend_args": None, "to_float32": True}
    resize = {**RESIZE, "interpolation": "bilinear", "backend": "cv2"}
    steps = [file, resize, {"type": "RandomFlip", "prob": 0.0}, {"type": "LoadAnnotations", "with_mask": True}, PACK]
    assert scale(read(steps, LATER)) == (900, 600)
    assert scale(read([{**step, "type": f"mmdet.{step['type']}"} for step in steps], LATER)) == (900, 600)
    assert scale(read([RESIZE], LATER)) == (900, 600)  # only the steps that matter, as for published detectors


def test_those_of_version_2_also_normalise_and_pad():
    pad = {**PAD, "pad_val": {"img": (0, 0, 0), "seg": 255}}
    inner = [{"type": "Resize", "keep_ratio": True}, {"type": "RandomFlip"}, NORMALIZE, pad, {"type": "Collect"}]
    steps = [LOAD, {"type": "MultiScaleFlipAug", "img_scale": (900, 600), "flip": False, "transforms": inner}]
    assert scale(read(steps)) == (900, 600)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{**LOAD, "color_type": "grayscale"}, RESIZE], "LoadImageFromFile.color_type is 'grayscale'; only 'color'"),
        ([LOAD, RESIZE, {"type": "CLAHE"}], "test images are transformed by CLAHE, which has no equivalent here"),
        ([LOAD, RESIZE, {"type": "CenterCrop", "crop_size": (9, 9)}], "test images are transformed by CenterCrop,"),
        ([LOAD, {**RESIZE, "interpolation": "bicubic"}], "Resize.interpolation is 'bicubic'; only 'bilinear' can be"),
        ([LOAD, {**RESIZE, "backend": "pillow"}], "Resize.backend is 'pillow'; only 'cv2' can be"),
        ([LOAD, RESIZE, {"type": "RandomFlip", "prob": 1.0}], r"RandomFlip.prob is 1\.0; only 0 can be converted"),
        ([LOAD, RESIZE, RESIZE], "transformed by Resize, Resize; with a data_preprocessor, only Resize, each once"),
        ([LOAD, PACK], "transformed by nothing; with a data_preprocessor, only Resize, each once"),
        ([LOAD, RESIZE, NORMALIZE], "transformed by Resize, Normalize; with a data_preprocessor, only Resize, each"),
    ],
)
def test_what_does_not_convert_is_named_in_one_line(steps, message):
    with pytest.raises(UserError, match=rf"^config\.py: .*{message}") as caught:
        read(steps, LATER)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([LOAD, RESIZE, NORMALIZE, {**PAD, "size_divisor": 64}], "Pad.size_divisor is 64; only 32 can be converted"),
        ([LOAD, RESIZE, NORMALIZE, {"type": "Pad", "size": (99, 99)}], r"Pad.size is \[99, 99\], which has no equiv"),
        ([LOAD, RESIZE, NORMALIZE, {**PAD, "pad_val": 114}], r"Pad.pad_val is 114; only 0 or \[0, 0, 0\] can be"),
        ([LOAD, RESIZE, NORMALIZE, {**PAD, "pad_val": {"img": 114}}], r"Pad.pad_val.img is 114; only 0 or"),
        ([LOAD, RESIZE, NORMALIZE], "transformed by Resize, Normalize; without a data_preprocessor, only Resize, Norm"),
        ([LOAD, RESIZE, PAD, NORMALIZE], "transformed by Resize, Pad, Normalize; without a data_preprocessor, only"),
    ],
)
def test_what_does_not_convert_in_version_2(steps, message):
    with pytest.raises(UserError, match=rf"^config\.py: .*{message}"):
        read(steps)
