"""The comparison of presets: everything that is computed without training."""

import numpy as np
import pytest
import torch

from benchmarks.presets import page
from benchmarks.presets.__main__ import planned
from benchmarks.presets.contestants import (
    DEFAULT,
    PRESETS,
    SWITCHES,
    contestant,
    differing,
    preset_config,
    switch_names,
    switched,
    untrained,
)
from benchmarks.presets.differences import difference
from benchmarks.presets.training import key, optimizer_config, start
from cascade_rcnn.config import Category

CLASSES = (Category(id=1, name="a"), Category(id=2, name="b"))


@pytest.mark.parametrize("preset", PRESETS)
def test_all_switches_together_make_the_default_another_preset(preset):
    other = preset_config(preset, CLASSES)
    paths = [path for group in SWITCHES.values() for path in group]
    assert differing(switched(preset_config(DEFAULT, CLASSES), other, paths), other) == []


def test_a_switch_changes_its_own_fields_alone():
    base = preset_config(DEFAULT, CLASSES)
    for name in switch_names():
        found = differing(base, contestant(name, CLASSES))
        group = SWITCHES[name.partition(":")[2]]
        assert found
        assert all(path.startswith(group) for path in found)


def test_a_switch_that_two_presets_share_is_trained_once():
    names = switch_names()
    assert "paper:box loss of the heads" in names  # beta is 1 in both
    assert "mmdet:box loss of the heads" not in names
    assert {"paper:RPN box loss", "mmdet:RPN box loss"} <= set(names)
    configs = [contestant(name, CLASSES).to_json() for name in names]
    assert len(set(configs)) == len(configs)


def test_weights_are_shared_where_only_detection_differs():
    base = preset_config(DEFAULT, CLASSES)
    for name in switch_names():
        found = differing(base, contestant(name, CLASSES))
        of_detection = all(path.startswith(("semantics.ensemble", "inference.")) for path in found)
        assert untrained(name) == of_detection


def test_all_begin_with_the_same_numbers():
    one, other = (start(preset_config(preset, CLASSES), seed=3).state_dict() for preset in (DEFAULT, "paper"))
    shared = [name for name in one if name in other]
    assert {name.partition(".")[0] for name in shared} >= {"backbone", "pyramid", "roi_heads"}
    assert all(torch.equal(one[name], other[name]) for name in shared if one[name].shape == other[name].shape)
    again = start(preset_config(DEFAULT, CLASSES), seed=4).state_dict()
    heads = [name for name in one if name.startswith("roi_heads") and name.endswith("weight")]
    assert all(not torch.equal(one[name], again[name]) for name in heads)


def test_a_seed_of_everything_before_the_next():
    found = planned(["bccd", "person"], 1, 2)
    assert [(one.name, one.contender) for one in found[:6]] == [
        (name, preset) for name in ("bccd", "person") for preset in PRESETS
    ]
    assert {one.seed for one in found[: 6 + len(switch_names())]} == {0}
    assert (found[6 + len(switch_names())]) == ("bccd", DEFAULT, 1)  # the baseline of the single changes with seed 1
    assert len(set(found)) == len(found)
    assert len({key(one.name, one.contender, "sgd", 0.02, one.seed) for one in found}) == len(found)


def test_sets_weigh_the_same_in_a_mean_difference():
    theirs = [np.full((401, 10), 0.3) for _ in range(2)]
    ours = [base + apart for base, apart in zip(theirs, (0.01, 0.02), strict=True)]
    two = {"x": ours[:1], "y": ours[1:]}, {"x": theirs[:1], "y": theirs[1:]}
    assert difference(*two, "ap") == pytest.approx((0.015, 0.015, 0.015))


def test_both_optimizers_warm_up_and_decay_alike():
    sgd, adamw = optimizer_config("sgd", 0.02, 30), optimizer_config("adamw", 4e-4, 30)
    assert (sgd.name, sgd.lr, adamw.name, adamw.lr, sgd.warmup_steps) == ("sgd", 0.02, "adamw", 4e-4, 30)
    for field in ("lr_batch", "warmup_steps", "warmup_factor", "schedule"):
        assert getattr(sgd, field) == getattr(adamw, field)


