"""Masks of real cells: the nuclei of the Data Science Bowl 2018 as COCO files, and box and mask AP by stage.

    python -m benchmarks.nuclei data stage1_train nuclei
    python -m benchmarks.nuclei stages best.safetensors nuclei/val.json
    python -m benchmarks.nuclei picture best.safetensors nuclei

The images and masks are BBBC038v1 (Caicedo et al., Nature Methods 2019; CC0). Only those of 256 x 256 pixels are used;
in the order of their names, every fourth is for validation.
"""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import tyro
from tyro.conf import Positional

from cascade_rcnn import Predictor, evaluate, load, load_annotations, rle
from cascade_rcnn.evaluation import Metrics

_SIDE, _LEAST = 256, 8  # pixels of an image's side; minimum number of pixels in a mask
_SHOWN, _GAP = 320, 6  # size of the images in the picture and the gap between them, in pixels


def data(source: Positional[Path], output: Positional[Path]) -> None:
    """Write images/, train.json and val.json from a folder of NAME/images/*.png and NAME/masks/*.png."""
    (output / "images").mkdir(parents=True, exist_ok=True)
    splits: dict[str, list[tuple[str, list[dict]]]] = {"train": [], "val": []}
    number = 0
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        with PIL.Image.open(next((folder / "images").glob("*.png"))) as image:
            if image.size != (_SIDE, _SIDE):
                continue
            name = f"{folder.name[:12]}.png"
            image.convert("RGB").save(output / "images" / name)
        objects = [one for path in sorted((folder / "masks").glob("*.png")) if (one := _object(path))]
        splits["val" if number % 4 == 3 else "train"].append((name, objects))
        number += 1
    for split, images in splits.items():
        file = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "nucleus"}]}
        for image_id, (name, objects) in enumerate(images, start=1):
            file["images"].append({"id": image_id, "file_name": name, "width": _SIDE, "height": _SIDE})
            for one in objects:
                identity = len(file["annotations"]) + 1
                file["annotations"].append(
                    {"id": identity, "image_id": image_id, "category_id": 1, "iscrowd": 0, **one}
                )
        (output / f"{split}.json").write_text(json.dumps(file))
        print(f"{split}: {len(file['images'])} images, {len(file['annotations'])} nuclei")


def _object(path: Path) -> dict | None:
    """Read a mask as an annotation."""
    with PIL.Image.open(path) as image:
        pixels = np.asarray(image.convert("L")) > 127
    if pixels.shape != (_SIDE, _SIDE) or pixels.sum() < _LEAST:
        return None
    counts = rle.encode(pixels, (0, 0, _SIDE, _SIDE), _SIDE, _SIDE)
    (x, y, x_end, y_end), _ = rle.crop(counts, _SIDE)
    runs = {"size": [_SIDE, _SIDE], "counts": rle.to_string(counts).decode()}
    return {"bbox": [x, y, x_end - x, y_end - y], "area": int(pixels.sum()), "segmentation": runs}


def stages(checkpoint: Positional[Path], annotations: Positional[Path]) -> None:
    """Print a table with the AP of boxes, masks and boundaries for each stage of a cascade and for ensembles."""
    number = len(load(checkpoint).config.stages)
    print("| stage | boxes: AP | AP50 | AP75 | AP90 | masks: AP | AP50 | AP75 | AP90 | boundary AP |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for stage in range(1, number + 1):
        for ensemble in (False, True) if stage > 1 else (False,):
            model = load(checkpoint, test_stage=stage, ensemble=ensemble)
            metrics = evaluate(model.for_inference(), annotations, workers=0, boundary=True)
            print(f"| {f'1 to {stage}' if ensemble else stage} | {_figures(metrics)} |", flush=True)


def _figures(metrics: Metrics) -> str:
    assert metrics.masks is not None
    assert metrics.boundaries is not None
    four = ("ap", "ap50", "ap75", "ap90")
    values = [getattr(part, name) for part in (metrics, metrics.masks) for name in four] + [metrics.boundaries.ap]
    return " | ".join(f"{100 * value:.1f}" for value in values)


def picture(checkpoint: Positional[Path], folder: Positional[Path]) -> None:
    """Write nuclei.webp: four enlarged validation images with the detections above and the annotations below."""
    predictor, truth = Predictor(checkpoint, device="cpu"), load_annotations(folder / "val.json", masks=True)
    assert truth.segmentations is not None
    counts = np.diff(truth.first.numpy())
    chosen = np.argsort(counts)[(np.array([0.3, 0.5, 0.7, 0.95]) * len(counts)).astype(int)]
    sheet = PIL.Image.new("RGB", (4 * _SHOWN + 3 * _GAP, 2 * _SHOWN + _GAP), "white")
    for k, i in enumerate(chosen.tolist()):
        with PIL.Image.open(truth.path(i)) as image:
            pixels = np.array(image.convert("RGB").resize((_SHOWN, _SHOWN), PIL.Image.Resampling.BICUBIC))
        found = predictor(pixels, threshold=0.5)
        print(f"{truth.path(i).name}: {len(found)} found, {counts[i]} annotated")
        rows = truth.rows(i)
        there = truth.segmentations.masks(range(rows.start, rows.stop), _SIDE, _SIDE).resize(_SHOWN, _SHOWN)
        left = k * (_SHOWN + _GAP)
        sheet.paste(_drawn(pixels, np.asarray(found.mask)), (left, 0))
        sheet.paste(_drawn(pixels, there.dense().numpy().astype(bool)), (left, _SHOWN + _GAP))
    sheet.save("nuclei.webp", quality=80)


def _drawn(pixels: np.ndarray, masks: np.ndarray) -> PIL.Image.Image:
    """Draw masks (N, H, W) in different colours."""
    import supervision

    found = supervision.Detections(xyxy=supervision.mask_to_xyxy(masks).astype(float), mask=masks)
    annotator = supervision.MaskAnnotator(opacity=0.5, color_lookup=supervision.ColorLookup.INDEX)
    return PIL.Image.fromarray(annotator.annotate(pixels[..., ::-1].copy(), found)[..., ::-1].copy())


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"data": data, "stages": stages, "picture": picture}, description=__doc__)
