"""The comparison with other frameworks: how models and results are converted. No other framework is needed here."""

import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from benchmarks.agreement import agreement
from benchmarks.measure import PEERS, Task, options, write
from benchmarks.peers import __main__ as measurement
from benchmarks.peers import process
from benchmarks.weights import to_mmdet
from cascade_rcnn import create_model
from cascade_rcnn.interop import mmdet


def found(*rows: tuple[float, int]) -> dict[str, torch.Tensor]:
    """Return detections of boxes 10 pixels wide at the given places, with the given labels, scored .9, .8, ..."""
    boxes = torch.tensor([[place, 0.0, place + 10, 10.0] for place, _ in rows]).view(-1, 4)
    scores = 0.9 - 0.1 * torch.arange(len(rows))
    return {"boxes": boxes, "scores": scores, "labels": torch.tensor([label for _, label in rows], dtype=torch.int64)}


def test_agreement_pairs_detections_of_a_class_whatever_their_order():
    theirs, ours = found((0, 1), (50, 2), (90, 1)), found((50.25, 2), (0.5, 1), (90, 3))
    assert agreement(theirs, ours) == "2 of 3 detections are the same, within 0.5 pixels and 0.1 in score"
    assert agreement(theirs, theirs) == "3 of 3 detections are the same, within 0 pixels and 0 in score"
    assert agreement(theirs, found((0, 3))) == "none of 3 detections are the same"
    assert agreement(found((0, 1)), theirs) == "1 of 3 detections are the same, within 0 pixels and 0 in score"
    empty = found((50.25, 2), (0.5, 1), (90, 3), (20, 1))
    empty["boxes"][3, 2] = 20
    assert agreement(empty, ours) == agreement(ours, ours)
    assert agreement(theirs, found()) == agreement(found(), theirs) == "none of 3 detections are the same"


def test_every_ratio_is_to_a_peer_that_was_measured():
    times = {"detectron2": 2.0, "cascade": 1.0, "cascade, unfolded": 1.2, "detectron2, converted": 1.6}
    rows = measurement.compared("inference", ["detectron2"], times)
    assert {row.what: row.ratio for row in rows} == {
        "ResNet-50, inference: detectron2": None,
        "ResNet-50, inference: cascade": pytest.approx(0.5),
        "ResNet-50, inference: cascade, unfolded": pytest.approx(0.6),
        "ResNet-50, inference: detectron2, converted": pytest.approx(0.8),
    }
    assert {row.against for row in rows if row.ratio} == {"detectron2"}
    assert [row.met for row in rows] == [None, True, None, False]


def test_a_converted_model_is_compared_with_its_own_peer_alone():
    times = {"detectron2": 2.0, "mmdet": 4.0, "cascade": 1.0, "detectron2, converted": 1.0, "mmdet, converted": 1.0}
    rows = measurement.compared("training", ["detectron2", "mmdet"], times)
    assert [(row.what.removeprefix("ResNet-50, training: "), row.against, row.ratio) for row in rows] == [
        ("detectron2", "", None),
        ("cascade", "detectron2", 0.5),
        ("detectron2, converted", "detectron2", 0.5),
        ("mmdet", "", None),
        ("cascade", "mmdet", 0.25),
        ("mmdet, converted", "mmdet", 0.25),
    ]


def test_bf16_is_compared_with_a_peer_in_bf16_if_it_ran():
    times = {"detectron2": 2.0, "mmdet": 4.0, "cascade": 1.0, "cascade bf16": 0.5, "mmdet bf16": 2.0}
    rows = measurement.compared("inference", ["detectron2", "mmdet"], times, "Swin-T")
    lowered = [row for row in rows if row.what.endswith("bf16")]
    assert [(row.what.removeprefix("Swin-T, inference: "), row.against, row.ratio) for row in lowered] == [
        ("cascade bf16", "detectron2", 0.25),
        ("cascade bf16", "mmdet bf16", 0.25),
        ("mmdet bf16", "mmdet", 0.5),
    ]
    assert all(row.bound is None for row in rows)


@pytest.mark.parametrize(
    ("backbone", "width"),
    [("resnet18", None), ("swin_t", 32), ("convnext_tiny", 32)],
    ids=["resnet", "swin", "convnext"],
)
def test_mmdet_gets_the_weights_that_convert_back(backbone, width):
    name = f"cascade_rcnn_{backbone}_fpn"
    model = create_model(name, 3, pyramid_channels=16, head_width=32, backbone_width=width)
    _, state = mmdet.convert(to_mmdet(model), None)
    own = {name: value for name, value in model.state_dict().items() if "num_batches" not in name}
    torch.testing.assert_close(dict(state), own, rtol=0, atol=0)


@pytest.mark.parametrize("wrong", ["torchvision=" + sys.executable, "detectron2", "mmdet=/no/such/python"])
def test_a_peer_is_named_with_the_python_that_has_it(wrong, capsys):
    with pytest.raises(SystemExit):
        options(None, ["--quick", "--peer", wrong])
    assert f"--peer {wrong}: give detectron2=PYTHON or mmdet=PYTHON" in capsys.readouterr().err
    given = options(None, ["--quick", "--peer", f"mmdet={sys.executable}", "--peer", f"detectron2={sys.executable}"])
    assert given.peers == {"mmdet": Path(sys.executable), "detectron2": Path(sys.executable)}


def test_a_peer_that_is_importable_here_is_measured_here():
    assert process.interpreters({}) == {name: Path(sys.executable) for name in PEERS if find_spec(name)}
    assert process.interpreters({"mmdet": Path("python")})["mmdet"] == Path("python")


@pytest.mark.skipif(find_spec("mmdet") is not None, reason="mmdet is here")
@pytest.mark.parametrize("python", [shutil.which("false"), pytest.param(sys.executable, marks=pytest.mark.slow)])
def test_a_process_without_its_peer_is_one_line(tmp_path, python):
    with pytest.raises(SystemExit, match="mmdet: the process ended"):
        process.PeerProcess("mmdet", Path(python), tmp_path, Task((32, 32)), threads=1)


def test_results_of_a_restricted_processor_stand_next_to_its_own(tmp_path, monkeypatch):
    given = options(None, ["--quick", "--threads", "1", "--output", str(tmp_path)])
    write("floor", given, [])
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    write("floor", given, [])
    machines = {path.name: json.loads(path.read_text())["machine"] for path in tmp_path.iterdir()}
    assert machines.keys() == {"floor.json", "floor-restricted.json"}
    assert machines["floor-restricted.json"]["restrictions"] == {"ATEN_CPU_CAPABILITY": "avx2"}
    assert machines["floor.json"]["restrictions"] == {}
