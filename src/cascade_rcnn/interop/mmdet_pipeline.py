"""Read the test pipelines of mmdetection's configs (2.x and 3.x), of which only common ones can be converted."""

from collections.abc import Iterator
from typing import Any

from cascade_rcnn.errors import UserError
from cascade_rcnn.interop.known import Known, leaves
from cascade_rcnn.interop.python_config import Settings

_ZERO = (0, [0, 0, 0])
_UNCHANGED = Known(read=(), required={}, inert="")  # steps that do not change test images, whatever their settings
_LOADING = Known(
    read=(),
    required={"color_type": ("color",), "channel_order": ("bgr",)},
    inert=r"(to_float32|imdecode_backend|ignore_empty)$|(file_client|backend)_args\b",
)
_STEPS = {
    "LoadImageFromFile": _LOADING,
    "LoadImageFromNDArray": _LOADING,
    **dict.fromkeys(
        ("LoadAnnotations", "DefaultFormatBundle", "ImageToTensor", "Collect", "PackDetInputs"), _UNCHANGED
    ),
    "MultiScaleFlipAug": Known(read=("img_scale",), required={"flip": (False,)}, inert=r"flip_direction$|transforms\b"),
    "RandomFlip": Known(read=(), required={"prob": (0,), "flip_ratio": (0,)}, inert="direction$"),
    "Resize": Known(
        read=("scale", "img_scale", "keep_ratio"),
        required={"interpolation": ("bilinear",), "backend": ("cv2",)},
        inert=r"(multiscale_mode|override|(bbox_)?clip_(object_)?border)$",
    ),
    "Normalize": Known(read=("mean", "std", "to_rgb"), required={}, inert="(?!)"),
    "Pad": Known(
        read=(),
        required={
            "size_divisor": (32,),
            "pad_to_square": (False,),
            "padding_mode": ("constant",),
            **dict.fromkeys(("pad_val", "pad_val.img"), _ZERO),
        },
        inert=r"pad_val\.(masks|seg)$",
    ),
}
_ORDER = ["Resize", "Normalize", "Pad"]  # where 3.x has a data_preprocessor, it does the last two


def datasets(get: Settings, *places: str) -> Iterator[dict[str, Any]]:
    """Yield the settings of the datasets at these paths: of wrappers such as RepeatDataset, then of what they wrap."""
    for place in places:
        found = get(place)
        while found and isinstance(found, dict | list):
            found = found[0] if isinstance(found, list) else found
            if not isinstance(found, dict):
                break
            yield found
            found = found.get("dataset", found.get("datasets"))


def pipeline(get: Settings) -> list[dict[str, Any]]:
    """List the steps of the test pipeline in order, nested ones included; their types are without modules.

    `test_pipeline` is only a variable, from which mmdetection's configs make the dataset's pipeline.
    """
    stated = (part.get("pipeline") for part in datasets(get, "test_dataloader.dataset", "data.test"))
    steps = next((found for found in (*stated, get("test_pipeline")) if isinstance(found, list)), [])
    return [inner for step in steps for inner in _flat(step)]


def _flat(step: Any) -> Iterator[dict[str, Any]]:
    if isinstance(step, dict):
        yield {**step, "type": str(step.get("type")).rpartition(".")[2]}
        for inner in step.get("transforms", []):
            yield from _flat(inner)


def check_pipeline(get: Settings, where: str) -> None:
    """Raise UserError for a step that changes test images in a way that has no equivalent; `where` names the config."""
    steps = pipeline(get)
    for step in steps:
        if step["type"] not in _STEPS:
            raise UserError(
                f"{where}: test images are transformed by {step['type']}, which has no equivalent here; if it does not "
                "affect detections, remove it from the test pipeline"
            )
        settings = {name: value for name, value in step.items() if name != "type"}
        _STEPS[step["type"]].check(leaves(settings), where, f"the test pipeline's {step['type']}.")
    kinds = [step["type"] for step in steps if step["type"] in _ORDER]
    later = get("model.data_preprocessor") is not None  # normalises and pads, after the pipeline
    wanted = _ORDER[:1] if later else _ORDER
    complete = any(_STEPS[step["type"]] is _LOADING for step in steps)  # not so for published detectors
    if kinds != (wanted if complete else [kind for kind in wanted if kind in kinds]):
        beside = "with" if later else "without"
        raise UserError(
            f"{where}: test images are transformed by {', '.join(kinds) or 'nothing'}; {beside} a data_preprocessor, "
            f"only {', '.join(wanted)}, each once and in this order, can be converted"
        )


def scale(get: Settings) -> tuple[int, int]:
    """Return the sides of the rectangle that the test pipeline fits images into. Raises UserError if there is none."""
    found = (1333, 800)
    for step in reversed(pipeline(get)):
        sides = step.get("scale", step.get("img_scale"))
        if step.get("flip") or (isinstance(sides, list) and sides and isinstance(sides[0], list)):
            raise UserError(
                f"the test pipeline uses several scales or flips ({step.get('type')}); only a single pass can be "
                "converted"
            )
        if step.get("scale_factor") or (step["type"] == "Resize" and not step.get("keep_ratio", "scale" not in step)):
            raise UserError(
                f"the test pipeline resizes with {step}; only a scale of two sides with keep_ratio can be converted"
            )
        if isinstance(sides, list) and len(sides) == 2 and all(isinstance(side, int) for side in sides):
            found = (sides[0], sides[1])
    return found
