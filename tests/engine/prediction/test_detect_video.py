"""From a video to a video and detections: exact frames, no losses, constant memory."""

import itertools
import json
import os
import signal
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from av.error import FFmpegError

from cascade_rcnn import rle
from cascade_rcnn.config import Category
from cascade_rcnn.engine.interrupt import Interrupted
from cascade_rcnn.engine.prediction import detect_video, video_frames
from cascade_rcnn.engine.prediction.detect_video import detect_in_video
from cascade_rcnn.engine.prediction.job import PredictionJob
from cascade_rcnn.engine.prediction.summary import PredictionSummary
from cascade_rcnn.engine.prediction.video_frames import Clip, VideoFrames, VideoWriter, is_video
from cascade_rcnn.errors import UserError
from cascade_rcnn.masks import Masks

CATEGORIES = (Category(id=7, name="cat"), Category(id=9, name="dog"))
FRAMES, RATE = 12, 10  # 1.2 seconds


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a video of a bright square of 16 pixels that moves right by 2 pixels per frame, starting at (4, 20)."""
    path = tmp_path_factory.mktemp("video") / "square.mp4"
    with VideoWriter(path, RATE) as writer:
        for k in range(FRAMES):
            frame = np.zeros((64, 96, 3), np.uint8)
            frame[20:36, 4 + 2 * k : 20 + 2 * k] = 255
            writer.write(frame, k / RATE)
    return path


NOTHING = {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.long)}


class Square:
    """A detector that finds the bright square as a dog of high score and, in a corner, a cat of low score."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.seen, self.stop_after = 0, stop_after

    def __call__(self, images, scale=1.0):
        self.seen += len(images)
        if self.stop_after is not None and self.seen >= self.stop_after:
            os.kill(os.getpid(), signal.SIGINT)
        return [self.find(image) for image in images]

    def find(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        bright = image.float().mean(0) > 128
        rows, columns = bright.any(1).nonzero()[:, 0], bright.any(0).nonzero()[:, 0]
        box = [float(x) for x in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)]
        boxes, scores = torch.tensor([box, [0.0, 0.0, 5.0, 5.0]]), torch.tensor([0.9, 0.1])
        return {"boxes": boxes, "scores": scores, "labels": torch.tensor([2, 1])}


def predict(detect, video: Path, output: Path, *, track: bool = False, clip: dict | None = None, **options):
    report = options.pop("report", lambda _: None)
    job = PredictionJob(categories=CATEGORIES, output=output, report=report, **options)
    return detect_in_video(detect, job, Clip(source=str(video), **(clip or {})), track=track)


def rows(output: Path, name: str = "dog") -> list[dict]:
    return [row for row in json.loads((output / "detections.json").read_text()) if row["category_name"] == name]


def shown(path: Path) -> list[np.ndarray]:
    with VideoFrames(Clip(source=str(path))) as frames:
        return [frame.pixels for frame in frames]


def test_every_frame_is_detected_recorded_and_drawn(video, tmp_path):
    summary = predict(Square(), video, tmp_path, batch_size=3)
    files = [tmp_path / "detections.json", tmp_path / "video.mp4"]
    assert summary == PredictionSummary(done=FRAMES, boxes=2 * FRAMES, files=files, unit="frame")
    assert str(summary).startswith("12 frames, 24 detections: ")
    found = rows(tmp_path)
    assert [row["image_id"] for row in found] == list(range(FRAMES))
    assert found[5]["file_name"] == "square_000005.jpg"
    expected = [[4 + 2 * k, 20, 16, 16] for k in range(FRAMES)]
    np.testing.assert_allclose([row["bbox"] for row in found], expected, atol=1)  # H.264 blurs edges
    lines = [json.loads(line) for line in (tmp_path / "images.jsonl").read_text().splitlines()[1:]]
    assert [line["time"] for line in lines] == pytest.approx([k / RATE for k in range(FRAMES)])
    drawn = shown(tmp_path / "video.mp4")
    assert len(drawn) == FRAMES
    assert drawn[0].shape == (64 * 7, 96 * 7, 3)  # enlarged for legibility
    left = drawn[10][28 * 7, (24 - 1) * 7 : (24 + 1) * 7].astype(int)  # the square's left edge, in its own colour
    assert (left.max(axis=1) - left.min(axis=1)).max() > 60


