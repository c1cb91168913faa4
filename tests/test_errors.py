"""What an error is about, and the first line of its message."""

import pytest
import torch

from cascade_rcnn import UserError
from cascade_rcnn.devices import choose_device
from cascade_rcnn.errors import is_out_of_memory, reason


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


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_a_full_memory_is_recognised_whoever_reports_it(error, full):
    assert is_out_of_memory(error) == full


def test_an_error_without_a_message_is_still_one_line(monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(torch, "zeros", broken)
    with pytest.raises(UserError, match=r"^device cpu: cannot be used here \(AssertionError\); give cpu, cuda or mps$"):
        choose_device("cpu")
