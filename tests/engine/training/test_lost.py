"""Lost contact between processes: the missing ones are identified through a store that the others write to."""

from datetime import timedelta

import pytest
import torch.distributed as dist

from cascade_rcnn.engine.training import lost


@pytest.fixture
def store(monkeypatch) -> dist.TCPStore:
    """Start the store that the first process holds."""
    monkeypatch.setattr(lost, "PATIENCE", 0.0)
    monkeypatch.setattr(lost, "_LONGEST", 0.0)
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=5))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(store.port))
    monkeypatch.delenv("TORCHELASTIC_RESTART_COUNT", raising=False)
    return store


CLOSED = RuntimeError("[/pytorch/gloo/pair.cc:534] Connection closed by peer [127.0.0.1]\nmore")


def test_only_an_error_of_communication_is_lost_contact():
    assert lost.is_lost_contact(CLOSED)
    assert lost.is_lost_contact(RuntimeError("NCCL error: unhandled system error"))
    assert not lost.is_lost_contact(RuntimeError("mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)"))


def test_who_does_not_answer_is_named(store):
    store.set("cascade_rcnn/0/2", "")
    message = str(lost.report_lost(CLOSED, 0, 4))
    assert message.startswith("processes 1, 3 of this training run are gone; ")
    assert "--resume" in message
    store.set("cascade_rcnn/0/3", "")
    assert str(lost.report_lost(CLOSED, 0, 4)).startswith("process 1 of this training run is gone; ")


def test_only_the_first_of_those_that_are_left_speaks(store):
    store.set("cascade_rcnn/0/1", "")
    with pytest.raises(SystemExit) as ended:
        lost.report_lost(CLOSED, 2, 3)
    assert ended.value.code == 1
    assert str(lost.report_lost(CLOSED, 1, 3)).startswith("process 0 of")


def test_an_earlier_attempt_does_not_count(store, monkeypatch):
    for attempt, gone in (("0", 1), ("1", 1)):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", attempt)
        assert str(lost.report_lost(CLOSED, 0, 2)).startswith(f"process {gone} of")
    store.set("cascade_rcnn/1/1", "")
    assert str(lost.report_lost(CLOSED, 0, 2)).startswith("the processes of this training run lost contact ([/pytorch")
    assert "\n" not in str(lost.report_lost(CLOSED, 0, 2))


def test_without_its_store_the_first_process_is_gone(monkeypatch):
    monkeypatch.setattr(lost, "PATIENCE", 0.0)
    monkeypatch.setattr(lost, "_CONNECTING", 0.3)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "1")  # where nobody listens
    assert str(lost.report_lost(CLOSED, 1, 2)).startswith("process 0 of this training run is gone; ")
