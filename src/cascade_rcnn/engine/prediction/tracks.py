"""Object tracking in videos by ByteTrack, from Roboflow's `trackers`."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from cascade_rcnn.engine.prediction.journal import Entry
from cascade_rcnn.errors import UserError
from cascade_rcnn.results import load_supervision

_WEAK = 0.1  # minimum score for continuing a track, as in ByteTrack


class Tracks:
    """A tracker that assigns the detections in a video to numbered tracks, frame by frame.

    Classes are tracked separately: a detection never continues the track of another class. A detection that reaches the
    threshold of its class can start a track, which has a number from its second consecutive frame on; weaker detections
    only continue tracks. Tracks are numbered 1, 2, ... as they are confirmed.
    """

    def __init__(self, rate: float, thresholds: dict[int, float]) -> None:
        """Create a tracker for `rate` frames per second, with the threshold of each category id.

        Raises UserError if the package `trackers` is missing.
        """
        self._rate, self._thresholds = rate, thresholds
        self._trackers: dict[int, Any] = {}
        self._numbers: dict[tuple[int, int], int] = {}
        try:
            self._tracker = import_module("trackers").ByteTrackTracker
        except ImportError as error:
            raise UserError(f"--track needs trackers ({error}): pip install trackers") from None

    def follow(self, entry: Entry) -> list[int | None]:
        """Return the track of each detection in the next frame, None for those without one."""
        numbers: list[int | None] = [None] * len(entry.boxes)
        categories, scores = np.array(entry.category_ids), np.array(entry.scores)
        for category in sorted({*self._trackers, *entry.category_ids}):
            weak = min(_WEAK, self._thresholds[category])
            rows = np.flatnonzero((categories == category) & (scores >= weak))
            for row, track in self._update(category, rows, entry.boxes, scores):
                if track >= 0:
                    numbers[row] = self._numbers.setdefault((category, track), len(self._numbers) + 1)
        return numbers

    def _update(
        self, category: int, rows: np.ndarray, boxes: Sequence[Sequence[float]], scores: np.ndarray
    ) -> list[tuple[int, int]]:
        if category not in self._trackers:
            sure = self._thresholds[category]
            self._trackers[category] = self._tracker(
                frame_rate=self._rate, track_activation_threshold=sure, high_conf_det_threshold=sure
            )
        corners = np.array([boxes[row] for row in rows], np.float32).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        found = load_supervision().Detections(
            xyxy=corners,
            confidence=scores[rows].astype(np.float32),
            class_id=np.full(len(rows), category),
            data={"row": rows},
        )
        tracked = self._trackers[category].update(found)
        return list(zip(tracked.data.get("row", []), tracked.tracker_id, strict=True))
