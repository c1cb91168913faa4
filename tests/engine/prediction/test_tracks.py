"""Tracks of hand-made detections in a video of 10 frames per second."""

import pytest

from cascade_rcnn.engine.prediction.journal import Entry
from cascade_rcnn.engine.prediction.tracks import Tracks

CAT, DOG = 7, 9


@pytest.fixture
def tracks() -> Tracks:
    pytest.importorskip("trackers")
    return Tracks(10.0, {CAT: 0.5, DOG: 0.5})


def frame(*found: tuple[int, float, float]) -> Entry:
    """Return a frame with objects of 40 x 40 pixels: the category, left edge and score of each."""
    return Entry(
        file_name="film.jpg",
        image_id=1,
        height=100,
        width=400,
        boxes=[(left, 30.0, 40.0, 40.0) for _, left, _ in found],
        scores=[score for *_, score in found],
        category_ids=[category for category, *_ in found],
    )


def test_each_object_keeps_its_number_from_its_second_frame_on(tracks):
    found = [tracks.follow(frame((DOG, 10.0 + 4 * t, 0.9), (DOG, 300.0 - 4 * t, 0.8))) for t in range(10)]
    assert found == [[None, None], *[[1, 2]] * 9]


def test_an_object_of_another_class_never_continues_a_track(tracks):
    found = [tracks.follow(frame((DOG if t < 5 else CAT, 50.0, 0.9))) for t in range(10)]
    assert found == [[None], *[[1]] * 4, [None], *[[2]] * 4]


def test_weak_detections_continue_a_track_but_do_not_start_one(tracks):
    scores = [0.9, 0.9, 0.2, 0.2, 0.9]
    found = [tracks.follow(frame((DOG, 50.0, score), (CAT, 250.0, 0.2))) for score in scores]
    assert found == [[None, None], *[[1, None]] * 4]


def test_an_object_that_returns_after_a_few_frames_keeps_its_number(tracks):
    found = [tracks.follow(frame() if 4 <= t < 7 else frame((DOG, 50.0 + t, 0.9))) for t in range(10)]
    assert found == [[None], *[[1]] * 3, *[[]] * 3, *[[1]] * 3]


def test_a_low_threshold_starts_tracks_of_weak_detections():
    pytest.importorskip("trackers")
    tracks = Tracks(10.0, {DOG: 0.02})
    found = [tracks.follow(frame((DOG, 50.0, 0.05))) for _ in range(4)]
    assert found == [[None], [1], [1], [1]]
