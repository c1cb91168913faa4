"""`cascade-rcnn weights`, and names of published detectors in other commands."""

import json
import re
from pathlib import Path

import pytest

from cascade_rcnn.cli import main
from cascade_rcnn.config import ModelConfig
from cascade_rcnn.errors import UserError
from cascade_rcnn.hub.table import published, table
from cascade_rcnn.models.checkpoint import load, save
from cascade_rcnn.models.create import create_model

NAME = "mmdet/cascade-rcnn_r50_fpn_1x_coco"


@pytest.fixture
def kept(cache):
    """Store a detector in place of a published one, as an earlier use would have."""
    tiny = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 16, "min_size": 64}
    path = cache / "weights" / str(table().conversion) / f"{NAME}.safetensors"
    model = create_model("cascade_rcnn_resnet18_fpn", categories=["cat", "dog"], **tiny)
    save(model, path)
    return path, model.config


def run(capsys, *arguments: str) -> str:
    main(arguments)
    return capsys.readouterr().out


def test_the_list_says_what_is_usable_and_what_is_here(cache, kept, capsys):
    head, *rows, _, last = run(capsys, "weights").splitlines()
    assert head.split() == ["box", "AP", "mask", "AP", "MB", "cached", "backbone", "data", "licence", "name"]
    names = [row.split()[-1] for row in rows]
    assert len(names) == len(set(names))
    assert [published()[name].box_ap for name in names] == sorted((published()[n].box_ap for n in names), reverse=True)
    (mine,) = [row for row in rows if row.endswith(f" {NAME}")]
    assert "yes" in mine.split()
    assert sum("yes" in row.split() for row in rows) == 1
    assert last.startswith(f"{len(rows)} detectors; ")
    assert last.endswith(f"{len(published()) - len(rows)} others cannot be used yet: --all")


def test_the_whole_list_says_why_not(cache, capsys):
    *rows, _, last = run(capsys, "weights", "--all").splitlines()[1:]
    assert len(rows) == len(published())
    (one,) = [row for row in rows if " mmdet/htc_r50_fpn_1x_coco " in row]
    assert one.endswith("(model.type is 'HybridTaskCascade')")
    assert "others" not in last


def test_the_list_for_programs(cache, kept, capsys):
    found = {entry["name"]: entry for entry in json.loads(run(capsys, "weights", "--json", "--all"))}
    assert found.keys() == published().keys()
    entry = found["detectron2/cascade_mask_rcnn_R_50_FPN_3x"]
    assert entry == entry | {
        "box_ap": 44.3,
        "mask_ap": 38.5,
        "licence": "CC BY-SA 3.0",
        "backbone": "R50",
        "dataset": "COCO",
        "cached": False,
        "megabytes": 288,
        "url": "https://dl.fbaipublicfiles.com/detectron2/Misc/cascade_mask_rcnn_R_50_FPN_3x/144998488/model_final_480dd8.pkl",
    }
    assert found[NAME]["cached"] is True


def test_one_is_printed_by_its_path(kept, capsys):
    path, _ = kept
    assert run(capsys, "weights", NAME) == f"{path}\n"
    found = json.loads(run(capsys, "weights", NAME, "--json"))
    assert (found["path"], found["box_ap"]) == (str(path), 40.3)


@pytest.mark.parametrize("position", [0, 1, 3])
def test_offline_nothing_is_fetched(position, cache, capsys, monkeypatch):
    for name in ("CASCADE_RCNN_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "")  # the command sets these, and monkeypatch restores them
    arguments = ["weights", "torchvision/fasterrcnn_resnet50_fpn", "--json"]
    arguments.insert(position, "--offline")
    with pytest.raises(SystemExit):
        main(arguments)
    said = capsys.readouterr().err
    assert said == (
        "error: torchvision/fasterrcnn_resnet50_fpn is not cached, and --offline or CASCADE_RCNN_OFFLINE is set: "
        "download https://download.pytorch.org/models/fasterrcnn_resnet50_fpn_coco-258fb6c6.pth by other means and "
        f"put it into {cache / 'originals'} under the same name\n"
    )


def test_a_name_that_does_not_exist(cache, capsys):
    with pytest.raises(SystemExit):
        main(["weights", "torchvision/fasterrcnn_resnet50"])
    assert "no such checkpoint; did you mean 'torchvision/fasterrcnn_resnet50_fpn'?" in capsys.readouterr().err


def test_the_best_model_of_a_run_that_has_none(tmp_path, capsys):
    last = tmp_path / "last.safetensors"
    last.touch()
    with pytest.raises(SystemExit):
        main(["export", str(tmp_path / "best.safetensors"), "--format", "onnx"])
    assert f"no such checkpoint; the run has not evaluated a model yet; give {last}" in capsys.readouterr().err


def test_a_folder_names_the_checkpoint_in_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    for name in ("last.safetensors", "best.safetensors"):
        Path("run", name).touch()
    for folder, advice in (("run", f", such as {Path('run', 'best.safetensors')}"), (".", "")):
        with pytest.raises(UserError, match=f"^{re.escape(f'{folder}: is a folder; give a checkpoint{advice}')}$"):
            load(folder)


def test_an_export_of_a_name_lies_in_the_working_folder(kept, capsys, monkeypatch, tmp_path):
    from cascade_rcnn.api import export as module

    asked = []

    def export(checkpoint, output, request):
        asked.append((str(checkpoint), str(output)))
        difference = "none"
        return type(
            "Report", (), {"path": output, "megabytes": 1.0, "difference": difference, "ap": None, "masks_ap": None}
        )

    monkeypatch.setattr(module, "export", export)
    monkeypatch.chdir(tmp_path)
    run(capsys, "export", NAME)
    run(capsys, "export", str(kept[0]), "--format", "openvino")
    assert asked == [
        (NAME, "cascade-rcnn_r50_fpn_1x_coco.onnx"),
        (str(kept[0]), str(kept[0].with_suffix(".xml"))),
    ]


def test_a_training_starts_from_a_name(kept, tmp_path, capsys):
    from cascade_rcnn.data.shapes import write_shapes
    from cascade_rcnn.models.checkpoint import read_config

    write_shapes(tmp_path / "shapes", train=4, val=2, size=64, seed=0)
    data = tmp_path / "shapes"
    flags = ["--epochs", "1", "--batch-size", "2", "--workers", "0", "--no-report", "--output", str(tmp_path / "run")]
    main(["train", "small", "--init", NAME, "--data", str(data), *flags])
    config: ModelConfig = read_config(tmp_path / "run" / "last.safetensors")
    assert config.name == kept[1].name
    assert f"architecture and weights are those of {NAME}; 4 of 4 classes start from scratch" in "".join(
        capsys.readouterr()
    )
