"""A device is one that computes here, by torch's names; copies to it do not wait where that is safe."""

import pytest
import torch

from cascade_rcnn.devices import choose_device, send
from cascade_rcnn.errors import UserError


def test_torch_s_names_and_objects():
    assert choose_device("cpu") == choose_device(torch.device("cpu")) == torch.device("cpu")
    assert choose_device(None).type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["bogus", "meta", "cuda:99", "cpu:x", "xla"])
def test_others_are_refused_in_one_line(name):
    with pytest.raises(UserError, match=f"device {name}: cannot be used here .*; give cpu, cuda or mps") as error:
        choose_device(name)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 250


@pytest.mark.parametrize(("kind", "waits"), [("cuda", False), ("xpu", False), ("cpu", True), ("mps", True)])
def test_sending_waits_where_the_copy_would_be_read_or_its_source_freed_too_early(kind, waits, monkeypatch):
    sent = []
    monkeypatch.setattr(torch.Tensor, "to", lambda _, device, *, non_blocking: sent.append((device, non_blocking)))
    send(torch.ones(2), torch.device(kind))
    assert sent == [(torch.device(kind), not waits)]
