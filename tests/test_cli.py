import json
import os
import re
import signal
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
import tyro

import cascade_rcnn
from cascade_rcnn import cli, create_model
from cascade_rcnn.cli import main
from cascade_rcnn.config import ModelOptions
from cascade_rcnn.config.augmentation import ColorConfig
from cascade_rcnn.data import load_annotations
from cascade_rcnn.data.shapes import write_shapes
from cascade_rcnn.engine.evaluate import measure_targets
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation import load_detections
from cascade_rcnn.files import replacing
from cascade_rcnn.models import checkpoint
from cascade_rcnn.recipes import RECIPES, DataConfig

SHARED = Path(__file__).resolve().parents[1] / "../shared/data"


def fails(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 1) -> str:
    """Return the single stderr line of a command that a user got wrong."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == code
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1, error
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Write one image with one box of one class."""
    PIL.Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    truth = {
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [5, 5, 20, 10], "area": 200, "iscrowd": 0}],
        "categories": [{"id": 3, "name": "cat"}],
    }
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(truth))
    return path


def test_usage_and_version(capsys):
    main(["--help"])
    assert {"train", "evaluate", "predict", "doctor"} <= set(capsys.readouterr().out.split())
    main(["--version"])
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    "name", ["evaluate", "statistics", "predict", "convert", "export", "shapes", "quickstart", "doctor"]
)
def test_every_verb_explains_its_flags(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([name, "--help"])
    assert stopped.value.code == 0
    assert f"cascade-rcnn {name}" in capsys.readouterr().out


def test_train_lists_and_explains_its_recipes(capsys):
    with pytest.raises(SystemExit):
        main(["train"])
    listed = capsys.readouterr().out
    assert all(name in listed for name in RECIPES)
    with pytest.raises(SystemExit):
        main(["train", "small", "--help"])
    text = capsys.readouterr().out
    assert "--data.train" in text
    assert "--optimizer.lr" in text


def test_train_auto_is_listed_explained_and_keeps_the_flags_that_are_given(capsys, monkeypatch):
    from cascade_rcnn.api import train as api

    with pytest.raises(SystemExit):
        main(["train"])
    assert "\n  auto " in capsys.readouterr().out
    asked = []
    monkeypatch.setattr(api, "train", lambda recipe, **how: asked.append((recipe, how)) or sys.exit(0))
    flags = [
        "--epochs",
        "3",
        "--options.min-size=320",
        "--options.no-class-agnostic",
        "--data.flip",
        "0",
        "--init",
        "starter",
        "--logger",
        "wandb",
        "mlflow",
        "--no-fit-batch",
    ]
    with pytest.raises(SystemExit):
        main(["train", "auto", "--data.train", "FOLDER.json", *flags])
    ((recipe, how),) = asked
    data = how.pop("data")
    assert (recipe, data.train, how.pop("augmentation")) == ("auto", "FOLDER.json", (ColorConfig(),))
    options = {"min_size": 320, "class_agnostic": False}
    tests = {"overfit_test": None, "fit_batch": False}
    assert how == {
        "resume": False,
        "logger": ("wandb", "mlflow"),
        **tests,
        "epochs": 3,
        "init": "starter",
        "options": options,
    }


def test_resume_is_said_alone_or_with_auto(capsys, monkeypatch):
    from cascade_rcnn.api import train as api

    asked = []
    monkeypatch.setattr(api, "train", lambda recipe, **how: asked.append(how["resume"]) or sys.exit(0))
    for words in ([], ["--resume"], ["--resume", "auto"], ["--resume", "--epochs", "3"]):
        with pytest.raises(SystemExit):
            main(["train", "small", *words, "--data", "FOLDER"])
    assert asked == [False, True, "auto", True]
    with pytest.raises(SystemExit) as stopped:
        main(["train", "small", "--resume", "always"])
    assert stopped.value.code == 2
    assert "always" in capsys.readouterr().err


def test_a_flag_that_the_start_decides_is_named(capsys):
    with pytest.raises(SystemExit):  # since the data is missing
        main(["train", "finetune", "--weights-backbone", "resnet.pth", "--data", "x.json"])
    said = capsys.readouterr().err
    assert "note: weights_backbone: no effect" in said
    assert "--init None" in said


def test_names_that_do_not_exist_suggest_the_nearest(capsys):
    assert "did you mean 'evaluate'" in fails(capsys, "evalute", code=2)
    assert "did you mean 'quickstart'" in fails(capsys, "train", "quikstart", code=2)
    assert "did you mean 'plan'" in fails(capsys, "study", "plam", code=2)
    assert "did you mean 'cascade_rcnn_resnet18_fpn'" in fails(
        capsys, "train", "small", "--model", "cascade_resnet18_fpn", "--weights-backbone", "None", *data(coco_json())
    )


@pytest.mark.parametrize("words", [["detect"], ["x"], ["train", "resnet"], ["study", "everything"]])
def test_a_name_that_is_near_nothing_suggests_nothing(capsys, words):
    message = fails(capsys, *words, code=2)
    assert "did you mean" not in message
    assert "; known: " in message or "; it has " in message


@pytest.mark.parametrize("words", [["evaluate"], ["predict"], ["statistics"], ["export", "x"], ["doctor"]])
def test_unknown_flags_end_with_code_2(capsys, words):
    with pytest.raises(SystemExit) as stopped:
        main([*words, "--no-such-flag", "1"])
    assert stopped.value.code == 2
    assert "no-such-flag" in capsys.readouterr().err


def test_names_cannot_steer_the_terminal(capsys, coco):
    truth = changed(coco, categories=[{"id": 3, "name": "[/red]\x1b[31m"}])
    main(["evaluate", "--annotations", str(truth), "--detections", str(empty(coco))])
    assert "[/red]\\x1b[31m" in capsys.readouterr().out
    message = fails(
        capsys,
        "evaluate",
        "--annotations",
        str(coco.parent / "\x1b]0;title\x07.json"),
        "--detections",
        str(empty(coco)),
    )
    assert "\\x1b]0;title" in message
    assert "\x1b" not in message


def empty(coco: Path) -> Path:
    path = coco.parent / "empty.json"
    path.write_text("[]")
    return path


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_no_half_file(capsys, tmp_path, monkeypatch, number):
    def verb(_: list[str]) -> None:
        with replacing(tmp_path / "out" / "file.json") as aside:
            aside.write_text("half")
            os.kill(os.getpid(), number)

    monkeypatch.setitem(cli._VERBS, "study", verb)
    with pytest.raises(SystemExit) as stopped:
        main(["study"])
    assert stopped.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert list((tmp_path / "out").iterdir()) == []


def test_crowded_images_are_noted(capsys, coco):
    box = {"image_id": 1, "category_id": 3, "bbox": [5, 5, 20, 10], "area": 200, "iscrowd": 0}
    truth = changed(coco, annotations=[box | {"id": k} for k in range(1, 102)])
    main(["evaluate", "--annotations", str(truth), "--detections", str(empty(coco))])
    assert "a.png has 101 objects of one class; `evaluate --max-detections 101`" in capsys.readouterr().err
    main(["evaluate", "--annotations", str(truth), "--detections", str(empty(coco)), "--max-detections", "101"])
    assert "objects of one class" not in capsys.readouterr().err
    flags = ("--detections", str(empty(coco)), "--max-detections", "0")
    assert "max-detections is 0" in fails(capsys, "evaluate", "--annotations", str(truth), *flags)


_KEPT: list[Path] = []


@pytest.fixture(autouse=True)
def _keep(coco: Path) -> None:
    _KEPT[:] = [coco]


def coco_json() -> Path:
    return _KEPT[0]


def data(train: Path, val: Path | None = None) -> list[str]:
    output = ["--output", str(train.parent / "run"), "--accelerator", "cpu", "--workers", "0", "--batch-size", "1"]
    return ["--data.train", str(train), *(["--data.val", str(val)] if val else []), *output]


def changed(coco: Path, **changes: object) -> Path:
    path = coco.parent / "changed.json"
    path.write_text(json.dumps(json.loads(coco.read_text()) | changes))
    return path


def test_bad_training_data_is_one_line(capsys, coco):
    train = ("train", "small", "--weights-backbone", "None")
    assert "no such file" in fails(capsys, *train, *data(coco.parent / "none.json"))
    (coco.parent / "results.json").write_text('[{"image_id": 1}]')
    assert "results.json" in fails(capsys, *train, *data(coco.parent / "results.json"))
    image = {"id": 1, "file_name": "lost.png", "width": 40, "height": 30}
    assert "lost.png" in fails(capsys, *train, *data(changed(coco, images=[image])))
    other = changed(coco, categories=[{"id": 3, "name": "dog"}])
    message = fails(capsys, *train, *data(coco, other))
    assert "'cat'" in message
    assert "'dog'" in message
    (coco.parent / "broken.png").write_bytes(b"nothing")
    image = {"id": 1, "file_name": "broken.png", "width": 40, "height": 30}
    assert "broken.png: cannot open this image" in fails(capsys, *train, *data(changed(coco, images=[image])))


def test_weights_that_do_not_fit_are_one_line(capsys, coco):
    message = fails(capsys, "train", "small", "--weights-backbone", str(coco.parent / "none.pth"), *data(coco))
    assert "no such checkpoint" in message


def test_evaluate_needs_a_model_or_detections(capsys, coco):
    assert "either --checkpoint" in fails(capsys, "evaluate", "--annotations", str(coco))
    assert "no such checkpoint" in fails(capsys, "evaluate", "--annotations", str(coco), "--checkpoint", "none.pt")
    bad = coco.parent / "bad.json"
    bad.write_text('[{"image_id": 5, "category_id": 3, "bbox": [1, 1, 2, 2], "score": 1}]')
    assert "bad.json" in fails(capsys, "evaluate", "--annotations", str(coco), "--detections", str(bad))


def test_flags_of_a_model_have_no_effect_on_detections(capsys, coco, tmp_path):
    (tmp_path / "found.json").write_text("[]")
    flags = ["--annotations", str(coco), "--detections", str(tmp_path / "found.json")]
    said = fails(capsys, "evaluate", *flags, "--min-size", "99", "--trust")
    assert "--min-size, --trust: no effect with --detections" in said


def test_report_takes_one_run_or_two(capsys, tmp_path):
    run = str(tmp_path)
    assert "0 runs given; give the folder of one training run, or of two" in fails(capsys, "report")
    assert "3 runs given" in fails(capsys, "report", run, run, run)
    assert "--threshold: no effect with two runs" in fails(capsys, "report", run, run, "--threshold", "0.5")
    assert "--stage-images: no effect with two runs" in fails(capsys, "report", run, run, "--stage-images", "0")
    assert "not the folder of a training run" in fails(capsys, "report", run)


def test_look_needs_data(capsys):
    assert "no data given; give a dataset folder" in fails(capsys, "look", code=2)


def test_predict_mistakes_are_one_line(capsys, coco):
    output = str(coco.parent / "out")
    flags = ("--checkpoint", "none.safetensors", "--output", output)
    assert "no images found" in fails(capsys, "predict", str(coco.parent / "x*.png"), *flags)
    assert "no such checkpoint" in fails(capsys, "predict", str(coco.parent / "a.png"), *flags)
    assert "the value is empty, like that of an unset variable" in fails(capsys, "predict", "", *flags)
    for threshold in ("nan", "2", "-1", "inf"):
        given = fails(capsys, "predict", str(coco.parent / "a.png"), *flags, "--threshold", threshold)
        assert f"threshold is {float(threshold)}; give 0 to 1" in given


def test_a_torchvision_of_another_build_is_explained(capsys, monkeypatch):
    def broken(*_: object) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("cascade_rcnn.cli._run", broken)
    assert "cascade-rcnn doctor" in fails(capsys, "evaluate")


def test_evaluate_detections_prints_and_writes_the_published_metrics(capsys, tmp_path):
    folder = SHARED / "coco_eval"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    truth = folder / "instances_val2014_100.json"
    found = folder / "instances_val2014_fakebbox100_results.json"
    main(["evaluate", "--annotations", str(truth), "--detections", str(found), "--output", str(tmp_path / "out.json")])
    written = json.loads((tmp_path / "out.json").read_text())
    assert (round(written["ap"], 3), round(written["ap50"], 3), round(written["ap75"], 3)) == (0.505, 0.697, 0.573)
    assert "0.505" in capsys.readouterr().out


def test_train_evaluate_predict_end_to_end(capsys, tmp_path):
    main(["shapes", str(tmp_path / "shapes"), "--train", "6", "--val", "3", "--size", "64"])
    shapes, run = tmp_path / "shapes", tmp_path / "run"
    tiny = ["--options.backbone-width", "8", "--options.pyramid-channels", "8", "--options.head-width", "16"]
    tiny += ["--options.rois", "16"]
    flags = ["--epochs", "1", "--batch-size", "2", "--workers", "0", "--accelerator", "cpu", "--output", str(run)]
    sets = ["--data.train", str(shapes / "train.json"), "--data.val", str(shapes / "val.json")]
    main(["train", "shapes", *tiny, *flags, *sets])
    assert "cascade-rcnn predict" in capsys.readouterr().out  # the next step
    assert (run / "curve.png").exists()
    assert (run / "report" / "report.html").exists()
    checkpoint = ["--checkpoint", str(run / "last.safetensors")]
    figures, found = tmp_path / "figures.json", tmp_path / "found"
    main(["evaluate", *checkpoint, "--annotations", str(shapes / "val.json"), "--output", str(figures),
          "--save-detections", str(tmp_path / "dets.json"), "--workers", "0"])  # fmt: skip
    again = tmp_path / "again.json"
    main(["evaluate", "--annotations", str(shapes / "val.json"), "--detections", str(tmp_path / "dets.json"),
          "--output", str(again)])  # fmt: skip
    assert json.loads(figures.read_text()) == json.loads(again.read_text())
    capsys.readouterr()
    main(["predict", str(shapes / "images" / "val"), *checkpoint, "--output", str(found)])
    assert len(list((found / "pictures").iterdir())) == 3
    rows = json.loads((found / "detections.json").read_text())
    assert capsys.readouterr().out.startswith(f"3 images, {len(rows)} detection")
    # The settings that it wrote train again, and users are told how to train longer.
    again = ["train", str(run / "recipe.json"), "--data.val", "", "--output", str(tmp_path / "again")]
    main(again)
    before, after = (json.loads((folder / "recipe.json").read_text()) for folder in (run, tmp_path / "again"))
    assert {name for name in before if before[name] != after[name]} == {"data", "output"}
    longer = ["train", str(run / "recipe.json"), "--epochs", "2"]
    capsys.readouterr()
    message = fails(capsys, *longer, "--resume")
    assert f"--init {run / 'last.safetensors'}" in message
    main([*longer, "--init", str(run / "last.safetensors"), "--output", str(tmp_path / "longer"), "--no-report"])
    assert not (tmp_path / "longer" / "report").exists()
    assert json.loads((tmp_path / "longer" / "results.json").read_text())["epochs"] == 2


@pytest.mark.parametrize("content", ["[]", '{"model": 5}', '{"epochs": "x"}', "{", '{"optimizer": {"lr": []}}'])
def test_another_json_is_not_a_recipe(capsys, tmp_path, content):
    path = tmp_path / "recipe.json"
    path.write_text(content)
    assert "recipe.json: not " in fails(capsys, "train", str(path))


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Write five images of `shapes` as VOC, three of them in the split `test`, not in alphabetical order."""
    truth = load_annotations(write_shapes(tmp_path / "shapes", train=5, val=1, size=64) / "train.json")
    root = tmp_path / "voc"
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / name).mkdir(parents=True)
    for i in range(5):
        (root / "JPEGImages" / f"{i}.png").write_bytes(truth.path(i).read_bytes())
        rows = zip(truth.boxes[truth.rows(i)].tolist(), truth.labels[truth.rows(i)].tolist(), strict=True)
        objects = "".join(
            f"<object><name>{truth.categories[label - 1].name}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin>"
            f"<xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
            for (x, y, w, h), label in rows
        )
        size = "<size><width>64</width><height>64</height></size>"
        xml = f"<annotation><filename>{i}.png</filename>{size}{objects}</annotation>"
        (root / "Annotations" / f"{i}.xml").write_text(xml)
    (root / "ImageSets" / "Main" / "test.txt").write_text("4\n0\n3\n")
    (root / "ImageSets" / "Main" / "train.txt").write_text("1\n2\n")
    return root


def test_predictions_evaluate_to_the_metrics_of_their_checkpoint_to_the_last_digit(capsys, tmp_path, voc):
    truth = load_annotations(voc, split="test")
    torch.manual_seed(0)
    sizes = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 8, "proposals": 50, "score_threshold": 0.0}
    model = create_model("cascade_rcnn_resnet18_fpn", categories=truth.categories, min_size=64, **sizes)
    checkpoint.save(model, tmp_path / "model.safetensors")
    flags = ["--checkpoint", str(tmp_path / "model.safetensors"), "--device", "cpu"]
    split = ["--annotations", str(voc), "--split", "test"]
    saved = tmp_path / "saved.json"
    main(["evaluate", *flags, *split, "--workers", "0", "--output", str(tmp_path / "1.json"),
          "--save-detections", str(saved)])  # fmt: skip
    expected = json.loads((tmp_path / "1.json").read_text())
    assert expected["ap"] > 0
    only = tmp_path / "only"  # only the images of the split, with ids 1, 2, 3 by name
    only.mkdir()
    for name in ("0.png", "3.png", "4.png"):
        (only / name).write_bytes((voc / "JPEGImages" / name).read_bytes())
    by_split, by_both, by_folder = split, [str(voc / "JPEGImages"), *split], [str(only)]
    for number, sources in enumerate((by_split, by_both, by_folder)):
        found = tmp_path / f"found{number}"
        main(["predict", *sources, *flags, "--output", str(found), "--no-pictures"])
        figures = tmp_path / f"figures{number}.json"
        main(["evaluate", *split, "--detections", str(found / "detections.json"), "--output", str(figures)])
        assert json.loads(figures.read_text()) == expected
        mine, theirs = (load_detections(path, truth) for path in (found / "detections.json", saved))
        assert sorted(mine.tolist()) == sorted(theirs.tolist())
    assert "skipped 2 images: not in the annotations" in capsys.readouterr().err
    main(["predict", str(voc / "JPEGImages"), *flags, "--output", str(tmp_path / "all"), "--no-pictures"])
    capsys.readouterr()
    refused = fails(capsys, "evaluate", *split, "--detections", str(tmp_path / "all" / "detections.json"))
    assert "1.png is not an image of" in refused
    missing = fails(capsys, "predict", *flags, "--annotations", str(voc), "--output", str(tmp_path / "x"))
    assert "--split" in missing


def test_statistics_are_printed_as_the_flags_that_training_takes(capsys, tmp_path):
    """A model that moves nothing, with two stages: the statistics of its targets, and flags that parse back to them."""
    shapes = write_shapes(tmp_path / "shapes", train=3, val=1, size=64, seed=0)
    truth = load_annotations(shapes / "train.json")
    torch.manual_seed(0)
    sizes = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 8, "min_size": None, "proposals": 500}
    stages = {"stage_ious": (0.5, 0.55), "anchor_sizes": (8, 16, 24, 32, 48)}
    model = create_model("cascade_rcnn_resnet18_fpn", categories=truth.categories, semantics="paper", **sizes, **stages)
    for head in model.roi_heads.heads:
        torch.nn.init.zeros_(head.regressor.weight)
    checkpoint.save(model, tmp_path / "model.safetensors")
    flags = ["--checkpoint", str(tmp_path / "model.safetensors"), "--annotations", str(shapes / "train.json")]
    main(["statistics", *flags, "--workers", "0", "--device", "cpu"])
    first, second, *options = capsys.readouterr().out.splitlines()
    before = torch.get_rng_state()
    expected = measure_targets(tmp_path / "model.safetensors", truth, 1, 0, "cpu")
    assert torch.equal(torch.get_rng_state(), before)
    assert first.startswith("stage 1: mean ")
    assert f"({len(expected.deltas[1])} positives)" in second
    words = " ".join(options).replace("--options.", "--").split()
    parsed = tyro.cli(ModelOptions, args=words)
    assert np.array(parsed.stage_means) == pytest.approx(np.array(expected.mean), abs=1e-4)
    assert np.array(parsed.stage_stds) == pytest.approx(np.array(expected.std), abs=1e-4)
    assert np.array(parsed.stage_stds).shape == (2, 4)
    assert "workers is -1; give 0 or more" in fails(capsys, "statistics", *flags, "--workers", "-1")
    assert "batch_size is 0; give 1 or more" in fails(capsys, "statistics", *flags, "--batch-size", "0")


def test_convert_wants_a_direction_and_the_right_endings(capsys, tmp_path):
    assert "either --from" in fails(capsys, "convert", "model.pth", "--output", "x.safetensors")
    flags = ("--from", "torchvision")
    assert "a .safetensors file" in fails(capsys, "convert", "model.pth", *flags, "--output", "x.pth")
    missing = fails(capsys, "convert", "none.pth", *flags, "--output", str(tmp_path / "x.safetensors"))
    assert "none.pth: no such checkpoint" in missing


def test_convert_brings_in_and_takes_out(capsys, peers_folder, peer_weights, tmp_path):
    ours, theirs, again = (tmp_path / name for name in ("ours.safetensors", "theirs.pth", "again.safetensors"))
    config = ("--config", str(peers_folder / "detectron2" / "cascade_thin" / "config.yaml"))
    main(["convert", str(peer_weights["detectron2"]), "--from", "detectron2", *config, "--output", str(ours)])
    main(["convert", str(ours), "--to", "detectron2", "--output", str(theirs)])
    main(["convert", str(theirs), "--from", "detectron2", *config, "--output", str(again)])
    first, second = (cascade_rcnn.load(path) for path in (ours, again))
    assert first.config == second.config
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)
    wrong = fails(capsys, "convert", str(theirs), "--from", "mmdet", "--output", str(again))
    assert "this looks like a detectron2 checkpoint: use --from detectron2" in wrong
    refused = fails(capsys, "convert", str(ours), "--to", "detectron2", *config, "--output", str(tmp_path / "x.pth"))
    assert "--config: no effect with --to; leave it out" in refused


def test_convert_takes_the_classes_from_annotations(capsys, peer_weights, peers_folder, tmp_path):
    folder = cascade_rcnn.write_shapes(tmp_path / "shapes", train=2, val=1, size=64)
    source = str(peer_weights["detectron2"])
    flags = ("--from", "detectron2", "--config", str(peers_folder / "detectron2" / "cascade_thin" / "config.yaml"))
    number = cascade_rcnn.convert_checkpoint(source, "detectron2", config=flags[3]).config.num_classes
    categories = [{"id": 10 * k, "name": f"part {k}"} for k in range(1, number + 1)]
    for name in ("train", "val"):
        file = json.loads((folder / f"{name}.json").read_text())
        (folder / f"{name}.json").write_text(json.dumps(file | {"categories": categories, "annotations": []}))
    for given, output in ((folder, "a"), (folder / "val.json", "b")):
        ours = tmp_path / f"{output}.safetensors"
        main(["convert", source, *flags, "--annotations", str(given), "--output", str(ours)])
        assert [one.id for one in cascade_rcnn.load(ours).config.categories] == [10 * k for k in range(1, number + 1)]
    wrong = fails(capsys, "convert", source, *flags, "--annotations", str(tmp_path / "none"), "--output", str(ours))
    assert "none: no such file or folder" in wrong


@pytest.fixture
def trained_on(coco, monkeypatch) -> list[DataConfig]:
    """Make splits beside the data, and record the data of each training instead of running it."""
    for split in ("train", "valid"):
        (coco.parent / split).mkdir()
        (coco.parent / split / "_annotations.coco.json").write_text(coco.read_text())
    given: list[DataConfig] = []

    def train(recipe, **_):
        given.append(recipe.data)
        raise UserError("enough")

    monkeypatch.setattr("cascade_rcnn.api.train.run_training", train)
    return given


def test_train_takes_a_folder_that_names_its_splits(capsys, coco, trained_on):
    folder = str(coco.parent)
    assert "enough" in fails(capsys, "train", "small", "--data", folder, "--data.flip", "0")
    (data,) = trained_on
    assert (data.train, data.train_split, data.val, data.val_split) == (folder, "train", folder, "valid")
    assert (data.flip, data.bad_images) == (None, "stop")


def test_validation_data_may_be_given_beside_a_folder(capsys, coco, trained_on):
    folder, own = str(coco.parent), ("--data.val", str(coco), "--data.val-split", "x")
    for flags in (("small", "--data", folder, *own), ("small", *own, "--data", folder)):
        assert "enough" in fails(capsys, "train", *flags)
        assert (trained_on[-1].train, trained_on[-1].train_split) == (folder, "train")
        assert (trained_on[-1].val, trained_on[-1].val_split) == (str(coco), "x")
    for flags in (("--data.train", str(coco)), ("--data.train-split", "valid"), ("--data.val_split", "x")):
        said = fails(capsys, "train", "small", "--data", folder, *flags)
        assert f"{flags[0].replace('_', '-')}: --data decides this; give --data.train and --data.val instead" in said
    assert len(trained_on) == 2


def test_new_paths_do_not_keep_the_images_and_splits_of_a_runs_recipe(capsys, coco, tmp_path, trained_on):
    places = {"train_images": "old", "train_split": "train", "val_images": "old", "val_split": "valid"}
    before = {"train": "old", "val": "old", "repeat_rare": 0.1, **places}
    (tmp_path / "recipe.json").write_text(json.dumps({"data": before}))
    new, file = ("--data.train", str(coco)), str(tmp_path / "recipe.json")
    for flags, kept in (
        (new, {"val_images": "old", "val_split": "valid"}),
        ((*new, "--data.train-images", "b"), {"train_images": "b", "val_images": "old", "val_split": "valid"}),
        ((*new, "--data.val", str(coco)), {}),
        (("--data", str(coco.parent)), {"train_split": "train", "val_split": "valid"}),
        ((), places),
    ):
        assert "enough" in fails(capsys, "train", file, *flags)
        assert {name: getattr(trained_on[-1], name) for name in places} == dict.fromkeys(places) | kept
        assert trained_on[-1].repeat_rare == 0.1
    for data, kept in (({"train": str(coco)}, {"val_images": "old", "val_split": "valid"}), (str(coco), {})):
        with pytest.raises(UserError, match="enough"):
            cascade_rcnn.train(file, data=data)
        assert {name: getattr(trained_on[-1], name) for name in places} == dict.fromkeys(places) | kept


def test_bad_images_stop_an_evaluation_or_are_left_out(capsys, coco, tmp_path):
    from cascade_rcnn import create_model
    from cascade_rcnn.config import Category
    from cascade_rcnn.models.checkpoint import save

    sizes = {"pyramid_channels": 8, "head_width": 8, "backbone_width": 8, "proposals": 4, "rois": 4, "min_size": 32}
    classes = (Category(id=3, name="cat"),)
    model = create_model("faster_rcnn_resnet18_fpn", categories=classes, weights_backbone=None, **sizes)
    save(model, tmp_path / "m.safetensors")
    images = [{"id": i, "file_name": f"{'ab'[i - 1]}.png", "width": 40, "height": 30} for i in (1, 2)]
    flags = ["evaluate", "--checkpoint", str(tmp_path / "m.safetensors"), "--workers", "0"]
    flags += ["--annotations", str(changed(coco, images=images))]
    assert "1 of 2 images cannot be used" in fails(capsys, *flags)
    main([*flags, "--bad-images", "skip"])
    written = capsys.readouterr()
    assert "they are skipped" in written.err
    assert "1 image, 1 box" in written.out
    assert "cannot be used" in fails(capsys, *flags, "--bad-images", "skip", "--max-megapixels", "0.001")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 3 TiB"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes\nmore"),
    ],
)
def test_a_command_that_is_out_of_memory_ends_with_one_line(error, monkeypatch, capsys):
    def doctor() -> None:
        raise error

    monkeypatch.setitem(cli._VERBS, "doctor", doctor)
    line = fails(capsys, "doctor")
    assert line.startswith("error: out of memory (")
    assert "allocate" in line
    assert line.endswith("use smaller images, a lower --batch-size or fewer --workers")
    monkeypatch.setitem(cli._VERBS, "export", doctor)
    assert fails(capsys, "export").endswith("; give a smaller --size")


def test_an_error_of_the_system_names_the_file_and_has_no_number(monkeypatch, capsys):
    def name_it(arguments):
        raise OSError(36, "File name too long", arguments[0])

    monkeypatch.setitem(cli._VERBS, "train", name_it)
    assert fails(capsys, "train", "x" * 300) == f"error: {'x' * 300}: File name too long"


def test_a_folder_that_is_gone_is_reported(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert "current folder does not exist" in fails(capsys, "doctor")


def test_help_on_a_terminal_of_a_few_columns(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "3")
    with pytest.raises(SystemExit) as stopped:
        main(["doctor", "--help"])
    assert stopped.value.code == 0
    assert "cascade-rcnn doctor" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (["look", ""], "the first argument"),
        (["predict", "--checkpoint", "starter", "--output", ""], "--output"),
        (["predict", "--output=", "photo.jpg"], "--output"),
        (["train", "small", "--output", ""], "--output"),
    ],
)
def test_an_empty_value_is_not_the_current_folder(words, where, capsys):
    line = fails(capsys, *words)
    said = "the value is empty, like that of an unset variable; as a path, write . for the current folder"
    assert line == f"error: {where}: {said}"


def test_a_rank_that_is_no_number_is_reported_only_by_what_needs_it(monkeypatch, capsys, coco):
    monkeypatch.setenv("RANK", "abc")
    main(["study", "list"])
    assert "table1" in capsys.readouterr().out
    line = fails(capsys, "train", "small", "--data.train", str(coco))
    assert line == "error: RANK is 'abc' in the environment; set it to a number, or unset it"


def test_other_value_errors_are_not_explained_away(monkeypatch):
    monkeypatch.setenv("RANK", "abc")

    def doctor() -> None:
        raise ValueError("a bug")

    monkeypatch.setitem(cli._VERBS, "doctor", doctor)
    with pytest.raises(ValueError, match="a bug"):
        main(["doctor"])
