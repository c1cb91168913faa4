import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as reference
from pycocotools.coco import COCO

from cascade_rcnn import rle
from cascade_rcnn.data.coco import load_coco, save_coco
from cascade_rcnn.data.segmentations import ABSENT, Segmentations, bounds, encode, problem, usable

# pycocotools' own arrays do not support NumPy 2's `copy`.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

HEIGHT, WIDTH = 30, 40
BEYOND = "run lengths beyond any image"
NEITHER = "neither polygons, [[x, y, x, y, ...]], nor run lengths"
number = st.floats(-15, 60, allow_nan=False).map(lambda value: round(value, 2))
polygon = st.lists(number, min_size=6, max_size=16).filter(lambda numbers: len(numbers) % 2 == 0)


def as_dense(segmentation: object) -> np.ndarray:
    return Segmentations.of([json.dumps(segmentation).encode()]).masks([0], HEIGHT, WIDTH).dense()[0].numpy()


@given(st.lists(polygon, min_size=1, max_size=3))
def test_polygons_have_the_pixels_of_pycocotools(polygons):
    expected = reference.decode(reference.merge(reference.frPyObjects(polygons, HEIGHT, WIDTH)))
    np.testing.assert_array_equal(as_dense(polygons), expected)


def test_polygons_of_too_few_points_are_left_out_beside_others():
    triangle = [2, 3, 12, 3, 2, 20]
    np.testing.assert_array_equal(as_dense([[1, 1, 30, 25], [], triangle]), as_dense([triangle]))


def test_a_single_polygon_may_lack_the_list_around_it():
    triangle = [2, 3, 12, 3, 2, 20]
    assert problem(json.dumps(triangle).encode(), HEIGHT, WIDTH) is None
    np.testing.assert_array_equal(as_dense(triangle), as_dense([triangle]))
    assert bounds(triangle, (HEIGHT, WIDTH)) == (2, 3, 10, 17)
    for mixed in ([triangle, 1], [1, triangle]):
        assert problem(json.dumps(mixed).encode(), HEIGHT, WIDTH) == NEITHER
        assert bounds(mixed, (HEIGHT, WIDTH)) is None


@pytest.mark.parametrize("compressed", [False, True])
def test_run_lengths_in_both_forms(compressed):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[3:9, 5:7] = mask[12:30, 30:40] = 1
    counts: object = reference.encode(np.asfortranarray(mask))["counts"].decode()
    if not compressed:
        counts = rle.from_string(str(counts).encode()).tolist()
    segmentation = {"size": [HEIGHT, WIDTH], "counts": counts}
    assert problem(json.dumps(segmentation).encode(), HEIGHT, WIDTH) is None
    np.testing.assert_array_equal(as_dense(segmentation), mask)


@pytest.mark.parametrize(
    ("segmentation", "what"),
    [
        ([], ABSENT),
        (None, ABSENT),
        ("", ABSENT),
        ([[1, 2, 3, 4, 5, 6, 7]], "a polygon of 7 coordinates"),
        ([[1, 2, 3, 4]], "a polygon of 2 points"),
        ([[]], "a polygon of 0 points"),
        ([[1, 2, 3, 4, 5, 1e30]], "a coordinate of 1e+30"),
        ([[-9, 2, -3, 4, 0, 6]], "a polygon outside the image"),
        ([[1, 30, 3, 40, 5, 60]], "a polygon outside the image"),
        ([1, 2, 3, 4], "a polygon of 2 points"),
        ([[1, 2, 3, 4, 5, 6], 7], NEITHER),
        ([["1", "2"]], f"{NEITHER} (Expected `float`, got `str`)"),
        ({"size": [HEIGHT, WIDTH]}, f"{NEITHER} (Object missing required field `counts`)"),
        ({"size": [WIDTH, HEIGHT], "counts": [1200]}, "run lengths of an image of 30 x 40"),
        ({"size": [HEIGHT, WIDTH], "counts": [600, 601]}, "run lengths of 1201 pixels in all, not 1200"),
        ({"size": [HEIGHT, WIDTH], "counts": [1300, -100]}, "a run length of -100"),
        ({"size": [HEIGHT, WIDTH], "counts": [2**70]}, f"{NEITHER} (Integer value out of range)|{BEYOND}"),
        ({"size": [HEIGHT, WIDTH], "counts": [1200]}, "run lengths without any pixel"),
        ({"size": [HEIGHT, WIDTH], "counts": "é"}, "run lengths that are not in COCO's compressed form"),
    ],
)
def test_what_makes_a_segmentation_unusable(segmentation, what):
    found = problem(json.dumps(segmentation, ensure_ascii=False).encode(), HEIGHT, WIDTH)
    assert found is not None
    assert found in what.split("|")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.sampled_from(["size", "counts", "x"]), inner),
    max_leaves=12,
)
codes = st.text(alphabet=[chr(code) for code in range(48, 112)], max_size=30)
hostile = (
    anything
    | st.lists(st.lists(st.floats(-1e9, 1e9), max_size=10), max_size=4)
    | st.fixed_dictionaries({"size": st.just([HEIGHT, WIDTH]), "counts": codes | st.lists(st.integers(), max_size=6)})
)


@given(hostile)
def test_anything_is_unusable_or_a_mask(segmentation):
    text = json.dumps(segmentation).encode()
    if problem(text, HEIGHT, WIDTH) is None:
        assert as_dense(segmentation).shape == (HEIGHT, WIDTH)


