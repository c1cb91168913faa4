"""Frame-by-frame decoding of video files, streams and cameras with PyAV, and writing of video files."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlsplit

import av
import numpy as np
import PIL.Image
import PIL.ImageOps
from av.container import InputContainer
from av.error import EOFError as EndOfFile
from av.error import FFmpegError, InvalidDataError
from av.video.reformatter import Colorspace, VideoReformatter

from cascade_rcnn.arguments import check_number
from cascade_rcnn.errors import UserError
from cascade_rcnn.files import LONGEST_NAME
from cascade_rcnn.images.decoding import EXTENSIONS
from cascade_rcnn.images.folders import VIDEOS
from cascade_rcnn.text import storable

_LIVE = ("rtsp", "rtmp", "rtmps", "rtp", "udp", "tcp", "srt")
_URL = re.compile(r"(\w+)://")
_USUAL_RATE = 25  # frames per second, for streams that do not specify a rate
_EXACT = ("mov", "matroska", "avi")  # formats whose header has the exact length of the video
_UNNOTICED = 1.0  # seconds that may be missing at the end, such as frames that need others
_BT709, _LIMITED = 1, 1  # FFmpeg's numbers of colours as in HD, and of a range of 16 to 235


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A video, and the part of it to process. Raises UserError for values out of range."""

    source: str  # a file, a URL, or the number of a camera
    step: int = 1  # process every `step`-th frame
    start: float = 0.0  # seconds
    end: float | None = None

    def __post_init__(self) -> None:
        check_number("step", self.step, 1, whole=True)
        check_number("start", self.start, 0)
        if self.end is not None:
            check_number("end", self.end, 0)
        if self.end is not None and self.start >= self.end:
            raise UserError(f"start is {self.start:g} and end {self.end}; give seconds from the beginning, start < end")

    @property
    def name(self) -> str:
        """The name of the video in results: without folder, suffix and, of a URL, its query.

        The end of a long name is cut off, as files are named after the video and the numbers of its frames.
        """
        path = urlsplit(self.source).path if _URL.match(self.source) else self.source
        return storable(Path(path).stem).encode()[:LONGEST_NAME].decode(errors="ignore") or "camera"

    @property
    def is_live(self) -> bool:
        """Whether this is a live source, which cannot be played again."""
        scheme = _URL.match(self.source)
        return self.source.isdigit() or (scheme is not None and scheme[1].lower() in _LIVE)


def is_video(path: str) -> bool:
    """Return whether a path is a video rather than images: by its suffix, as a URL, or as the number of a camera.

    The URL of a single image is none: as a video, it would be one frame.
    """
    if _URL.match(path):
        return Path(urlsplit(path).path).suffix.lower() not in EXTENSIONS
    if path.isdigit():
        return not Path(path).exists()
    return Path(path).suffix.lower() in VIDEOS and not Path(path).is_dir()


class Frame(NamedTuple):
    """A decoded frame."""

    number: int  # in the video, starting at 0
    time: float  # seconds from the beginning
    pixels: np.ndarray  # (H, W, 3) RGB, upright
    aspect: Fraction  # width of a pixel divided by its height


