import resource

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


@pytest.mark.parametrize("number", [30_000, 3_000_000])
def test_why_a_state_cannot_be_written(tmp_path, number):
    path, limits = tmp_path / "s.pt", resource.getrlimit(resource.RLIMIT_FSIZE)
    save_state(path, {"step": 3})
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # bytes; a full disk gives another reason
    try:
        with pytest.raises(UserError, match=r"s\.pt: cannot be written \(File too large\); choose another output"):
            save_state(path, {"weights": torch.zeros(number)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert load_state(path) == {"step": 3}
    assert list(tmp_path.iterdir()) == [path]