@given(st.binary(max_size=40))
def test_any_bytes_are_unusable_or_a_segmentation(text):
    assert isinstance(problem(text, HEIGHT, WIDTH), str | None)


@pytest.fixture
def outlined(coco_dict):
    """Return three objects: a triangle, an empty mask, and run lengths for an image of another size."""
    for row, segmentation in zip(
        coco_dict["annotations"], ([[1, 2, 4, 2, 4, 6]], [], {"size": [9, 9], "counts": [80, 1]}), strict=True
    ):
        row["segmentation"] = segmentation
    return coco_dict


def test_segmentations_are_kept_only_when_asked(write_coco, outlined, tmp_path):
    path = write_coco(outlined)
    assert load_coco(path, tmp_path).segmentations is None
    found = load_coco(path, tmp_path, masks=True)
    assert found.ids.tolist() == [6, 5, 7]
    assert found.segmentations is not None
    assert found.segmentations.has().tolist() == [False, True, False]
    assert found.segmentations.coco(1) == [[1, 2, 4, 2, 4, 6]]
    assert found.segmentations.coco(0) is None
    _crowd, some, other = found.notes
    assert "1 of 3 objects have no segmentation; training and evaluation of masks ignore these" in some
    assert "1 of 3 segmentations are unusable" in other
    assert "(first: run lengths of an image of 9 x 9, in sub/a.png)" in other


def test_a_selection_keeps_objects_and_segmentations_together(write_coco, outlined, tmp_path):
    found = load_coco(write_coco(outlined), tmp_path, masks=True).select(np.array([False, True]))
    assert found.ids.tolist() == [5, 7]
    assert found.segmentations is not None
    assert found.segmentations.has().tolist() == [True, False]
    assert found.share_memory().segmentations.data.is_shared()


def test_files_without_any_mask(write_coco, coco_dict, tmp_path):
    found = load_coco(write_coco(coco_dict), tmp_path, masks=True)
    assert (found.segmentations, len(found.notes)) == (None, 1)  # about a crowd
    coco_dict["annotations"][1]["segmentation"] = [[1, 2]]
    found = load_coco(write_coco(coco_dict), tmp_path, masks=True)
    assert found.segmentations is None
    assert found.notes[1].endswith(
        "no object has a mask; 1 of 3 segmentations are unusable (first: a polygon of 1 point, in b.png)"
    )


SQUARE = [[10, 4, 20, 4, 20, 14, 10, 14]]


@pytest.mark.parametrize(
    ("segmentation", "box", "noted"),
    [
        (SQUARE, [10, 4, 10, 10], False),
        (SQUARE, [14, 4, 20, 20], False),  # 7 of 11 pixels: both are widened by half a pixel
        (SQUARE, [16, 4, 20, 20], True),  # 5 of 11
        ([[x / 40 for x in SQUARE[0]]], [10, 4, 10, 10], True),  # fractions of the image
        ([[4, 10, 4, 20, 14, 20, 14, 10]], [10, 4, 10, 10], True),  # y, x
        ([[-40, 4, 20, 4, 20, 14, -40, 14]], [0, 4, 20, 10], False),  # only its pixels in the image count
        ([[10, 4, 20, 4, 15, 4]], [10, 4, 10, 10], False),  # a line
        ({"size": [HEIGHT, WIDTH], "counts": [605, 10, 585]}, [20, 5, 1, 10], False),
        ({"size": [HEIGHT, WIDTH], "counts": [605, 10, 585]}, [5, 15, 10, 1], True),
    ],
)
def test_masks_beside_their_box_are_noted(segmentation, box, noted):
    text = json.dumps(segmentation).encode()
    masks, notes = usable([text], np.array([[HEIGHT, WIDTH]]), ["a.png"], np.array([0]), np.array([box], float))
    assert masks is not None
    assert [note.partition(":")[0] for note in notes] == ["1 of 1 masks lie mostly outside their box"] * noted


def test_saved_segmentations_are_read_as_before(write_coco, outlined, tmp_path):
    outlined["annotations"][0].pop("area", None)
    found = load_coco(write_coco(outlined), tmp_path, masks=True)
    save_coco(found, tmp_path / "saved.json")
    again = load_coco(tmp_path / "saved.json", tmp_path, masks=True)
    assert again.segmentations.data.equal(found.segmentations.data)
    assert again.segmentations.offsets.equal(found.segmentations.offsets)
    assert again.areas.equal(found.areas)
    assert again.without_area[1]  # of the only object with a mask
    assert "segmentation" not in json.loads((tmp_path / "saved.json").read_text())["annotations"][0]


def test_real_objects_and_crowds_have_the_pixels_of_pycocotools(shared, capsys):
    path = shared / "coco_eval/instances_val2014_100.json"
    found, expected = load_coco(path, shared, masks=True), COCO(str(path))
    assert len(found.notes) == 1  # about crowds
    for i in range(0, len(found), 3):
        rows = found.rows(i)
        masks = found.segmentations.masks(range(rows.start, rows.stop), *found.image_sizes[i].tolist()).dense()
        for mask, identity in zip(masks.numpy(), found.ids[rows].tolist(), strict=True):
            np.testing.assert_array_equal(mask, expected.annToMask(expected.anns[identity]))


def test_an_encoded_form_is_read_back():
    form = {"size": (3, 4), "counts": rle.to_string(np.array([5, 2, 5]))}
    assert Segmentations.of([encode(form)]).coco(0) == form
