"""Frames are shown as players show them, and written so that players show them the same."""

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from cascade_rcnn.engine.prediction import video_frames
from cascade_rcnn.engine.prediction.video_frames import Clip, Frame, VideoFrames

COLORS = {"R": (255, 0, 0), "G": (0, 255, 0), "B": (0, 0, 255), "W": (255, 255, 255)}


def tiles(rows: str, width: int, height: int) -> np.ndarray:
    """Return an image of coloured tiles, "RG BW" for two rows of two, of this size in pixels each."""
    colors = np.array([[COLORS[letter] for letter in row] for row in rows.split()], np.uint8)
    return colors.repeat(height, 0).repeat(width, 1)


@pytest.fixture(scope="module")
def quadrants(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a video of one frame of 64 x 32 pixels, red and green above blue and white."""
    path = tmp_path_factory.mktemp("video") / "quadrants.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv444p"
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
    pixels = first(with_matrix(quadrants, tmp_path / "turned.mp4", *matrix)).pixels
    width, height = (32, 16) if matrix[0] else (16, 32)
    np.testing.assert_allclose(pixels.astype(int), tiles(expected, width, height), atol=8)


def test_side_data_that_pyav_does_not_know():
    class Strange(SimpleNamespace):
        @property
        def side_data(self) -> Any:
            raise ValueError("28 is not a valid Type")

    assert not video_frames._is_mirrored(Strange())
