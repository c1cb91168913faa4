"""Streaming from files to results: exact, with no detection ever lost or computed twice."""

import contextlib
import io
import json
import os
import signal
from pathlib import Path
from urllib.parse import unquote

import hotcoco.mask
import numpy as np
import PIL.Image
import pytest
import torch
from pycocotools.coco import COCO

from cascade_rcnn.config import Category
from cascade_rcnn.data import load_coco
from cascade_rcnn.engine.interrupt import Interrupted
from cascade_rcnn.engine.prediction.detect_files import detect_in_files
from cascade_rcnn.engine.prediction.job import PredictionJob
from cascade_rcnn.engine.prediction.summary import PredictionSummary
from cascade_rcnn.errors import UserError
from cascade_rcnn.images.tensors import read_image
from cascade_rcnn.masks import Masks

CATEGORIES = (Category(id=7, name="cat"), Category(id=9, name="dog"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of three images, one of them broken, and a file that is not an image."""
    place = tmp_path / "images"
    (place / "deep").mkdir(parents=True)
    for number, name in enumerate(("a.png", "deep/b.jpg")):
        PIL.Image.new("RGB", (40, 30), (number * 90, 80, 20)).save(place / name)
    (place / "broken.png").write_bytes(b"no image")
    (place / "notes.txt").write_text("hello")
    return place


class OneDog:
    """A detector that finds a dog (score .9) and a cat (score .1) in every image, and counts the images it has seen."""

    BOX = (1.1, 2.3, 21.7, 12.9)

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, images):
        self.seen += len(images)
        boxes = torch.tensor([self.BOX, (0.0, 0.0, 5.0, 5.0)])
        return [{"boxes": boxes, "scores": torch.tensor([0.9, 0.1]), "labels": torch.tensor([2, 1])} for _ in images]


class Masked(OneDog):
    """The same detector with masks: the left half of the dog's box, and an empty one."""

    def __call__(self, images):
        masks = torch.zeros(2, 30, 40, dtype=torch.bool)
        masks[0, 2:13, 1:11] = True
        return [one | {"masks": Masks.encode(masks)} for one in super().__call__(images)]


def predict(detect, folder: Path, output: Path, lines: list[str] | None = None, **options) -> PredictionSummary:
    report = (lambda _: None) if lines is None else lines.append
    return detect_in_files(
        detect, PredictionJob(paths=[folder], categories=CATEGORIES, output=output, report=report, **options)
    )


def found(output: Path) -> list[dict]:
    return json.loads((output / "detections.json").read_text())


def test_results_and_pictures_are_written_and_a_broken_image_is_reported(folder, tmp_path):
    lines: list[str] = []
    summary = predict(OneDog(), folder, tmp_path / "out", lines)
    files = [tmp_path / "out" / "detections.json", tmp_path / "out" / "pictures"]
    assert summary == PredictionSummary(done=2, failed=1, boxes=4, files=files)
    assert str(summary).startswith("2 images, 4 detections: ")
    assert len(lines) == 1
    assert "broken.png" in lines[0]
    x1, y1, x2, y2 = (float(np.float32(v)) for v in OneDog.BOX)
    first, second, third, _ = found(tmp_path / "out")
    assert first == {
        "bbox": [x1, y1, x2 - x1, y2 - y1],  # to the last digit
        "score": float(np.float32(0.9)),
        "image_id": 1,
        "file_name": "a.png",
        "category_id": 9,
        "category_name": "dog",
    }
    assert (second["category_name"], third["file_name"], third["image_id"]) == ("cat", "deep/b.jpg", 3)
    picture = np.asarray(PIL.Image.open(tmp_path / "out" / "pictures" / "a.png"))
    assert picture.shape == (30 * 16, 40 * 16, 3)  # enlarged for legibility
    assert np.abs(picture.astype(int) - np.array([0, 80, 20])).max() > 60  # something is drawn
    assert (tmp_path / "out" / "pictures" / "deep" / "b.jpg").exists()


def test_a_note_says_that_no_detection_is_shown(folder, tmp_path):
    class Unsure(OneDog):
        def __call__(self, images: list[torch.Tensor]) -> list[dict]:
            return [one | {"scores": one["scores"] / 2} for one in super().__call__(images)]

    hidden = "pictures and other formats show none of the detections: all scores are below 0.5 (best: 0.45)"
    assert predict(Unsure(), folder, tmp_path / "a").notes == [f"{hidden}; give a lower --threshold"]
    assert predict(Unsure(), folder, tmp_path / "b", threshold=0.2).notes == []  # all are shown
    assert predict(Unsure(), folder, tmp_path / "c", pictures=False).notes == []  # nothing is to show them
    assert predict(OneDog(), folder, tmp_path / "d").notes == []


def test_a_threshold_means_the_same_everywhere(folder, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(
        "cascade_rcnn.engine.prediction.detect_files.draw",
        lambda image, one: shown.append(len(one)) or PIL.Image.new("L", (2, 2)),
    )
    for name, threshold, boxes in (("default", None, 4), ("half", 0.5, 2), ("low", 0.05, 4), ("high", 0.95, 0)):
        shown.clear()
        assert predict(OneDog(), folder, tmp_path / name, threshold=threshold).boxes == boxes
        assert sum(shown) == (2 if threshold is None else boxes)


def test_names_that_a_format_cannot_represent_are_refused_before_detection(folder, tmp_path):
    predict(OneDog(), folder, tmp_path / "out", formats=["voc"])
    PIL.Image.new("RGB", (40, 30)).save(folder / "a.jpg")
    dog = OneDog()
    for options in ({}, {"formats": ["voc"], "overwrite": True}):  # files that are there are brought up to date
        with pytest.raises(UserError, match=r"a\.jpg and a\.png would share the file a\.xml"):
            predict(dog, folder, tmp_path / "out", **options)
    assert dog.seen == 0
    assert len(found(tmp_path / "out")) == 4
    assert predict(dog, folder, tmp_path / "out", overwrite=True).done == 3


def test_names_that_are_ambiguous_in_the_annotations_are_refused_before_detection(folder, tmp_path):
    one = {"width": 40, "height": 30}
    images = [{"id": 1, "file_name": "a.png", **one}, {"id": 2, "file_name": "x/b.jpg", **one}]
    images += [{"id": 3, "file_name": "y/b.jpg", **one}]
    categories = [{"id": category.id, "name": category.name} for category in CATEGORIES]
    (tmp_path / "truth.json").write_text(json.dumps({"images": images, "annotations": [], "categories": categories}))
    (folder / "deep" / "b.jpg").rename(folder / "b.jpg")
    dog = OneDog()
    with pytest.raises(UserError, match=r"b\.jpg: 2 images of .* have this name"):
        predict(dog, folder, tmp_path / "out", truth=load_coco(tmp_path / "truth.json"))
    assert dog.seen == 0


def test_pages_that_are_not_read_are_mentioned(tmp_path):
    page = PIL.Image.new("RGB", (40, 30))
    page.save(tmp_path / "two.tif", save_all=True, append_images=[page])
    page.save(tmp_path / "one.tif")
    summary = predict(OneDog(), tmp_path, tmp_path / "out", pictures=False)
    assert (summary.done, summary.notes) == (2, ["read only the first page or frame: 1 image"])


def test_images_that_are_read_as_nearly_black_are_mentioned(tmp_path):
    for name, peak in (("twelve.png", 4095), ("sixteen.png", 65535), ("black.png", 0)):
        PIL.Image.fromarray(np.full((30, 40), peak, np.uint16)).save(tmp_path / name)
    summary = predict(OneDog(), tmp_path, tmp_path / "out", pictures=False)
    assert (summary.done, summary.dark) == (3, 1)
    assert summary.notes[0].startswith("read as nearly black: 1 image of 16 bits with values below an eighth of 65535")


def test_pycocotools_reads_the_results_beside_the_annotations_that_gave_the_ids(folder, tmp_path):
    (folder / "new.png").write_bytes((folder / "a.png").read_bytes())
    named = {"a.png": 41, "x/deep/b.jpg": 17}
    images = [{"id": k, "file_name": name, "width": 40, "height": 30} for name, k in named.items()]
    categories = [{"id": one.id, "name": one.name} for one in CATEGORIES]
    (tmp_path / "truth.json").write_text(json.dumps({"images": images, "annotations": [], "categories": categories}))
    truth = load_coco(tmp_path / "truth.json", folder)
    summary = predict(OneDog(), folder, tmp_path / "out", pictures=False, truth=truth)
    assert (summary.done, summary.unnamed, summary.failed) == (2, 2, 0)
    assert summary.notes == ["skipped 2 images: not in the annotations"]
    assert {row["image_id"] for row in found(tmp_path / "out")} == {41, 17}
    assert not (tmp_path / "out" / "pictures").exists()
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = COCO(str(tmp_path / "truth.json")).loadRes(str(tmp_path / "out" / "detections.json"))
    assert len(theirs.getAnnIds(imgIds=[17])) == 2


@pytest.mark.parametrize("named", ["absolute", "outside"])
def test_images_that_annotations_name_outside_the_folder_are_not_replaced(folder, tmp_path, named):
    """Of output/pictures and output/voc, `/data/a.png` and `../../images/a.png` are other files, such as the image."""
    base = str(folder) if named == "absolute" else "../../images"
    names = [f"{base}/a.png", f"{base}/deep/b.jpg"]
    images = [{"id": k, "file_name": name, "width": 40, "height": 30} for k, name in enumerate(names)]
    categories = [{"id": one.id, "name": one.name} for one in CATEGORIES]
    file = tmp_path / "deep" / "er" / "truth.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"images": images, "annotations": [], "categories": categories}))
    (folder / "a.xml").write_text("labels")
    truth = load_coco(file)
    job = PredictionJob(truth=truth, categories=CATEGORIES, output=tmp_path / "out", formats=["voc"])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert detect_in_files(OneDog(), job).done == 2
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    pictures = [path for path in (tmp_path / "out" / "pictures").rglob("*") if path.is_file()]
    assert sorted(path.name for path in pictures) == ["a.png", "b.jpg"]
    assert len(list((tmp_path / "out" / "voc" / "Annotations").rglob("*.xml"))) == 2
    assert {row["file_name"] for row in found(tmp_path / "out")} == set(names)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_keeps_what_was_found_and_the_same_command_does_the_rest(folder, tmp_path, number):
    class Stopped(OneDog):
        def __call__(self, images):
            os.kill(os.getpid(), number)
            return super().__call__(images)

    with pytest.raises(Interrupted, match="contains 1 image; run the same command"):
        predict(Stopped(), folder, tmp_path / "out", pictures=False)
    assert {row["file_name"] for row in found(tmp_path / "out")} == {"a.png"}
    rest = OneDog()
    summary = predict(rest, folder, tmp_path / "out", pictures=False)
    assert (rest.seen, summary.done, summary.before) == (1, 1, 1)
    predict(OneDog(), folder, tmp_path / "whole", pictures=False)
    assert found(tmp_path / "out") == found(tmp_path / "whole")


def test_a_signal_before_the_images_of_an_earlier_run(folder, tmp_path):
    def stopped(images):
        os.kill(os.getpid(), signal.SIGINT)
        return OneDog()(images)

    predict(OneDog(), folder, tmp_path / "out", pictures=False)
    PIL.Image.new("RGB", (40, 30)).save(folder / "_.png")  # the first in order
    with pytest.raises(Interrupted, match="contains 3 images; run the same command"):
        predict(stopped, folder, tmp_path / "out", pictures=False)
    assert len(found(tmp_path / "out")) == 6


def test_a_process_that_is_killed_loses_one_batch_at_most(folder, tmp_path):
    child = os.fork()
    if child == 0:
        calls = []

        def killed(images):
            calls.append(len(images))
            if len(calls) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return OneDog()(images)

        predict(killed, folder, tmp_path / "out", pictures=False)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert not (tmp_path / "out" / "detections.json").exists()
    half = tmp_path / "out" / "pictures" / "deep" / f".b.jpg.{child}.tmp"  # a file that it may have been writing
    half.parent.mkdir(parents=True)
    half.write_bytes(b"")
    rest = OneDog()
    assert predict(rest, folder, tmp_path / "out", pictures=False).before == 1
    assert rest.seen == 1
    assert not half.exists()
    assert {row["file_name"] for row in found(tmp_path / "out")} == {"a.png", "deep/b.jpg"}


def test_a_second_run_repeats_nothing_but_does_what_is_new_changed_or_mended(folder, tmp_path):
    output = folder / "out"  # inside the input folder: the pictures written there are not taken as input
    predict(OneDog(), folder, output)
    before = found(output)
    again = OneDog()
    summary = predict(again, folder, output)
    assert (again.seen, summary.done, summary.before, summary.failed) == (0, 0, 2, 1)
    assert found(output) == before
    PIL.Image.new("RGB", (20, 20)).save(folder / "broken.png")
    PIL.Image.new("RGB", (20, 20)).save(folder / "0.png")
    PIL.Image.new("RGB", (44, 33)).save(folder / "a.png")
    predict(again, folder, output)
    assert again.seen == 3
    ids = {row["file_name"]: row["image_id"] for row in found(output)}
    assert ids == {"a.png": 1, "broken.png": 2, "deep/b.jpg": 3, "0.png": 4}  # ids do not change


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError("device"), RuntimeError("CUDA out of memory\nat x"), KeyError("x")]
)
def test_whatever_one_image_does_is_its_own_line(folder, tmp_path, error):
    """Alone or in a batch: the other images are still processed."""
    PIL.Image.new("RGB", (17, 17)).save(folder / "odd.png")

    def detect(images):
        if any(image.shape[1:] == (17, 17) for image in images):
            raise error
        return OneDog()(images)

    for batch_size in (1, 4):
        lines: list[str] = []
        output = tmp_path / str(batch_size)
        summary = predict(detect, folder, output, lines, batch_size=batch_size, pictures=False)
        assert (summary.done, summary.failed) == (2, 2)
        (line,) = (line for line in lines if "odd.png" in line)
        assert type(error).__name__ in line
        assert "\n" not in line
        assert {row["file_name"] for row in found(output)} == {"a.png", "deep/b.jpg"}


def test_a_decoder_that_fails_in_its_own_way_is_the_images_line(folder, tmp_path, monkeypatch):
    def read(path: Path, _: float | None):
        raise MemoryError

    monkeypatch.setattr("cascade_rcnn.engine.prediction.detect_files.read_image", read)
    lines: list[str] = []
    assert predict(OneDog(), folder, tmp_path / "out", lines).failed == 3
    assert all("MemoryError" in line for line in lines)
    assert found(tmp_path / "out") == []


def test_names_that_are_not_unicode_or_too_long_cost_nothing(folder, tmp_path):
    strange = [os.fsdecode(b"caf\xe9.png"), "n" * 251 + ".png", "esc\x1b[31m.png"]
    try:
        for name in strange:
            (folder / name).write_bytes((folder / "a.png").read_bytes())
    except OSError:
        pytest.skip("this file system has Unicode names only")
    lines: list[str] = []
    summary = predict(OneDog(), folder, tmp_path / "out", lines)
    assert (summary.done, summary.failed) == (5, 1)
    names = {row["file_name"] for row in found(tmp_path / "out")}
    assert {"caf\\udce9.png", strange[1], "esc\\x1b[31m.png"} < names
    assert predict(OneDog(), folder, tmp_path / "out").before == 5


def test_names_with_unusual_spaces_are_kept_in_every_format(folder, tmp_path):
    name = "at 3.04\u202fPM\u3000\u200d.png"  # such as those of macOS's screenshots
    (folder / "a.png").rename(folder / name)
    predict(OneDog(), folder, tmp_path / "out", formats=["coco", "label-studio", "voc", "yolo"])
    assert name in {row["file_name"] for row in found(tmp_path / "out")}
    assert name in load_coco(tmp_path / "out" / "coco.json", folder).file_names
    stem = Path(name).stem
    places = f"pictures/{name}", f"voc/Annotations/{stem}.xml", f"yolo/labels/{stem}.txt"
    assert all((tmp_path / "out" / place).exists() for place in places)
    tasks = json.loads((tmp_path / "out" / "label_studio.json").read_text())
    assert name in {unquote(task["data"]["image"]).removeprefix("/data/local-files/?d=") for task in tasks}


def test_torch_s_default_device_does_not_matter(folder, tmp_path):
    results = OneDog()([None])
    with torch.device("meta"):
        assert predict(lambda _: results, folder, tmp_path / "out").boxes == 4


def test_it_streams(folder, tmp_path, monkeypatch):
    """No image is read before the previous batches are finished."""
    events = []

    def read(path: Path, _: float | None):
        events.append("read")
        return read_image(path)

    def detect(images):
        events.append("found")
        return OneDog()(images)

    for number in range(4):
        PIL.Image.new("RGB", (8, 8)).save(folder / "deep" / f"{number}.png")
    monkeypatch.setattr("cascade_rcnn.engine.prediction.detect_files.read_image", read)
    predict(detect, folder / "deep", tmp_path / "out", batch_size=2, pictures=False)
    assert events == ["read", "read", "found"] * 2 + ["read", "found"]


def test_a_full_disk_is_one_line_and_keeps_what_there_is(folder, tmp_path, monkeypatch):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    predict(OneDog(), folder, tmp_path / "out", pictures=False)
    PIL.Image.new("RGB", (8, 8)).save(folder / "new.png")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot be written .No space left on device") as caught:
        predict(OneDog(), folder, tmp_path / "out", pictures=False)
    assert "\n" not in str(caught.value)
    assert len(found(tmp_path / "out")) == 4


def test_a_picture_that_finds_no_room_stops_the_run_and_is_drawn_by_the_next(folder, tmp_path, monkeypatch, capsys):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(PIL.Image.Image, "save", full)
        with pytest.raises(UserError, match=r"pictures/a\.png: cannot be written .No space left on device"):
            predict(OneDog(), folder, tmp_path / "out")
    assert "no picture" not in capsys.readouterr().err
    assert predict(OneDog(), folder, tmp_path / "out").before == 0
    assert (tmp_path / "out" / "pictures" / "a.png").exists()


def test_masks_are_run_lengths_in_the_results_and_drawn(folder, tmp_path):
    predict(OneDog(), folder, tmp_path / "boxes")
    predict(Masked(), folder, tmp_path / "out")
    before = found(tmp_path / "out")
    rows = [{name: value for name, value in row.items() if name != "segmentation"} for row in before]
    assert rows == found(tmp_path / "boxes")
    masks = [hotcoco.mask.decode(row["segmentation"]) for row in before]
    assert [int(mask.sum()) for mask in masks] == [110, 0, 110, 0]
    assert masks[0][2:13, 1:11].all()
    plain, drawn = (np.asarray(PIL.Image.open(tmp_path / place / "pictures/a.png")) for place in ("boxes", "out"))
    differs = (plain != drawn).any(axis=2)
    factor = len(plain) // 30
    assert differs[6 * factor, 6 * factor]  # inside the mask
    assert not differs[10 * factor, 18 * factor]  # inside the box

    def refuses(images):
        raise AssertionError("all is done")

    predict(refuses, folder, tmp_path / "out")  # resuming has nothing left to do and loses nothing
    assert found(tmp_path / "out") == before


def test_a_threshold_drops_masks_with_their_boxes(folder, tmp_path):
    predict(Masked(), folder, tmp_path / "out", threshold=0.5, pictures=False)
    assert [int(hotcoco.mask.area(row["segmentation"])) for row in found(tmp_path / "out")] == [110, 110]