class Masked(Square):
    """The same detector with masks: the upper half of the square, and an empty one."""

    def find(self, image: torch.Tensor) -> dict[str, Any]:
        found = super().find(image)
        masks = torch.zeros(2, *image.shape[1:], dtype=torch.bool)
        x1, y1, x2, y2 = (int(x) for x in found["boxes"][0])
        masks[0, y1 : (y1 + y2) // 2, x1:x2] = True
        return found | {"masks": Masks.encode(masks)}


def test_the_annotated_video_has_the_aspect_of_the_source(tmp_path):
    path = tmp_path / "dvd.mp4"
    with VideoWriter(path, RATE, Fraction(16, 15)) as writer:
        writer.write(np.full((64, 96, 3), 255, np.uint8), 0)
    predict(Square(), path, tmp_path / "out")
    with VideoFrames(Clip(source=str(tmp_path / "out" / "video.mp4"))) as frames:
        assert [frame.aspect for frame in frames] == [Fraction(16, 15)]


def test_masks_are_recorded_and_drawn_also_those_of_an_earlier_run(video, tmp_path):
    with pytest.raises(Interrupted):
        predict(Masked(stop_after=7), video, tmp_path, batch_size=4)
    predict(Masked(), video, tmp_path, batch_size=4)
    for row in rows(tmp_path):
        x, y, width, height = (round(x) for x in row["bbox"])
        counts = rle.from_string(row["segmentation"]["counts"].encode())
        assert rle.area(counts) == width * (height // 2)
        assert rle.crop(counts, row["segmentation"]["size"][0])[0] == (x, y, x + width, y + height // 2)
    for k in (2, 10):
        upper, lower = (shown(tmp_path / "video.mp4")[k][y * 7, (4 + 2 * k + 8) * 7].astype(int) for y in (25, 33))
        assert upper.max() - upper.min() > 45  # coloured
        assert lower.max() - lower.min() < 30  # still grey


@pytest.mark.parametrize(
    ("clip", "numbers"),
    [
        ({"step": 6}, [0, 6]),
        ({"start": 0.5, "end": 0.8}, [5, 6, 7]),
        ({"start": 1.0, "step": 2}, [10]),
    ],
)
def test_a_part_of_the_frames(video, tmp_path, clip, numbers):
    summary = predict(Square(), video, tmp_path, clip=clip)
    assert [row["image_id"] for row in rows(tmp_path)] == numbers
    assert summary.done == len(numbers) == len(shown(tmp_path / "video.mp4"))


def test_ctrl_c_leaves_a_video_so_far_and_the_same_call_does_the_rest(video, tmp_path):
    whole, part = tmp_path / "whole", tmp_path / "part"
    with pytest.raises(Interrupted, match="contains 8 frames; run the same command to continue"):
        predict(Square(stop_after=7), video, part, batch_size=4)
    assert len(shown(part / "video.mp4")) == len(rows(part)) == 8
    detect = Square()
    summary = predict(detect, video, part, batch_size=4, formats=["voc"])
    assert (summary.before, summary.done, detect.seen) == (8, 4, 4)
    predict(Square(), video, whole)
    assert (part / "detections.json").read_text() == (whole / "detections.json").read_text()
    assert all(np.array_equal(a, b) for a, b in zip(*(shown(one / "video.mp4") for one in (part, whole)), strict=True))
    assert len(list((part / "voc" / "Annotations").glob("*.xml"))) == FRAMES
    with pytest.raises(UserError, match="has the results of another command"):
        predict(Square(), video, part, clip={"step": 2})


def test_ctrl_c_while_earlier_frames_are_drawn_again(video, tmp_path, monkeypatch):
    with pytest.raises(Interrupted):
        predict(Square(stop_after=7), video, tmp_path)
    monkeypatch.setattr(detect_video, "_drawn", lambda pixels, *_: os.kill(os.getpid(), signal.SIGINT) or pixels)
    with pytest.raises(Interrupted, match="contains 7 frames"):
        predict(Square(), video, tmp_path)
    assert len(rows(tmp_path)) == len(shown(tmp_path / "video.mp4")) == 7  # not shorter than it was
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_live_source_ends_with_ctrl_c_and_is_never_continued(video, tmp_path, monkeypatch):
    monkeypatch.setattr(Clip, "is_live", property(lambda clip: True))
    summary = predict(Square(stop_after=2), video, tmp_path, formats=["coco"])
    assert (summary.done, len(rows(tmp_path)), summary.files[-1].name) == (2, 2, "coco.json")
    with pytest.raises(UserError, match="has the results of another command"):
        predict(Square(), video, tmp_path)


def test_thresholds_by_class_and_no_video(video, tmp_path):
    predict(Square(), video, tmp_path, pictures=False, threshold=0.95, thresholds={"cat": 0.05}, clip={"step": 10})
    assert len(rows(tmp_path)) == 0
    assert len(rows(tmp_path, "cat")) == 2
    assert not (tmp_path / "video.mp4").exists()


def test_a_track_is_one_number(video, tmp_path):
    pytest.importorskip("trackers")
    with pytest.raises(Interrupted):
        predict(Square(stop_after=7), video, tmp_path, track=True)
    predict(Square(), video, tmp_path, track=True)
    assert [row.get("track_id") for row in rows(tmp_path)] == [None] + [1] * (FRAMES - 1)
    assert {row.get("track_id") for row in rows(tmp_path, "cat")} == {None}


def test_a_video_that_breaks_off_gives_what_it_has(video, tmp_path):
    path = tmp_path / "cut.ts"  # a format that needs no index at the end
    with video_frames.av.open(str(video)) as source, video_frames.av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    summary = predict(Square(), path, tmp_path / "out")
    assert 0 < summary.done < FRAMES
    assert len(shown(tmp_path / "out" / "video.mp4")) == summary.done


def test_a_file_that_was_cut_off_is_noted(tmp_path):
    path, said = tmp_path / "cut.mkv", list[str]()
    with video_frames.av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        for frame in (*(video_frames.av.VideoFrame(96, 64, "yuvj420p") for _ in range(30)), None):
            container.mux(stream.encode(frame))
    with VideoFrames(Clip(source=str(path))) as frames:
        assert (len(list(frames)), frames.broken) == (30, "")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with VideoFrames(Clip(source=str(path), end=0.5)) as frames:
        assert (len(list(frames)), frames.broken) == (5, "")
    done = predict(lambda images: [NOTHING for _ in images], path, tmp_path / "out", report=said.append).done
    assert 5 < done < 20
    assert said == [f"{path}: ended early, after {done} frames (the file has only {done / RATE:.1f} of 3.0 s)"]
    with pytest.raises(UserError, match=r"cannot read this video \(the file has only \d\.\d of 3\.0 s\)"):
        predict(Square(), path, tmp_path / "later", clip={"start": 2.0})


@pytest.mark.parametrize(("packets", "lines"), [(0, None), (5, ["ended early, after 5 frames (Input/output error)"])])
def test_a_connection_that_is_lost(video, tmp_path, monkeypatch, packets, lines):
    class Lost:
        def __init__(self, container) -> None:
            self.streams, self.duration, self.close, self._demux = (
                container.streams,
                container.duration,
                container.close,
                container.demux,
            )

        def demux(self, stream):
            yield from itertools.islice(self._demux(stream), packets)
            if packets:
                yield from [one for one in self._demux(stream) if one.dts is None]  # what the decoder still holds
            raise FFmpegError(5, "Input/output error")

    opened = video_frames._open
    monkeypatch.setattr(video_frames, "_open", lambda source: Lost(opened(source)))
    said: list[str] = []
    if lines is None:
        with pytest.raises(UserError, match=r"cannot read this video .Input/output error"):
            predict(Square(), video, tmp_path)
    else:
        predict(Square(), video, tmp_path, report=said.append)
        assert [line.removeprefix(f"{video}: ") for line in said] == lines
        assert len(rows(tmp_path)) == len(shown(tmp_path / "video.mp4")) == 5


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot open this video"), (b"", "cannot open this video"), (b"no video" * 99, "cannot open this video")],
)
def test_what_is_not_a_video(tmp_path, content, message):
    path = tmp_path / "film.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        predict(Square(), path, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "clip", [{"step": 0}, {"start": -1.0}, {"start": 2.0, "end": 1.0}, {"start": "1:00"}, {"end": "2"}]
)
def test_impossible_parts(clip):
    with pytest.raises(UserError, match="; give "):
        Clip(source="x.mp4", **clip)


def test_what_names_a_video(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("7").mkdir()
    assert all(is_video(one) for one in ("a.MP4", "a.h264", "rtsp://host/cam", "0"))
    assert not any(is_video(one) for one in ("7", "a.jpg", "photos", "https://host/a.jpg?x=b.mp4"))
    assert Clip(source="0").is_live
    assert Clip(source="RTSP://host/cam").is_live
    assert not Clip(source="https://host/a.mp4").is_live


def test_the_name_in_results():
    assert Clip(source=f"{'é' * 200}.mp4").name == "é" * 115  # with the number of a frame, the name of a file
    names = {"0": "0", "rtsp://host/cam?key=a/b.c": "cam", "https://host/v/a.mp4?x=1": "a", "udp://@:1234": "camera"}
    names |= {"v/a b.mp4": "a b", "\udcff\n.mp4": r"\udcff\n"}
    assert {source: Clip(source=source).name for source in names} == names


def test_a_name_that_is_not_unicode(video, tmp_path):
    named = tmp_path / os.fsdecode(b"\xff.mp4")
    named.symlink_to(video)
    assert predict(Square(), named, tmp_path / "out", clip={"end": 0.1}).done == 1
    assert rows(tmp_path / "out")[0]["file_name"] == r"\udcff_000000.jpg"


def test_a_part_without_frames_is_refused(video, tmp_path):
    message = r"square\.mp4: has no frames from 5 s to 6 s, taking every 9th frame; choose another part"
    with pytest.raises(UserError, match=message):
        predict(Square(), video, tmp_path / "out", clip={"start": 5.0, "end": 6.0, "step": 9})


def test_a_video_without_frames(video, tmp_path, monkeypatch):
    monkeypatch.setattr(VideoFrames, "_decoded", lambda frames: iter(()))
    with pytest.raises(UserError, match=r"square\.mp4: this video has no frames; give another one"):
        predict(Square(), video, tmp_path / "out")


def test_a_video_of_which_nothing_can_be_decoded(video, tmp_path, monkeypatch):
    def damaged(frames: VideoFrames):
        frames.damaged = 3
        return iter(())

    monkeypatch.setattr(VideoFrames, "_decoded", damaged)
    with pytest.raises(UserError, match=r"cannot read this video \(3 parts could not be decoded\)"):
        predict(Square(), video, tmp_path / "out")


def test_a_url_is_known_by_its_extent_and_live_without_a_duration(video, monkeypatch):
    """As if the file came from a server: what is behind a URL may change, and a stream has no end."""
    monkeypatch.setattr(video_frames, "_open", lambda source: video_frames.av.open(str(video)))
    with VideoFrames(Clip(source="https://host/a.mp4")) as frames:
        assert not frames.are_live
        size, duration = frames.extent
        assert (size, duration) == (video.stat().st_size, FRAMES / RATE * 1e6)
        endless = SimpleNamespace(duration=None, size=-1, close=lambda: None)
        monkeypatch.setattr(frames, "_container", endless)
        assert frames.are_live
        assert frames.extent == (0, 0)


def test_a_camera_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="99: cannot open this video"):
        predict(Square(), Path("99"), tmp_path / "out")
