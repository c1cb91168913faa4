import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from cascade_rcnn import UserError
from cascade_rcnn.data import load_annotations
from cascade_rcnn.data.segmentations import run_lengths
from cascade_rcnn.evaluation.detected import Detected
from cascade_rcnn.export.accuracy import average_precision, check_drop, measure
from cascade_rcnn.masks import Masks


@pytest.mark.parametrize(("masks_in", "refused"), [("right", None), ("wrong", r"int8 loses 1\.000 of the masks' AP")])
def test_int8_is_judged_by_boxes_and_masks(tmp_path, monkeypatch, masks_in, refused):
    """The checkpoint finds the object exactly; the export's mask is either right or elsewhere."""
    truth = {"images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 40}],
             "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 20, 20], "area": 400,
                              "iscrowd": 0, "segmentation": [[0, 0, 20, 0, 20, 20, 0, 20]]}],
             "categories": [{"id": 1, "name": "square"}]}  # fmt: skip
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "images").mkdir()
    val = load_annotations(tmp_path / "truth.json", tmp_path / "images", masks=True)
    corner = {"right": 0, "wrong": 20}

    def found(path: str, *_: object) -> Detected:
        at = corner[masks_in if path == "export" else "right"]
        dense = torch.zeros(1, 40, 40, dtype=torch.uint8)
        dense[0, at : at + 20, at : at + 20] = 1
        return Detected(np.array([[1, 0, 0, 20, 20, 0.9, 1]], np.float64), run_lengths(Masks.encode(dense)))

    monkeypatch.setattr("cascade_rcnn.export.accuracy.run_predictor", found)
    monkeypatch.setattr("cascade_rcnn.export.accuracy.Predictor", lambda path, **_: str(path))
    boxes, masks = average_precision(measure(Path("checkpoint"), val, "cpu"), measure(Path("export"), val))
    np.testing.assert_allclose((boxes, masks), ((1, 1), (1, 1 if refused is None else 0)))
    with nullcontext() if refused is None else pytest.raises(UserError, match=refused):
        check_drop(boxes, masks, 0.02)
    assert average_precision(measure(Path("checkpoint"), None), measure(Path("export"), None)) == (None, None)
