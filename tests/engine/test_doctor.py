import pytest

from cascade_rcnn.engine import doctor


def test_a_sound_install_is_well():
    lines, advice = doctor.examine()
    assert advice == []
    assert any(line.startswith("operators on cpu: nms and roi_align return correct results") for line in lines)


def test_mismatched_builds_get_the_fix(monkeypatch):
    def broken(device: str) -> str:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(doctor, "_operators", broken)
    lines, advice = doctor.examine()
    assert "operators on cpu: FAILED (operator torchvision::nms does not exist)" in lines
    assert len(advice) == 1
    assert "pip install torch torchvision" in advice[0]


def test_wrong_numbers_are_noticed(monkeypatch):
    import torchvision.ops

    monkeypatch.setattr(torchvision.ops, "nms", lambda boxes, scores, iou: scores.argsort())
    with pytest.raises(RuntimeError, match="wrong results"):
        doctor._operators("cpu")


def test_masks_that_are_read_wrongly_are_noticed(monkeypatch):
    import hotcoco.mask

    assert doctor._masks().startswith("run lengths")
    monkeypatch.setattr(hotcoco.mask, "area", lambda runs: [19])
    lines, advice = doctor.examine()
    assert "masks: FAILED (hotcoco decodes run lengths incorrectly)" in lines
    assert advice == ["evaluation of masks does not work: pip install --force-reinstall hotcoco numpy"]
