"""Other tools' own formats: each is one line that says what to do."""

import json
from pathlib import Path

import pytest

from cascade_rcnn.data.foreign import imported_name, tool_of
from cascade_rcnn.data.load import load_annotations
from cascade_rcnn.errors import UserError

LABELME = {"version": "5.4.1", "flags": {}, "shapes": [{"label": "cat", "points": []}], "imagePath": "a.jpg"}
VIA = {"a.jpg123": {"filename": "a.jpg", "regions": [{"shape_attributes": {"x": 1}, "region_attributes": {}}]}}
SUPERVISELY = {"size": {}, "objects": [{"geometryType": "rectangle", "classTitle": "cat", "points": {}}]}
STUDIO = [{"annotations": [{"result": [{"from_name": "label", "to_name": "image"}]}], "data": {"image": "a.jpg"}}]
SHORT = [{"image": "a.jpg", "label": [{"rectanglelabels": ["cat"], "original_width": 80}]}]
CREATE_ML = [{"image": "a.jpg", "annotations": [{"label": "cat", "coordinates": {"x": 1}}]}]
DATUMARO = {"categories": {}, "items": [{"id": "a", "annotations": [{"type": "bbox", "label_id": 0}]}]}
FIFTY_ONE = {"samples": [{"filepath": "data/a.jpg"}]}
DARWIN = {"version": "2.0", "schema_ref": "https", "item": {"slots": []}, "annotations": []}
VOTT = {"asset": {"name": "a.jpg"}, "regions": []}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", LABELME, "labelme's own format is not read; convert it with `labelme2coco`"),
        ("via_region_data.json", VIA, "VIA's own format is not read; choose 'Export Annotations (COCO format)' there"),
        ("ds0/ann/a.jpg.json", SUPERVISELY, "Supervisely's own format is not read; run its app 'Export to COCO'"),
        ("project.json", STUDIO, "Label Studio's own format is not read; export COCO or YOLO from it instead"),
        ("project.json", SHORT, "Label Studio's own format is not read; export COCO or YOLO from it instead"),
        ("train/_annotations.createml.json", CREATE_ML, "CreateML's own format is not read; export COCO"),
        ("annotations/default.json", DATUMARO, "Datumaro's own format is not read; export COCO instead"),
        ("samples.json", FIFTY_ONE, "FiftyOne's own format is not read; export it as `fiftyone.types.COCODetection"),
        ("annotations/a.json", DARWIN, "V7 Darwin's own format is not read; export COCO from it instead"),
        ("a-asset.json", VOTT, "VoTT's own format is not read; export Pascal VOC from it instead"),
        ("train/_annotations.csv", "", ".csv files are not read; export or convert the annotations to COCO"),
        (
            "labelTxt/a.txt",
            "gsd:0.3\n1.0 2.0 9.0 2.0 9.0 6.0 1.0 6.0 car 0\n",
            "DOTA's own format is not read;",
        ),
        (
            "gt.txt",
            "0--Parade/a.jpg\n1\n449 330 122 149 0 0 0 0 0 0 \n",
            "WIDER FACE's own format is not read; convert it",
        ),
        ("training/label_2/a.txt", f"Car 0.00 0 -1.58{' 87.01' * 11}\n", "KITTI's own format is not read; convert it"),
        ("annotations/a.txt", "10,10,5,5,1,4,0,0\n", "VisDrone's own format is not read; convert it to COCO"),
        ("gt/gt.txt", "1,1,10,10,20,20,1,1,0.86\n", "MOTChallenge's own format is not read; convert it to COCO"),
        ("gt_a.txt", "37,11,46,11,46,13,37,13,Genaxis Theatre\n", "ICDAR's own format is not read; convert it to COCO"),
        ("task.zip", "", "this is an archive; unpack it, and give its folder"),
    ],
)
def test_a_folder_or_a_file_of_another_tool(tmp_path, one_line, name, content, said):
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    (tmp_path / "a.jpg").touch()
    for given, shown in ((tmp_path, f"{tmp_path}: {name}: {said}"), (file, f"{file}: {said}")):
        with pytest.raises(UserError) as caught:
            load_annotations(given)
        one_line(caught, shown)


@pytest.mark.parametrize("element", ["image", "track"])
def test_cvats_xml(tmp_path, one_line, element):
    (tmp_path / "annotations.xml").write_text(f"<annotations><version>1.1</version><{element}/></annotations>")
    with pytest.raises(UserError) as caught:
        load_annotations(tmp_path)
    one_line(
        caught, "annotations.xml: CVAT's own format is not read; export COCO 1.0 or Pascal VOC 1.1 from it instead"
    )


def test_coco_may_have_any_further_keys():
    assert tool_of(json.dumps({"images": [], **LABELME, "annotations": []}).encode()) is None
    assert tool_of(b'{"shapes": []}') is None


def test_names_that_label_studio_has_given(coco_dict, write_coco, tmp_path, one_line):
    assert imported_name("cat-0a1b2c3d.jpg") == imported_name("0a1b2c3d-") == ""
    said = "Label Studio has added 0a1b2c3d- to its name: give its own copy of the image, or rename yours"
    coco_dict["images"][0]["file_name"] = "/data/upload/1/0a1b2c3d-b.png"
    from cascade_rcnn.data.check import check_images

    with pytest.raises(UserError) as caught:
        check_images(load_annotations(write_coco(coco_dict)))
    one_line(caught, "2 are missing (first: /data/upload/1/0a1b2c3d-b.png; Label", said)
    for place, name in (("images", "b.png"), ("labels", "0a1b2c3d-b.txt")):
        Path(tmp_path / place).mkdir()
        (tmp_path / place / name).write_text("0 0.5 0.5 0.1 0.1")
    with pytest.raises(UserError) as caught:
        load_annotations(_alone(tmp_path))
    one_line(caught, "0a1b2c3d-b.txt is there", said)


def _alone(folder: Path) -> Path:
    """Return a folder without COCO files."""
    (folder / "boxes.json").unlink()
    return folder
