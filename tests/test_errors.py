"""The first line of an error's message, whatever the message is."""

import pytest
import torch

from cascade_rcnn import UserError
from cascade_rcnn.devices import choose_device
from cascade_rcnn.errors import reason


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n  one  \ntwo"), "one  "),
        (ValueError(), "ValueError"),
        (MemoryError("\n"), "MemoryError"),
    ],
)
def test_the_first_line_or_else_the_type(error, line):
    assert reason(error) == line


def test_an_error_without_a_message_is_still_one_line(monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(torch, "zeros", broken)
    with pytest.raises(UserError, match=r"^device cpu: cannot be used here \(AssertionError\); give cpu, cuda or mps$"):
        choose_device("cpu")
