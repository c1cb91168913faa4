"""Every script runs at its smallest size; no test asserts a time."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import accuracy, loading, networks, parts
from benchmarks.measure import Row, Task, interleaved, keep_settings, options
from benchmarks.report import PARTS, main, render
from benchmarks.scaling import exponent
from benchmarks.weights import calibrated, config
from cascade_rcnn import create_model
from cascade_rcnn.config import replace
from cascade_rcnn.layers.normalization import FixedBatchNorm

ROOT = Path(__file__).resolve().parents[2]


def run(part: str, output: Path, *flags: str) -> dict:
    command = [sys.executable, "-m", f"benchmarks.{part}", "--quick", "--threads", "1", "--output", str(output), *flags]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads((output / f"{part}.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("part", ["floor", "endurance"])
def test_a_part_of_seconds(part, tmp_path):
    check(run(part, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(
    "part", ["inference", "training_step", "memory", "masks", "evaluation", "annotations", "start", "scaling"]
)
def test_a_part(part, tmp_path):
    check(run(part, tmp_path))


@pytest.mark.slow
def test_data_loading(tmp_path):
    from cascade_rcnn.data.shapes import write_shapes

    write_shapes(tmp_path, train=64, val=8, size=64, seed=0)
    (train,) = tmp_path.rglob("*train*.json")
    train.rename(train.with_name("person_train.json"))
    check(run("loading", tmp_path / "out", "--data", str(train.parent)))


def test_a_random_network_has_finite_features_and_its_statistics_are_fixed():
    image = torch.randint(0, 256, (3, 96, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = config("cascade_rcnn_resnet18_fpn", Task((96, 128), proposals=20, classes=3), stages=1)
    thin = {"backbone": replace(whole.backbone, stem=16, planes=16), "pyramid": replace(whole.pyramid, channels=16)}
    model = calibrated(replace(whole, **thin, box_head=replace(whole.box_head, width=32)), image)
    assert isinstance(model.backbone.bn1, FixedBatchNorm)
    assert float(model.backbone.bn1.running_var.std()) > 0
    assert all(bool(level.isfinite().all()) for level in model.features(torch.randn(1, 3, 96, 128)))


def check(content: dict) -> None:
    assert content["quick"]
    assert content["machine"]["processor"]
    rows = [Row(**row) for row in content["rows"]]
    assert rows
    assert all(math.isfinite(row.value) for row in rows)


@pytest.mark.parametrize(("part", "missing"), [(loading, "--data"), (accuracy, "--checkpoints")])
def test_what_cannot_be_measured_says_so_in_one_line(part, missing, tmp_path, capsys):
    part.main(options(None, ["--quick", "--threads", "1", "--output", str(tmp_path)]))
    said = capsys.readouterr().out
    assert missing in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_candidates_take_turns_and_the_warm_up_does_not_count():
    calls = []
    times = interleaved({name: lambda n=name: calls.append(n) for name in "ab"}, repeats=3, warmup=2)
    assert "".join(calls) == "ab" * 5
    assert set(times) == {"a", "b"}


def test_a_row_knows_whether_its_target_is_met():
    assert Row(what="", value=3, unit="s").met is None
    assert Row(what="", value=3, unit="s", bound=4).met
    assert not Row(what="", value=3, unit="s", bound=4, least=True).met
    assert not Row(what="", value=3, unit="s", ratio=0.7, bound=0.6).met


@pytest.mark.parametrize("power", [0.5, 1, 2])
def test_the_exponent_of_growth_does_not_depend_on_a_fixed_cost(power):
    values = [0, 10, 40]
    assert exponent(values, [1 + 0.1 * v**power for v in values]) == pytest.approx(power)
    assert exponent(values, [100, 101, 104]) == 0


def test_the_page_holds_every_part_and_its_numbers(tmp_path):
    row = {"what": "a thing", "value": 12.5, "unit": "ms", "floor": 5.0, "ratio": 0.5, "against": "peer", "bound": 0.4}
    machine = dict.fromkeys(("processor", "cores", "threads", "gpu", "python", "torch", "torchvision", "date"), "x")
    content = {"rows": [row], "notes": ["a note"], "machine": machine, "quick": False, "repeats": 7}
    (tmp_path / "inference.json").write_text(json.dumps(content))
    page = render(tmp_path)
    assert "| a thing | 12.5 ms | 5 | 0.5 (peer) | ≤ 0.4 | **no** |" in page
    assert "- a note" in page
    assert page.count("\n## ") == len(PARTS)
    assert page.count("Not measured.") == len(PARTS) - 1
    assert "restricted" not in page
    content["machine"] |= {"restrictions": {"ATEN_CPU_CAPABILITY": "avx2"}}
    (tmp_path / "inference-restricted.json").write_text(json.dumps(content))
    page = render(tmp_path)
    assert page.count("| a thing |") == 2
    assert page.count("**restricted by ATEN_CPU_CAPABILITY=avx2**") == 1
    main(["--only", "page", "--output", str(tmp_path / "performance")])
    assert (tmp_path / "performance.md").is_file()


@pytest.mark.parametrize("name", ["cascade_rcnn_resnet18_fpn", "faster_rcnn_resnet18_fpn"])
def test_the_parts_of_a_detection_are_known_and_add_up(name: str):
    small = {"backbone_width": 8, "pyramid_channels": 16, "head_width": 32, "proposals": 20, "min_size": None}
    model = create_model(name, 3, **small).for_inference()
    found = parts.breakdown(networks.ours(model), torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8), 2)
    assert set(found) == {
        *("preprocess", "backbone", "pyramid", "RPN convolutions", "RoI features", "box heads", "proposals"),
        *("boxes, scores, NMS", "total"),
    }
    assert all(milliseconds > 0 for milliseconds in found.values())


def test_only_convolutions_and_matrix_products_are_inside():
    image, kernel, square = torch.randn(1, 8, 64, 64), torch.randn(8, 8, 3, 3), torch.randn(256, 256)
    assert parts.outside(lambda: torch.conv2d(image, kernel)) < 20
    assert parts.outside(lambda: square @ square) < 20
    assert parts.outside(lambda: square.sort()) == pytest.approx(100)


def test_a_folder_has_runs_of_one_setting(tmp_path):
    keep_settings(tmp_path / "runs", {"images": 800, "side": None})
    keep_settings(tmp_path / "runs", {"images": 800, "side": None})
    with pytest.raises(SystemExit, match="runs has runs with images 800, not 400; choose another --output"):
        keep_settings(tmp_path / "runs", {"images": 400, "side": None})
