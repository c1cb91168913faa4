import gc

from cascade_rcnn.data.coco_json import File, decode


def test_garbage_collection_does_not_visit_boxes(write_coco, coco_dict):
    # A list for each of 860,000 boxes makes loading twice as slow.
    path = write_coco(coco_dict)
    file = decode(path, path.read_bytes(), File)
    gc.collect()  # releases tuples of numbers
    assert len(file.annotations) == 3
    assert not any(gc.is_tracked(row) or gc.is_tracked(row.bbox) for row in file.annotations)
