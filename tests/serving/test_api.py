import base64
import io
import json
import math
import socket
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
import torch

pytest.importorskip("litserve")

from cascade_rcnn import rle
from cascade_rcnn.config import Category
from cascade_rcnn.errors import UserError
from cascade_rcnn.masks import Masks
from cascade_rcnn.serving import serve
from cascade_rcnn.serving.api import DetectionAPI, Rejection


class Whole:
    """A predictor that finds the whole image twice, at .9 and .4, and fails on images with 13 rows."""

    config = SimpleNamespace(inference=SimpleNamespace(score_threshold=0.25))

    def __init__(self):
        self.batches = []

    def detect(self, images):
        self.batches.append(len(images))
        if any(image.shape[1] == 13 for image in images):
            raise MemoryError
        return [
            {
                "boxes": torch.tensor([[0.0, 0, image.shape[2], image.shape[1]]] * 2),
                "scores": torch.tensor([0.9, 0.4]),
                "labels": torch.tensor([1, 1]),
            }
            for image in images
        ]


def encoded(height: int = 4, width: int = 6) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def text(height: int = 4, width: int = 6) -> str:
    return base64.b64encode(encoded(height, width)).decode()


class Upload:
    def __init__(self, content: bytes):
        self.file = io.BytesIO(content)


def made(batch_size: int = 8) -> DetectionAPI:
    api = DetectionAPI("starter", batch_size=batch_size, max_megapixels=0.01)
    api.predictor, api.categories = Whole(), (Category(id=7, name="thing"),)  # type: ignore[assignment]
    return api


def answers(api: DetectionAPI, *requests):
    found = api.predict([api.decode_request(request) for request in requests])
    encoded_ = [api.encode_response(one) for one in found]
    return [(one.status_code, json.loads(one.body)) if hasattr(one, "status_code") else (200, one) for one in encoded_]


def test_forms_and_json():
    box = {"bbox": [0, 0, 6, 4], "score": pytest.approx(0.9), "category_id": 7, "category_name": "thing"}
    for image in (text(), Upload(encoded()), f"data:image/png;base64,{text()}"):
        ((status, answer),) = answers(made(), {"image": image})
        assert status == 200
        assert answer == {"width": 6, "height": 4, "detections": [box]}
    wrapped = base64.encodebytes(encoded()).decode()  # with line breaks, like the output of the command `base64`
    assert "\n" in wrapped.strip()
    for image in (wrapped, wrapped.replace("\n", "\r\n"), f"data:image/png;base64,{wrapped}"):
        assert answers(made(), {"image": image})[0][0] == 200
    ((_, answer),) = answers(made(), {"image": text(), "threshold": "0.3"})
    assert len(answer["detections"]) == 2


def test_masks_are_run_lengths_of_the_shown_detections(monkeypatch):
    masks = torch.zeros(2, 4, 6, dtype=torch.bool)
    masks[0, 1:3, 2:4] = True
    plain = Whole.detect
    with_masks = lambda self, images: [one | {"masks": Masks.encode(masks)} for one in plain(self, images)]  # noqa: E731
    monkeypatch.setattr(Whole, "detect", with_masks)
    ((_, answer),) = answers(made(), {"image": text()})
    (one,) = json.loads(json.dumps(answer))["detections"]
    assert one["segmentation"]["size"] == [4, 6]
    assert rle.from_string(one["segmentation"]["counts"].encode()).tolist() == [9, 2, 2, 2, 9]


def test_a_bad_request_does_not_fail_its_batch():
    api = made()
    found = answers(
        api,
        {"image": text()},
        {"image": base64.b64encode(b"no image").decode()},
        {"image": text(13)},
        {"image": "not base64!"},
        {"image": text(200, 100)},
        {"threshold": 0.5},
        {"image": text(), "threshold": float("nan")},
        {"image": text(8)},
    )
    assert [status for status, _ in found] == [200, 422, 500, 400, 422, 400, 400, 200]
    assert found[-1][1]["height"] == 8
    assert "megapixels" in found[4][1]["error"]
    assert found[2][1] == {"error": "detection failed (MemoryError)"}
    assert api.predictor.batches == [3, 1, 1, 1]  # together, then one by one


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": math.nan}, "threshold is nan; give 0 to 1"),
        ({"timeout": math.nan}, "timeout is nan; give 0.001 or more"),
        ({"max_megabytes": -1}, "max_megabytes is -1"),
        ({"max_megapixels": math.nan}, "max_megapixels is nan"),
        ({"batch_wait": -1}, "batch_wait is -1"),
        ({"workers": 0}, "workers is 0"),
        ({"port": -1}, "port is -1; give 1024 to 65535"),
        ({"port": 10**9}, "port is 1000000000"),
        ({"host": "localhost"}, "host is 'localhost'; give 127"),
    ],
)
def test_settings_out_of_range_are_refused_at_once(settings, message):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UserError, match=message):
        serve("starter", **{"port": port} | settings)


def test_without_batches():
    api = made(batch_size=1)
    one = api.predict(api.decode_request({"image": text()}))  # type: ignore[arg-type]
    assert api.encode_response(one)["width"] == 6
    assert isinstance(api.predict(api.decode_request({})), Rejection)  # type: ignore[arg-type]


def test_several_images_unknown_fields_and_thresholds_that_are_no_numbers_are_refused():
    class Form(dict):
        def getlist(self, name):
            return self[name]

    api = made()
    for request, message in ((Form(image=[text(), text()]), "send one image per request"),
                             (Form(image=[text()], threshold=[0.9, 0.1]), "give one number per request"),
                             ({"image": text(), "treshold": 0.9}, "'treshold'; send only image and threshold; did"),
                             ({"image": text(), "threshold": True}, "give a number from 0 to 1")):  # fmt: skip
        ((status, answer),) = answers(api, request)
        assert status == 400
        assert message in answer["error"]


def test_the_answer_notes_what_may_not_be_meant(tmp_path):
    grey = np.arange(24, dtype=np.uint16).reshape(4, 6)
    PIL.Image.fromarray(grey * 100).save(tmp_path / "dark.png")
    PIL.Image.fromarray(grey * 2700).save(tmp_path / "bright.png")
    first, second = (PIL.Image.new("RGB", (6, 4), colour) for colour in ("red", "blue"))
    first.save(tmp_path / "pages.tif", save_all=True, append_images=[second])

    def notes(name: str, **fields):
        ((status, answer),) = answers(made(), {"image": Upload((tmp_path / name).read_bytes()), **fields})
        assert (status, answer["width"], answer["height"]) == (200, 6, 4)
        return answer.get("notes")

    assert notes("bright.png", threshold=0.3) is None
    (dark,) = notes("dark.png")
    assert dark.startswith("read as nearly black: 1 image of 16 bits")
    assert notes("pages.tif") == ["read only the first page or frame: 1 image"]
    (reach,) = notes("bright.png", threshold=0.1)
    assert reach.startswith("a threshold of 0.1 finds no more than 0.25, the model's own")
