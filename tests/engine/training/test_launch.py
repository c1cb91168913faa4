"""The start of processes that cannot reach each other."""

from dataclasses import replace

import pytest
from lightning_fabric import Fabric

from cascade_rcnn.engine.training.launch import launch
from cascade_rcnn.errors import UserError


@pytest.mark.parametrize(
    ("attempt", "advice"),
    [("0", "check the address"), ("1", "start torchrun with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1")],
)
def test_one_line_says_what_may_be_wrong(thin_recipe, monkeypatch, attempt, advice):
    def refused(fabric):
        raise RuntimeError("Gloo connectFullMesh failed with Connection refused\nmore")

    monkeypatch.setattr(Fabric, "launch", refused)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", attempt)
    with pytest.raises(UserError, match=rf"cannot connect \(Gloo .* refused\); {advice}") as caught:
        launch(replace(thin_recipe, devices=1))
    assert "\n" not in str(caught.value)


def test_other_errors_stay_what_they_are(thin_recipe, monkeypatch):
    def broken(fabric):
        raise RuntimeError("broken")

    monkeypatch.setattr(Fabric, "launch", broken)
    with pytest.raises(RuntimeError, match=r"^broken$"):
        launch(thin_recipe)
