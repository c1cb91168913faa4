"""The computations behind the page."""

import json
from pathlib import Path

import numpy as np

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
