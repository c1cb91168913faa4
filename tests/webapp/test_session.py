"""The computations behind the page."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageColor
import torch

from cascade_rcnn.data.segmentations import decoded
from cascade_rcnn.masks import Masks
from cascade_rcnn.models.trace import Trace
from cascade_rcnn.webapp.picture import canvas, draw_stages, stage_color
from cascade_rcnn.webapp.session import look, pictures, table, write_json


def test_images_become_pictures_a_table_and_results(named, photo, tmp_path):
    text = photo.with_name("notes.txt")
    text.write_text("no image")
    looked = look([named], [str(photo), str(text)], lambda *_: None, str(tmp_path))
    assert (looked.names, len(looked.traces[0])) == (["photo.png"], 1)
    (error,) = looked.errors
    assert error.startswith("notes.txt: cannot open this image")
    assert "\n" not in error
    (first, caption), (proposals, _) = (pictures(looked, [named], 0, 0.0, k, every=False)[0] for k in (3, 0))
    assert caption.startswith("photo.png: stage 3, mean IoU with the final boxes 1.00")
    assert first.size == (1024, 683)
    assert not np.array_equal(np.asarray(first), np.asarray(proposals))
    headings, rows = table(looked, named, 0, 0.0)
    assert headings[-3:] == ["IoU 0 to 1", "IoU 1 to 2", "IoU 2 to 3"]
    assert len(rows) == 5
    assert all(len(row) == len(headings) for row in rows)
    results = json.loads(Path(write_json(looked, named, 0, 0.0)).read_text())
    assert [row["score"] for row in results] == sorted((row["score"] for row in results), reverse=True)
    assert {len(row["stages"]) for row in results} == {3}
    np.testing.assert_allclose(results[0]["bbox"][:2], looked.traces[0][0].boxes[0, -1, :2], rtol=1e-6)
    assert table(looked, named, 0, 1.1)[1] == []
    assert pictures(looked, [named], 0, 1.1, 1, every=True)[0][1] == "photo.png: stage 1, no detections"


def test_an_image_is_resized_once(named, photo, tmp_path, monkeypatch):
    looked = look([named], [str(photo)], lambda *_: None, str(tmp_path))
    monkeypatch.setattr(PIL.Image.Image, "resize", None)  # the sliders draw on copies of what is shown
    first, none, again = (pictures(looked, [named], 0, least, 3, every=False)[0][0].tobytes() for least in (0, 1.1, 0))
    assert first == again != none


def test_masks_are_drawn_on_the_final_boxes_in_their_colour():
    """Two stages; the mask is the lower half of the final box, in an image that is enlarged 32 times."""
    dense = torch.zeros(1, 32, 32, dtype=torch.uint8)
    dense[0, 16:24, 8:24] = 1
    boxes = np.array([[[4, 4, 28, 28], [8, 8, 20, 24], [8, 8, 24, 24]]], np.float32)
    one = Trace(
        boxes=boxes, stage_scores=np.ones((1, 2)), scores=np.ones(1), labels=np.ones(1, int), masks=Masks.encode(dense)
    )
    image = canvas(np.full((32, 32, 3), 100, np.uint8))
    inside, outside = (512, 640), (512, 400)
    for stages in ([2], [0, 1, 2]):
        picture = draw_stages(image, one, ["cat"], stages)
        tint = 0.4 * np.array(PIL.ImageColor.getrgb(stage_color(2))) + 0.6 * 100
        np.testing.assert_allclose(picture.getpixel(inside), tint, atol=1)
        assert picture.getpixel(outside) == (100, 100, 100)
    for picture in (draw_stages(image, one, ["cat"], [1]), draw_stages(image, one.above(1.1), ["cat"], [2])):
        assert picture.getpixel(inside) == (100, 100, 100)


def test_downloads_have_the_masks(masked, photo, tmp_path):
    looked = look([masked], [str(photo)], lambda *_: None, str(tmp_path))
    results = json.loads(Path(write_json(looked, masked, 0, 0.0)).read_text())
    (one,) = looked.traces[0]
    assert len(results) == len(one.scores) > 0
    assert {tuple(row["segmentation"]["size"]) for row in results} == {(60, 90)}
    again = decoded((row["segmentation"]["counts"].encode() for row in results), 60, 90)
    assert one.masks is not None
    assert torch.equal(again.dense(), one.masks.dense())
