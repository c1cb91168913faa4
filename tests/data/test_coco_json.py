import gc
import json

import pytest

from cascade_rcnn.data.coco_json import File, decode
from cascade_rcnn.errors import UserError


def test_garbage_collection_does_not_visit_boxes(write_coco, coco_dict):
    # A list for each of 860,000 boxes makes loading twice as slow.
    path = write_coco(coco_dict)
    file = decode(path, path.read_bytes(), File)
    gc.collect()  # releases tuples of numbers
    assert len(file.annotations) == 3
    assert not any(gc.is_tracked(row) or gc.is_tracked(row.bbox) for row in file.annotations)


@pytest.mark.parametrize("identity", ["0001", "img_a", 1.5])
def test_ids_that_are_no_whole_numbers_are_refused(tmp_path, identity):
    """pycocotools takes them, but detections could not refer to them, and "1" and "01" would be one."""
    text = json.dumps({"images": [{"id": identity, "file_name": "a.png"}], "categories": []}).encode()
    with pytest.raises(UserError, match=r"at `\$\.images\[0\]\.id`; detections refer to COCO's ids, which are whole n"):
        decode(tmp_path / "a.json", text, File)
