"""Records keep their fields, and findings their order."""

from cascade_rcnn.inspection.findings import RECORDS, Record, finding, sorted_findings


def test_a_record_leaves_out_what_it_does_not_have():
    other = Record(split="val", image="b.jpg", path="val/b.jpg", image_id=0)
    record = Record(split="train", image="a.jpg", path="train/a.jpg", image_id=3, index=0, other=other)
    assert record.to_dict() == {
        "split": "train",
        "image": "a.jpg",
        "path": "train/a.jpg",
        "image_id": 3,
        "index": 0,
        "other": {"split": "val", "image": "b.jpg", "path": "val/b.jpg", "image_id": 0},
    }


def test_a_finding_counts_all_and_keeps_the_first():
    (found,) = finding("lost_box", [Record(split="train", index=k) for k in range(RECORDS + 5)])
    assert (found.count, len(found.records), found.amount) == (RECORDS + 5, RECORDS, f"{RECORDS + 5} boxes")
    assert found.records[-1].index == RECORDS - 1
    assert finding("lost_box", []) == []


def test_the_worst_come_first():
    codes = ["unused_class", "lost_box", "no_boxes", "missing_image"]
    found = [one for code in codes for one in finding(code, [Record(split="train")])]
    assert [one.code for one in sorted_findings(found)] == ["missing_image", "no_boxes", "lost_box", "unused_class"]
