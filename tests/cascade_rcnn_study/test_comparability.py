"""Runs with differences that a report does not study are named."""

import copy

import pytest

from cascade_rcnn.errors import UserError
from cascade_rcnn_study.comparability import check_comparable
from cascade_rcnn_study.study_folder import StudyFolder


@pytest.fixture
def records(finished):
    return [run.read("training.json") for run in StudyFolder(finished).trained()]


def changed(records, name: str, seed: int, **settings):
    """Return the records with some settings of one run changed; options are given as option_NAME."""
    found = copy.deepcopy(records)
    (record,) = (r for r in found if (r["name"], r["seed"]) == (name, seed))
    for key, value in settings.items():
        place = record["settings"]["options"] if key.startswith("option_") else record["settings"]
        assert place[key.removeprefix("option_")] != value
        place[key.removeprefix("option_")] = value
    return found


def as_family(records, name: str):
    """Add the same pair of runs again as those of another family."""
    pair = [copy.deepcopy(r) | {"name": f"{name}-{r['name']}"} for r in records if r["name"] in ("baseline", "cascade")]
    return [*records, *pair]


def test_the_runs_of_a_study_are_comparable(records, tmp_path):
    check_comparable(records, tmp_path)
    check_comparable(as_family(records, "small_vgg"), tmp_path)


def test_a_family_has_options_of_its_own(records, tmp_path):
    found = as_family(records, "small_vgg")
    for seed in (0, 1):
        for name in ("small_vgg-baseline", "small_vgg-cascade"):
            found = changed(found, name, seed, option_head_width=99)
    check_comparable(found, tmp_path)
    with pytest.raises(UserError, match=r"small_vgg-baseline-seed0 and .* differ in options\.rois"):
        check_comparable(changed(found, "small_vgg-baseline", 0, option_rois=99), tmp_path)


@pytest.mark.parametrize(
    ("name", "seed", "settings", "message"),
    [
        ("cascade", 1, {"epochs": 9}, "baseline-seed0 and cascade-seed1 differ in epochs"),
        ("cascade", 1, {"option_semantics": "mmdet"}, r"differ in options\.semantics"),
        (
            "cascade-2",
            0,
            {"option_head_width": 99},
            r"and cascade-2-seed0 differ in options\.head_width",
        ),
        (
            "cascade",
            1,
            {"option_stage_ious": [0.5, 0.5, 0.5]},
            r"cascade-seed1 differ in options\.stage_ious",
        ),
        ("integral", 0, {"pretrained": True}, "differ in pretrained"),
        ("integral", 0, {"model": "integral_loss_resnet50_fpn"}, "differ in backbone"),
        ("integral", 0, {"optimizer": {"name": "sgd"}}, "and integral-seed0 differ in optimizer"),
        ("cascade-stat", 0, {"optimizer": {"name": "adamw"}}, "cascade-.* differ in optimizer"),
    ],
)
def test_what_differs_is_named(records, tmp_path, name, seed, settings, message):
    with pytest.raises(UserError, match=message):
        check_comparable(changed(records, name, seed, **settings), tmp_path)


def test_pretrained_weights_are_compared_where_both_are_known(records, tmp_path):
    found = changed(records, "integral", 0, weights="0123")
    check_comparable(found, tmp_path)  # the others may have been trained by an earlier version
    with pytest.raises(UserError, match="differ in weights"):
        check_comparable(changed(found, "baseline", 0, weights="4567"), tmp_path)


def test_runs_of_an_earlier_version_do_not_hide_other_weights(records, tmp_path):
    found = changed(changed(records, "cascade", 1, weights="0123"), "integral", 0, weights="4567")
    assert found[0]["settings"].get("weights") is None
    with pytest.raises(UserError, match=r"-seed. and .*-seed. differ in weights"):
        check_comparable(found, tmp_path)


def test_runs_with_other_masks_are_not_compared_and_those_without_may_be(records, tmp_path):
    found = copy.deepcopy(records[:3])
    for record, masks in zip(found, ("1", "1", None), strict=True):
        if masks is not None:
            record["data"]["val"]["masks"] = record["data"]["train"]["masks"] = masks
    check_comparable(found, tmp_path)
    found[1]["data"]["val"]["masks"] = "2"
    with pytest.raises(UserError, match="differ in masks of the val data; use a separate folder"):
        check_comparable(found, tmp_path)
