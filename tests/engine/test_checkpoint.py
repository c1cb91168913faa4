import pytest
import torch

from cascade_rcnn.engine.checkpoint import load_state, save_state
from cascade_rcnn.errors import UserError


def test_training_state_round_trip_and_corruption(tmp_path):
    save_state(tmp_path / "s.pt", {"position": {"step": 3}, "random": [{"cpu": torch.get_rng_state()}]})
    assert load_state(tmp_path / "s.pt")["position"] == {"step": 3}
    (tmp_path / "s.pt").write_bytes((tmp_path / "s.pt").read_bytes()[:50])
    with pytest.raises(UserError, match="not a readable training state"):
        load_state(tmp_path / "s.pt")
