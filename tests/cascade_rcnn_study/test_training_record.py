"""training.json, by which finished runs are recognised."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cascade_rcnn.data import load_annotations
from cascade_rcnn.errors import UserError
from cascade_rcnn.files import read_json, write_json
from cascade_rcnn.recipes.files import read_recipe
from cascade_rcnn_study.study_folder import StudyFolder
from cascade_rcnn_study.training_record import (
    check_reusable,
    data_id,
    planned_record,
    read_records,
    settings_of,
)

A = {"id": "a", "masks": None}


def test_a_record_says_what_was_trained_on_what(finished):
    record = StudyFolder(finished).run("baseline", 0).read("training.json")
    assert record["model"] == "faster_rcnn_resnet18_fpn"
    assert record["data"]["val"]["images"] == 3
    assert record["training_seconds"] > 0
    assert record["size_mib"] > 0


def test_an_id_is_of_the_content(base, tmp_path):
    val = load_annotations(base.data.val)
    assert data_id(load_annotations(base.data.train)) != data_id(val)
    write_json(tmp_path / "moved.json", read_json(base.data.val))
    moved = load_annotations(tmp_path / "moved.json", Path(base.data.val).parent / "images")
    assert data_id(moved) == data_id(val)


def test_settings_leave_out_the_machine_and_the_seed(base):
    elsewhere = replace(base, workers=7, accelerator="cuda", precision="bf16", output="there", seed=9, save_every=1)
    assert settings_of(elsewhere) == settings_of(base)
    assert settings_of(replace(base, weights_backbone="a.pth"))["pretrained"] is True
    assert settings_of(replace(base, batch_size=3)) != settings_of(base)


def test_weights_are_identified_by_their_content(base, tmp_path):
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    one, same, other = (settings_of(replace(base, weights_backbone=str(tmp_path / name))) for name in "abc")
    assert one == same != other
    run = StudyFolder(tmp_path).run("cascade", 0)
    run.write("training.json", {"settings": one, "data": {}})
    check_reusable(run, replace(base, weights_backbone=str(tmp_path / "b")), {})
    with pytest.raises(UserError, match="was trained with weights"):
        check_reusable(run, replace(base, weights_backbone=str(tmp_path / "c")), {})
    del one["weights"]  # as in records of earlier versions
    run.write("training.json", {"settings": one, "data": {}})
    check_reusable(run, replace(base, weights_backbone=str(tmp_path / "c")), {})


def test_a_run_that_differs_is_not_reused(base, tmp_path):
    run = StudyFolder(tmp_path).run("cascade", 0)
    check_reusable(run, base, {"val": A})  # has not been trained
    run.write("training.json", {"settings": settings_of(base), "data": {"val": {"id": "a"}}})
    check_reusable(run, base, {"val": A})
    with pytest.raises(UserError, match="cascade-seed0: this run was trained with other val data"):
        check_reusable(run, base, {"val": A | {"id": "b"}})
    older = settings_of(base)
    del older["augmentation"]
    del older["options"]["agnostic_nms"]  # as if it were a later option
    older["data"] = {"flip": 0.5, "photometric": 0.0}  # the format of records before augmentation was a list
    run.write("training.json", {"settings": older, "data": {"val": {"id": "a"}}})
    check_reusable(run, replace(base, data=replace(base.data, flip=0.5, photometric=0.0)), {"val": A})
    with pytest.raises(UserError, match="was trained with augmentation"):
        check_reusable(run, replace(base, augmentation=()), {"val": A})
    slower = replace(base, optimizer=replace(base.optimizer, lr=5e-4))
    with pytest.raises(UserError, match=r"was trained with optimizer\.lr 0\.001, not 0\.0005"):
        check_reusable(run, slower, {"val": A})


def test_a_run_is_not_reused_when_its_masks_have_changed(base, tmp_path):
    run, now = StudyFolder(tmp_path).run("masks-1", 0), {"id": "a", "masks": "1"}
    run.write("training.json", {"settings": settings_of(base), "data": {"val": {"id": "a", "masks": "1"}}})
    check_reusable(run, base, {"val": now})
    with pytest.raises(UserError, match="masks-1-seed0: this run was trained with other masks of the val data; choose"):
        check_reusable(run, base, {"val": now | {"masks": "2"}})
    run.write("training.json", {"settings": settings_of(base), "data": {"val": {"id": "a"}}})  # made no use of them
    check_reusable(run, base, {"val": now | {"masks": "2"}})


def test_records_of_models_with_masks_identify_them(base, tmp_path):
    content, run = read_json(base.data.val), StudyFolder(tmp_path).run("masks-1", 0)
    ids = []
    for end in (9, 9, 8):
        for one in content["annotations"]:
            one["segmentation"] = [[1, 1, end, 1, end, 9]]
        write_json(tmp_path / "val.json", content)
        truth = load_annotations(tmp_path / "val.json", Path(base.data.val).parent / "images", masks=True)
        record = planned_record(run, replace(base, model="mask_rcnn_resnet18_fpn"), truth, truth)
        ids.append(record["data"]["val"]["masks"])
        assert "masks" not in planned_record(run, base, truth, truth)["data"]["val"]
    assert ids[0] == ids[1] != ids[2]


def test_a_record_of_an_unknown_model_is_named(finished, tmp_path):
    record = StudyFolder(finished).run("baseline", 0).read("training.json")
    run = StudyFolder(tmp_path).run("baseline", 0)
    run.write("training.json", record | {"settings": record["settings"] | {"model": "later"}})
    with pytest.raises(UserError, match=r"baseline-seed0/training\.json: not readable \(there is no model 'later'"):
        read_records(StudyFolder(tmp_path))


def test_records_are_those_of_their_folders(finished, tmp_path):
    folder = StudyFolder(tmp_path)
    record = StudyFolder(finished).run("baseline", 0).read("training.json")
    folder.run("baseline", 0).write("training.json", record)
    assert read_records(folder) == [record]
    folder.run("baseline", 7).write("training.json", record)  # a copy would count as another seed
    with pytest.raises(UserError, match="baseline-seed7: contains the run baseline-seed0; rename the folder back"):
        read_records(folder)
    folder.run("baseline", 7).write("training.json", {"name": "baseline", "seed": 7})
    with pytest.raises(
        UserError,
        match=r"training\.json: not readable \(Object missing required field `.*`\); copy it again, or delete it",
    ):
        read_records(folder)


def test_a_run_that_was_stopped_is_only_continued_with_its_settings(base, finished, tmp_path):
    recipe = read_recipe(finished / "runs" / "cascade-seed0" / "training" / "recipe.json")
    run = StudyFolder(tmp_path).run("cascade", 0)
    run.training.mkdir(parents=True)
    (run.training / "last.state.pt").touch()
    shutil.copy(Path(recipe.output) / "recipe.json", run.training)
    check_reusable(run, recipe, {"val": A})
    with pytest.raises(UserError, match="cascade-seed0: this run was trained with epochs 1, not 2; choose another"):
        check_reusable(run, replace(recipe, epochs=2), {"val": A})
