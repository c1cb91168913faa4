"""Signals: the current step is finished first, or files are removed; ignored signals stay ignored."""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack

import pytest

from cascade_rcnn.engine.interrupt import StopRequest, deaf, ending_cleanly

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_first_signal_asks_and_a_second_ctrl_c_interrupts(number, capfd):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        os.kill(os.getpid(), number)
        assert stop.asked
        os.kill(os.getpid(), signal.SIGTERM)  # possibly the second signal
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(number) == before
    assert ("stopping after this step" in capfd.readouterr().out) == (number == signal.SIGINT)  # typed by a user


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_runs_what_tidies_up(number):
    with ExitStack() as tidying:
        tidied = []
        tidying.callback(lambda: tidied.append(number))
        with pytest.raises(KeyboardInterrupt), ending_cleanly():
            os.kill(os.getpid(), number)
    assert tidied == [number]


def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop, ending_cleanly():
            os.kill(os.getpid(), signal.SIGHUP)
        assert not stop.asked
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_process_that_is_started_deaf_ignores_ctrl_c():
    """From its first moment on: a handler of its own would come too late."""
    before = signal.getsignal(signal.SIGINT)
    said = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('alive')"
    with deaf():
        os.kill(os.getpid(), signal.SIGINT)
        assert subprocess.run([sys.executable, "-S", "-c", said], capture_output=True, text=True).stdout == "alive\n"
    assert signal.getsignal(signal.SIGINT) == before
