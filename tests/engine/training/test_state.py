"""The training state: which file is read, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from cascade_rcnn.engine.training.state import PREVIOUS, STATE, holds_state, read_state
from cascade_rcnn.errors import UserError

POSITION = {
    "epoch": 1,
    "batch": 0,
    "step": 6,
    "evaluated": 6,
    "best_ap": 0.5,
    "stale": 0,
    "seconds": 1.0,
    "images": 12,
}


def state(**changes: Any) -> dict[str, Any]:
    whole = {
        "model": {"weight": torch.arange(1000.0)},
        "averaged": None,
        "optimizer": {},
        "precision": {},
        "position": POSITION,
        "random": [{"cpu": torch.get_rng_state()}],
        "data": {"training classes": [2, "digest"]},
    }
    return whole | changes


def test_the_last_whole_state_is_read(tmp_path):
    assert not holds_state(tmp_path)
    torch.save(state(), tmp_path / STATE)
    assert holds_state(tmp_path)
    found, notes = read_state(tmp_path)
    assert found["position"] == POSITION
    assert notes == []


@pytest.mark.parametrize("damage", ["empty", "cut", "one bit"])
def test_a_damaged_state_gives_way_to_the_one_before_it_with_a_note(tmp_path, damage):
    torch.save(state(position=POSITION | {"step": 4}), tmp_path / PREVIOUS)
    torch.save(state(), tmp_path / STATE)
    data = (tmp_path / STATE).read_bytes()
    middle = data.index(torch.arange(1000.0).numpy().tobytes()) + 2000
    flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    (tmp_path / STATE).write_bytes({"empty": b"", "cut": data[: len(data) // 2], "one bit": flipped}[damage])
    found, notes = read_state(tmp_path)
    assert found["position"]["step"] == 4
    assert len(notes) == 1
    assert STATE in notes[0]
    assert "continuing from previous.state.pt" in notes[0]
    (tmp_path / PREVIOUS).unlink()
    with pytest.raises(UserError, match="not a readable training state"):
        read_state(tmp_path)


def test_between_the_two_renames_the_one_before_is_the_last(tmp_path):
    torch.save(state(), tmp_path / PREVIOUS)
    assert holds_state(tmp_path)
    assert read_state(tmp_path)[1] == []


@pytest.mark.parametrize(
    "odd",
    [
        [1, 2],
        {},
        state(position=None),
        state(position={"epoch": 1}),
        state(position=POSITION | {"more": 1}),
        state(position=POSITION | {"step": "6"}),
        state(random=3),
        state(data=[]),
        {name: value for name, value in state().items() if name != "position"},
        {name: value for name, value in state().items() if name != "optimizer"},
    ],
)
def test_what_is_not_a_state_is_one_line(tmp_path: Path, odd: Any):
    torch.save(odd, tmp_path / STATE)
    with pytest.raises(UserError, match=r"last\.state\.pt: not a training state of this version") as error:
        read_state(tmp_path)
    assert "\n" not in str(error.value)


def test_a_state_of_format_1_is_read_and_what_it_lacks_is_reported(tmp_path):
    before = state()
    del before["data"]
    before["position"] = {name: value for name, value in POSITION.items() if name not in ("evaluated", "stale")}
    torch.save(before, tmp_path / STATE)
    found, notes = read_state(tmp_path)
    assert found["position"] == POSITION  # saved after its evaluation
    assert len(notes) == 1
    assert "cannot check that the data is unchanged" in notes[0]
