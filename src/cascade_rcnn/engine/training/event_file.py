"""TensorBoard event files, written synchronously.

torch's SummaryWriter uses a background thread, which prints a traceback if the disk is full, and loses queued data when
the process is killed.
"""

import os
import platform
import time
from pathlib import Path
from typing import Any

from cascade_rcnn.files import sync


class EventFile:
    """A new file of scalars by step in `folder`; readers discard earlier files' points from `purge_step` on.

    Raises OSError if it cannot be written.
    """

    def __init__(self, folder: Path, purge_step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # type: ignore[attr-defined]
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        # Readers process the files of a folder in the order of their names.
        self.path = folder / f"events.out.tfevents.{time.time_ns()}.{platform.node()}.{os.getpid()}"
        self._file = self.path.open("wb")
        self._records = RecordWriter(self._file)
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=purge_step, session_log=SessionLog(status=SessionLog.START)))

    def add(self, step: int, values: dict[str, float]) -> None:
        """Add one point to the curve of each value."""
        from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[attr-defined]
        from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[attr-defined]

        points = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._write(Event(step=step, summary=Summary(value=points)))

    def _write(self, event: Any) -> None:  # a protobuf message
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())
        self._file.flush()

    def sync(self) -> None:
        """Wait until all points are on disk."""
        sync(self.path)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
