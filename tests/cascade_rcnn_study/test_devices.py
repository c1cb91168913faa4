"""The queue of work for several devices: assignment, order, failures and interruptions."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from cascade_rcnn.engine.interrupt import Interrupted
from cascade_rcnn.errors import UserError
from cascade_rcnn.files import read_json
from cascade_rcnn_study.devices import Job, environments, run_jobs

TWO = [{"DEVICE": "a"}, {"DEVICE": "b"}]


def job(folder: Path, name: str, work, after: str | None = None) -> Job:
    return Job(name=name, title=f"run {name}", log=folder / name / "log.txt", work=work, after=after)


def test_every_process_sees_its_device_and_waits_for_what_it_needs(tmp_path):
    tell = partial(os.system, "echo $DEVICE; date +%s%N")
    said: list[str] = []
    run_jobs(
        [job(tmp_path, "1", tell, after="2"), job(tmp_path, "2", tell), job(tmp_path, "3", tell)], TWO, said.append
    )
    logs = {name: (tmp_path / name / "log.txt").read_text().split() for name in "123"}
    assert {device for device, _ in logs.values()} == {"a", "b"}
    assert int(logs["1"][1]) > int(logs["2"][1])
    assert said[0] == f"run 2 (device 0, log {tmp_path}/2/log.txt)"
    assert said[1].startswith("run 3 (device 1")
    assert said[2].startswith("run 1 (")
    assert "DEVICE" not in os.environ


def test_data_loading_processes_start_in_the_default_way(tmp_path):
    tell = partial(exec, "import multiprocessing; print(multiprocessing.get_start_method())")
    run_jobs([job(tmp_path, "1", tell)], TWO, lambda _: None)
    assert (tmp_path / "1" / "log.txt").read_text().split() == [multiprocessing.get_start_method()]


def test_a_failure_ends_all_with_its_own_line(tmp_path):
    begun = time.monotonic()
    jobs = [job(tmp_path, "long", partial(time.sleep, 60)), job(tmp_path, "bad", partial(read_json, "nowhere.json"))]
    with pytest.raises(UserError, match=r"^bad: nowhere\.json.*\(log: .*/bad/log\.txt\)$"):
        run_jobs(jobs, TWO, lambda _: None)
    assert time.monotonic() - begun < 30
    with pytest.raises(UserError, match=r"^worse: exit code 3 \(log: "):
        run_jobs([job(tmp_path, "worse", partial(sys.exit, 3))], TWO, lambda _: None)


def test_ctrl_c_ends_all_and_the_same_call_may_continue(tmp_path):
    begun = time.monotonic()
    press = partial(signal.pthread_kill, threading.main_thread().ident, signal.SIGINT)
    threading.Timer(0.5, press).start()
    with pytest.raises(Interrupted, match="run the same command to continue"):
        run_jobs([job(tmp_path, "long", partial(time.sleep, 60))], TWO, lambda _: None)
    assert time.monotonic() - begun < 30


def test_gpus_are_those_that_are_visible_and_processors_are_shared(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert environments(3, "cpu") == [{"OMP_NUM_THREADS": "2"}] * 3
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert environments(2, "auto") == [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
    assert environments(2, "cpu") == [{"OMP_NUM_THREADS": "4"}] * 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert environments(2, "cuda") == [{"CUDA_VISIBLE_DEVICES": "5"}, {"CUDA_VISIBLE_DEVICES": "7"}]
    with pytest.raises(UserError, match="devices is 3, but there are 2 GPUs"):
        environments(3, "auto")