def _row(contender: str, seed: int, ap: float) -> dict:
    identity = {"set": "bccd", "contender": contender, "optimizer": "sgd", "seed": seed}
    return identity | dict.fromkeys(("ap", "ap50", "ap75", "ap90"), ap)


def test_a_contender_is_compared_over_the_seeds_that_the_default_has():
    found = [_row("paper", 0, 0.5), _row("paper", 1, 0.7), _row(DEFAULT, 0, 0.4)]
    draws = {("bccd", row["contender"], row["seed"]): np.full((3, 10), row["ap"]) for row in found}
    rows = page.compared(found, draws, "bccd", PRESETS)
    assert [row["contender"] for row in rows] == ["paper", DEFAULT]
    assert rows[0]["ap"] == pytest.approx(0.6)
    assert rows[0]["difference"]["ap"] == pytest.approx([0.1, 0.1, 0.1])
    assert "difference" not in rows[1]
    text = page.table(rows, "preset")
    assert "| paper | 60.0 | 60.0 | 60.0 | 60.0 | 2 | +10.0 (+10.0 to +10.0) |" in text
    assert page.over_sets(found, draws, ["bccd", "person"])["paper"]["sets"] == ["bccd"]


def test_each_preset_is_compared_at_its_better_rate():
    values = {("paper", 0.02): 0.1, ("paper", 0.005): 0.3, (DEFAULT, 0.02): 0.4, (DEFAULT, 0.005): 0.2}
    found = [_row(preset, seed, ap) | {"rate": rate} for (preset, rate), ap in values.items() for seed in (0, 1)]
    chosen = page.at_best_rates(found)
    assert {(row["contender"], row["rate"]) for row in chosen} == {("paper", 0.005), (DEFAULT, 0.02)}
    assert len(chosen) == 4
    lines = page.rates(found).splitlines()
    assert lines[0] == "| preset | `bccd`, 0.005 | `bccd`, 0.02 |"
    assert lines[2] == "| paper | 30.0, 30.0 | 10.0, 10.0 |"


def test_switches_are_compared_with_the_default_at_their_rate():
    switch = _row("paper:resampling", 0, 0.3) | {"rate": 0.02}
    others = [_row(DEFAULT, 0, 0.4) | {"rate": rate} for rate in (0.005, 0.02)]
    found = [*others, _row("paper", 0, 0.1) | {"rate": 0.02}, switch]
    assert page.with_their_default(found) == [others[1], switch]
    elsewhere = _row("paper:resampling", 0, 0.3) | {"rate": 0.005, "set": "person"}  # without a default beside it
    assert page.with_their_default([*found, elsewhere]) == [others[1], switch]


def test_optimizers_at_the_same_rate_are_not_mixed():
    one, other = _row(DEFAULT, 0, 0.4) | {"rate": 0.005}, _row(DEFAULT, 0, 0.5) | {"rate": 0.005, "optimizer": "adamw"}
    assert len({key("bccd", DEFAULT, row["optimizer"], row["rate"], 0) for row in (one, other)}) == 2
    assert page.at_best_rates([one, other]) == [other]
    switch = _row("mmdet:resampling", 0, 0.3) | {"rate": 0.005}
    assert page.with_their_default([one, other, switch]) == [one, switch]


def test_switches_at_several_rates_are_not_mixed():
    rates = {0.005: 0.5, 0.02: 0.4}
    found = [_row(who, 0, ap) | {"rate": rate} for rate, ap in rates.items() for who in (DEFAULT, "mmdet:resampling")]
    assert page.with_their_default(found) == found[:2]  # those at 0.005, where the default has more AP


def test_every_field_that_differs_is_explained():
    text = page.fields()
    for preset in PRESETS:
        for path in differing(preset_config(DEFAULT, CLASSES), preset_config(preset, CLASSES)):
            assert any(f"`{shown}`" in text for shown in (path, path.rpartition(".")[0]))
    assert "losses x 1/0.5/0.25, rates x 1/2/4" in text
