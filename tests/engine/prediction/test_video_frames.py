"""Frames are shown as players show them, and written so that players show them the same."""

import gc
import shutil
import struct
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from cascade_rcnn.engine.prediction import video_frames
from cascade_rcnn.engine.prediction.video_frames import Clip, Frame, VideoFrames, VideoWriter

COLORS = {"R": (255, 0, 0), "G": (0, 255, 0), "B": (0, 0, 255), "W": (255, 255, 255)}


def tiles(rows: str, width: int, height: int) -> np.ndarray:
    """Return an image of coloured tiles, "RG BW" for two rows of two, of this size in pixels each."""
    colors = np.array([[COLORS[letter] for letter in row] for row in rows.split()], np.uint8)
    return colors.repeat(height, 0).repeat(width, 1)


@pytest.fixture(scope="module")
def quadrants(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a video of one frame of 64 x 32 pixels, red and green above blue and white, shown as 48 x 32."""
    path = tmp_path_factory.mktemp("video") / "quadrants.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv444p"
        stream.codec_context.sample_aspect_ratio = Fraction(3, 4)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(tiles("RG BW", 32, 16), format="rgb24")))
        container.mux(stream.encode(None))
    return path


def with_matrix(video: Path, path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Copy a video with another display matrix, by which (x, y) is shown at (ax + cy, bx + dy)."""
    content = video.read_bytes()
    start = content.index(b"tkhd") + 44  # in the header of the track
    one = 1 << 16
    assert struct.unpack_from(">9i", content, start) == (one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    matrix = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(content[:start] + matrix + content[start + len(matrix) :])
    return path


def first(path: Path) -> Frame:
    with VideoFrames(Clip(source=str(path))) as frames:
        return next(iter(frames))


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def test_no_thread_is_left_beside_which_a_process_could_be_forked(quadrants):
    gc.collect()  # what other tests have left
    before = threads()
    with VideoFrames(Clip(source=str(quadrants))) as frames:
        assert len(list(frames)) == 1
        assert threads() > before
    assert threads() == before


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((1, 0, 0, 1), "RG BW"),
        ((0, 1, -1, 0), "BR WG"),
        ((-1, 0, 0, -1), "WB GR"),
        ((0, -1, 1, 0), "GW RB"),
        ((-1, 0, 0, 1), "GR WB"),
        ((1, 0, 0, -1), "BW RG"),
        ((0, 1, 1, 0), "RB GW"),
        ((0, -1, -1, 0), "WG BR"),
    ],
)
def test_rotated_and_mirrored_videos_are_upright(quadrants, tmp_path, matrix, expected):
    frame = first(with_matrix(quadrants, tmp_path / "turned.mp4", *matrix))
    width, height = (32, 16) if matrix[0] else (16, 32)
    np.testing.assert_allclose(frame.pixels.astype(int), tiles(expected, width, height), atol=8)
    assert frame.aspect == (Fraction(3, 4) if matrix[0] else Fraction(4, 3))


def test_side_data_that_pyav_does_not_know():
    class Strange(SimpleNamespace):
        @property
        def side_data(self) -> Any:
            raise ValueError("28 is not a valid Type")

    assert not video_frames._is_mirrored(Strange())


@pytest.mark.parametrize("color", [(200, 30, 30), (30, 200, 30), (255, 255, 255), (0, 0, 0)])
def test_written_videos_have_the_colors_of_their_tags(tmp_path, color):
    """Decoded as ITU-R BT.709 says: Y from 16 to 235, Cb and Cr from 16 to 240 around 128."""
    path = tmp_path / "plain.mp4"
    with VideoWriter(path, 10) as writer:
        writer.write(np.full((48, 64, 3), color, np.uint8), 0)
    with av.open(str(path)) as container:
        tags = container.streams.video[0].codec_context
        assert (tags.colorspace, tags.color_primaries, tags.color_trc, tags.color_range) == (1, 1, 1, 1)
        frame = next(container.decode(video=0))
    luma, blue, red = (float(np.frombuffer(plane, np.uint8)[0]) for plane in frame.planes)
    y, cb, cr = (luma - 16) / 219, (blue - 128) / 224, (red - 128) / 224
    r, b = y + 1.5748 * cr, y + 1.8556 * cb
    g = (y - 0.2126 * r - 0.0722 * b) / 0.7152
    np.testing.assert_allclose([255 * r, 255 * g, 255 * b], color, atol=3)


def test_written_videos_have_the_aspect_of_their_pixels(tmp_path):
    path = tmp_path / "wide.mp4"
    with VideoWriter(path, 10, Fraction(16, 11)) as writer:
        writer.write(np.zeros((48, 64, 3), np.uint8), 0)
    assert first(path).aspect == Fraction(16, 11)


def test_frames_of_another_size_keep_their_shape(tmp_path):
    path, white = tmp_path / "turned.mp4", np.full((96, 48, 3), 255, np.uint8)
    with VideoWriter(path, 10) as writer:
        for k, pixels in enumerate((np.zeros((48, 64, 3), np.uint8), white, white[:48, :].repeat(2, 1))):
            writer.write(pixels, k / 10)
    with VideoFrames(Clip(source=str(path))) as frames:
        _, tall, wide = (frame.pixels.mean(2) for frame in frames)
    assert tall.shape == wide.shape == (48, 64)
    for lines, first, end in ((tall[24], 20, 44), (wide[:, 32], 8, 40)):  # 24 columns of 64, and 32 rows of 48
        assert lines[first + 1 : end - 1].min() > 240
        assert max(lines[: first - 1].max(), lines[end + 1 :].max()) < 15


def test_files_are_not_taken_for_protocols(quadrants, tmp_path, monkeypatch):
    shutil.copy(quadrants, tmp_path / "12:30:00.mp4")
    monkeypatch.chdir(tmp_path)
    assert first(Path("12:30:00.mp4")).pixels.shape == first(quadrants).pixels.shape


def test_times_of_joined_recordings_go_on(tmp_path):
    part, whole = tmp_path / "part.ts", tmp_path / "whole.ts"
    with av.open(str(part), "w") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for frame in (*(av.VideoFrame(64, 48, "yuv420p") for _ in range(3)), None):
            container.mux(stream.encode(frame))
    whole.write_bytes(part.read_bytes() * 2)
    with VideoFrames(Clip(source=str(whole))) as frames:
        assert [frame.time for frame in frames] == pytest.approx([k / 25 for k in range(6)], abs=1e-3)