class VideoFrames:
    """An iterable over the frames of a clip. Raises UserError if it cannot be opened or has no video."""

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self.damaged = 0  # parts that could not be decoded
        self.broken = ""  # why decoding ended early, such as a lost connection
        try:
            self._container = _open(clip.source)
        except (FFmpegError, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{clip.source}: cannot open this video ({reason}); check its path and format") from None
        if not self._container.streams.video:
            self._container.close()
            raise UserError(f"{clip.source}: contains no video, only audio or data; give a video")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self._to_rgb = VideoReformatter()  # a frame would keep one of its own, and its threads, until it is collected
        self.rate = float(self._stream.average_rate or self._stream.guessed_rate or _USUAL_RATE)

    @property
    def are_live(self) -> bool:
        """Whether the source cannot be played again: a camera, or a stream without a duration."""
        return self.clip.is_live or (_URL.match(self.clip.source) is not None and not self._container.duration)

    @property
    def extent(self) -> tuple[int, int]:
        """Size in bytes and duration in microseconds, which tell another video at the same URL; 0 if unknown."""
        return max(0, self._container.size), self._container.duration or 0

    @property
    def total(self) -> int:
        """The approximate number of frames; 0 if unknown."""
        length = self._stream.frames / self.rate
        if not length and self._container.duration:
            length = self._container.duration / av.time_base
        end = length if self.clip.end is None else min(length or self.clip.end, self.clip.end)
        return max(0, round((end - self.clip.start) * self.rate / self.clip.step))

    def __iter__(self) -> Iterator[Frame]:
        shift, last, index = 0.0, -1 / self.rate, -1
        for index, frame in enumerate(self._decoded()):
            seconds = index / self.rate if frame.time is None else frame.time
            if index == 0 or seconds + shift < last:  # a joined recording, whose clock starts again
                shift = last + 1 / self.rate - seconds
            last = seconds = seconds + shift
            if self.clip.end is not None and seconds >= self.clip.end:
                return
            if seconds >= self.clip.start and index % self.clip.step == 0:
                rgb = self._to_rgb.reformat(frame, format="rgb24").to_ndarray()
                yield Frame(index, seconds, *_upright(rgb, frame, self._stream.sample_aspect_ratio or Fraction(1)))
        self.broken = self.broken or self._what_is_missing(index + 1, last + 1 / self.rate)

    def _what_is_missing(self, number: int, end: float) -> str:
        """Compare what was decoded with the header; FFmpeg reports no error at the end of a file that was cut off."""
        container, stream = self._container, self._stream
        if not number or 0 < stream.frames <= number or not container.format.name.startswith(_EXACT):
            return ""
        length = 0.0
        if stream.duration and stream.time_base:
            length = float(stream.duration * stream.time_base)
        elif container.duration and len(container.streams) == 1:  # other streams may be longer
            length = container.duration / av.time_base
        return f"the file has only {end:.1f} of {length:.1f} s" if end + _UNNOTICED < length else ""

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """Decode from the beginning, so that frame numbers are exact; count and skip damaged parts."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
                yield from packet.decode()
            except StopIteration:
                return
            except EndOfFile:
                return
            except InvalidDataError:
                self.damaged += 1
            except FFmpegError as error:
                self.broken = error.strerror or type(error).__name__
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._container.close()
        del self._container, self._stream, self._to_rgb  # ends their threads; a process forked beside them would hang


def _open(source: str) -> InputContainer:
    if not source.isdigit():
        # Of a relative path, such as "12:30.mp4", FFmpeg would take what precedes a colon for a protocol.
        return av.open(source if _URL.match(source) else str(Path(source).absolute()))
    if sys.platform == "darwin":
        return av.open(source, format="avfoundation")
    if sys.platform.startswith("linux"):
        return av.open(f"/dev/video{source}", format="v4l2")
    raise UserError(f"{source}: cameras cannot be opened by number on this system; give the URL of a stream")


def _upright(pixels: np.ndarray, frame: av.VideoFrame, aspect: Fraction) -> tuple[np.ndarray, Fraction]:
    """Return the pixels of a frame as it is shown, and their aspect."""
    if _is_mirrored(frame):
        pixels = pixels[::-1]  # before the rotation, which is that of the upper edge
    quarters = round(frame.rotation / 90)
    return np.ascontiguousarray(np.rot90(pixels, quarters)), 1 / aspect if quarters % 2 else aspect


def _is_mirrored(frame: av.VideoFrame) -> bool:
    """Return whether a frame is shown mirrored: if the determinant of its display matrix is negative."""
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV does not know all kinds of side data, and then gives none
        return False
    if matrix is None:
        return False
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    return a * d < b * c


class VideoWriter:
    """A writer of MP4 files that browsers can play (H.264, in the colours of HD, which players assume)."""

    _BASE = Fraction(1, 90_000)  # seconds

    def __init__(self, path: Path, rate: float, aspect: Fraction = Fraction(1)) -> None:
        """Open a file for frames at about `rate` per second, with pixels `aspect` times as wide as they are high."""
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "faststart"})
        self._rate, self._stream, self._last = Fraction(rate).limit_denominator(1001), None, -1
        self._aspect, self._shape = aspect, (0, 0, 0)

    def write(self, pixels: np.ndarray, time: float) -> None:
        """Append an RGB frame (H, W, 3) at `time` seconds. An odd last row or column is cut off.

        The first frame has the size of the video. Others are resized to fit into it, between black bars.
        """
        if self._stream is not None and pixels.shape != self._shape:
            pixels = np.asarray(PIL.ImageOps.pad(PIL.Image.fromarray(pixels), (self._shape[1], self._shape[0])))
        height, width = (side - side % 2 for side in pixels.shape[:2])
        if self._stream is None:
            self._shape = pixels.shape
            self._stream = self._container.add_stream("libx264", rate=self._rate, options={"crf": "20"})
            context = self._stream.codec_context
            context.width, context.height, context.pix_fmt, context.time_base = width, height, "yuv420p", self._BASE
            context.colorspace = context.color_primaries = context.color_trc = _BT709
            context.color_range, context.sample_aspect_ratio = _LIMITED, self._aspect
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[:height, :width]), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
        self._last = max(self._last + 1, round(time / self._BASE))
        frame.pts, frame.time_base = self._last, self._BASE
        self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()
