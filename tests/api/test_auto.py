"""`auto`: which model it starts from, which settings it keeps, and that it trains."""

import json
from pathlib import Path

import pytest

from cascade_rcnn import UserError, auto_recipe, create_model, find_recipe, load, load_annotations, save, train
from cascade_rcnn.api import auto
from cascade_rcnn.api.recipes import without_effect
from cascade_rcnn.auto.rules import Machine
from cascade_rcnn.hub.table import published
from cascade_rcnn.hub.weights import place
from cascade_rcnn.recipes import with_changes
from cascade_rcnn.recipes.finetuning import finetune

THIN = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 8, "proposals": 20, "rois": 8, "min_size": 64}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Disable downloads and use an empty cache."""
    monkeypatch.setenv("CASCADE_RCNN_OFFLINE", "1")
    monkeypatch.setenv("CASCADE_RCNN_CACHE", str(tmp_path / "cache"))


def test_a_cpu_without_the_published_cascade_starts_from_the_starter(shapes):
    chosen = auto_recipe(load_annotations(shapes / "train.json"), accelerator="cpu")
    assert chosen.recipe.init == "starter"
    words = " ".join(str(chosen).splitlines()[1].split())
    why = f"the small model for CPUs, as {finetune().init} is not available; --init NAME selects another"
    assert words == f"--init starter {why}"


@pytest.mark.parametrize("given", [{"epochs": 0}, {"accumulate": 0}, {"batch_size": 0}, {"devices": 0}])
def test_numbers_out_of_range_are_one_line(shapes, given):
    (name,) = given
    with pytest.raises(UserError, match=f"{name} is 0; give 1"):
        auto_recipe(load_annotations(shapes / "train.json"), init="starter", accelerator="cpu", **given)


def test_a_cascade_in_the_cache_is_what_it_starts_from(shapes):
    name = finetune().init
    assert name is not None
    kept = place(published()[name])
    kept.parent.mkdir(parents=True)
    save(create_model("cascade_rcnn_resnet18_fpn", 2, anchor_sizes=(8, 16, 32, 64, 128), **THIN), kept)
    chosen = auto_recipe(load_annotations(shapes / "train.json"), accelerator="cpu")
    assert chosen.recipe.init == name
    assert chosen.recipe.optimizer.lr == finetune().optimizer.lr


def test_a_model_of_an_earlier_run_learns_as_the_starter_did(shapes, tmp_path):
    save(load("starter"), tmp_path / "best.safetensors")
    chosen = auto_recipe(load_annotations(shapes / "train.json"), init=str(tmp_path / "best.safetensors"))
    assert chosen.recipe.optimizer.lr == find_recipe("quickstart").optimizer.lr


def test_a_gpu_without_a_start_says_what_to_fetch(shapes, monkeypatch):
    monkeypatch.setattr(auto, "_machine", lambda recipe: Machine(gpu_memory=16.0))
    with pytest.raises(UserError, match=r"https://.*or start from another model with --init FILE") as caught:
        auto_recipe(load_annotations(shapes / "train.json"))
    assert "\n" not in str(caught.value)


def test_a_path_in_the_place_of_annotations_is_refused():
    with pytest.raises(UserError, match="annotations is a str; give what"):
        auto_recipe("train.json")


def test_a_model_by_name_starts_from_its_backbone(shapes):
    chosen = auto_recipe(load_annotations(shapes / "train.json"), model="cascade_rcnn_resnet18_fpn", accelerator="cpu")
    assert (chosen.recipe.init, chosen.recipe.model) == (None, "cascade_rcnn_resnet18_fpn")


def test_it_counts_the_processes_that_torchrun_has_started(shapes, monkeypatch):
    annotations = load_annotations(shapes / "train.json")
    expected = auto_recipe(annotations, init="starter", accelerator="cpu", devices=4)
    for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"):
        monkeypatch.setenv(name, "4")
    found = auto_recipe(annotations, init="starter", accelerator="cpu")
    assert found.recipe.epochs == expected.recipe.epochs
    texts = [[choice.why for choice in one.choices if choice.name == "epochs"] for one in (found, expected)]
    assert texts[0] == texts[1]


def test_settings_of_one_s_own_are_given(shapes):
    chosen = auto_recipe(load_annotations(shapes / "train.json"), init="starter", epochs=2, options={"max_size": 99})
    why = {choice.name: choice.why for choice in chosen.choices}
    assert (why["epochs"], why["init"], why["options.max_size"]) == ("given", "given", "given")
    assert (chosen.recipe.epochs, chosen.recipe.options.max_size) == (2, 99)


def test_it_trains_prints_its_choices_and_goes_on_with_them(shapes, tmp_path, capsys):
    save(
        create_model("cascade_rcnn_resnet18_fpn", 2, anchor_sizes=(8, 16, 32, 64, 128), **THIN),
        tmp_path / "start.safetensors",
    )
    own = {"init": tmp_path / "start.safetensors", "output": tmp_path / "run", "workers": 0, "accelerator": "cpu"}
    result = train("auto", data=shapes, epochs=1, precision="fp32", **own)
    printed = capsys.readouterr().err
    assert "auto: 8 images of 64 x 64 pixels" in printed
    assert "--epochs 1 " in printed
    written = json.loads((result.output / "recipe.json").read_text())
    assert (written["batch_size"], written["init"]) == (4, str(own["init"]))
    assert result.metrics is not None
    again = train("auto", data=shapes, resume=True, epochs=1, precision="fp32", **own)
    assert again.output == result.output
    assert "auto:" not in capsys.readouterr().err
    assert json.loads((result.output / "recipe.json").read_text()) == written


def test_large_scale_jitter_is_a_setting_of_the_data(recipe, shapes):
    result = train(
        recipe, data={"train": str(shapes / "train.json"), "jitter": [0.5, 1.5], "jitter_size": 96, "flip": 0.0}
    )
    written = json.loads((result.output / "recipe.json").read_text())
    assert written["augmentation"][-1] == {"type": "scale_jitter", "scale": [0.5, 1.5], "size": 96}
    assert "horizontal_flip" not in [one["type"] for one in written["augmentation"]]


def test_auto_is_not_a_recipe_without_data():
    with pytest.raises(UserError, match=r"cascade_rcnn\.auto_recipe\(annotations\)"):
        find_recipe("auto")


def test_a_setting_that_the_start_decides_is_named():
    recipe = with_changes(find_recipe("small"), {"init": "starter", "options": {"min_size": 320}})
    (note,) = without_effect(recipe, {"model", "options.head", "options.min_size", "epochs"})
    assert note.startswith("model, options.head: no effect, as the model comes from starter;")
    assert "--init None" in note
    assert without_effect(recipe, {"options.min_size", "epochs"}) == []
    (note,) = without_effect(recipe, {"options.anchor_ratios"})  # the default, which means those of the start
    assert note.startswith("options.anchor_ratios: no effect, as the model comes from starter;")
    assert without_effect(find_recipe("small"), {"model"}) == []
    memory = with_changes(recipe, {"options": {"checkpointing": True}})
    assert without_effect(memory, {"options.checkpointing"}) == []
