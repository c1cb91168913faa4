"""The models of a study, all derived from one recipe."""

from dataclasses import replace

import pytest

from cascade_rcnn.config import Category
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.configure import model_config
from cascade_rcnn.recipes import RECIPES
from cascade_rcnn_study.variants import BY_SGD, MASKS, TABLE3, variants

SMALL = RECIPES["small"]()
CATEGORIES = (Category(id=1, name="thing"),)


def config(name: str, base=SMALL):
    recipe = variants(base)[name].recipe
    return model_config(recipe.model, CATEGORIES, recipe.options, pretrained=True)


def test_a_model_comes_before_those_evaluated_on_its_boxes():
    known = variants(SMALL)
    assert next(iter(known)) == "cascade"
    assert all(name == variant.name for name, variant in known.items())


def test_models_of_table_1():
    assert variants(SMALL)["baseline"].recipe.model == "faster_rcnn_resnet18_fpn"
    assert variants(SMALL)["integral"].recipe.model == "integral_loss_resnet18_fpn"
    assert [stage.iou for stage in config("baseline").stages] == [0.5]
    assert [stage.iou for stage in config("cascade").stages] == [0.5, 0.6, 0.7]
    assert [stage.iou for stage in config("integral").stages] == [0.5, 0.6, 0.7]
    assert config("integral").method == "integral"


@pytest.mark.parametrize("base", ["small", "small_rfcn", "small_vgg_baseline", "paper_cascade_r50"])
def test_the_cascade_is_the_recipe_s_own(base):
    """Written out in full, the options mean the same as before."""
    recipe = RECIPES[base]()
    name = variants(recipe)["cascade"].recipe.model
    assert config("cascade", recipe) == model_config(name, CATEGORIES, recipe.options, pretrained=True)


def test_table_3_and_4():
    for name, ious, stds in (
        ("cascade-plain", 1, 1),
        ("cascade-iou-up", 3, 1),
        ("cascade-stat", 1, 3),
        ("cascade-sgd", 3, 3),
        ("cascade", 3, 3),
    ):
        stages = config(name).stages
        assert len(stages) == 3
        assert (len({s.iou for s in stages}), len({s.std for s in stages})) == (ious, stds)
    assert [stage.iou for stage in config("cascade-4").stages] == [0.5, 0.6, 0.7, 0.75]
    assert [stage.iou for stage in config("cascade-2").stages] == [0.5, 0.6]


def test_figures_1_and_5_train_at_other_qualities():
    assert [config(f"baseline-{p}").stages[0].iou for p in (60, 70)] == [0.6, 0.7]
    assert config("baseline-70").stages[0].std == config("baseline").stages[0].std


def test_measured_statistics_of_the_base_are_kept():
    stds = ((0.2,) * 4, (0.1,) * 4, (0.05,) * 4)
    base = replace(SMALL, options=replace(SMALL.options, stage_stds=stds))
    assert [s.std for s in config("cascade", base).stages] == list(stds)
    assert [s.std for s in config("cascade-plain", base).stages] == [stds[0]] * 3
    assert config("baseline", base).stages[0].std == config("integral", base).stages[0].std == stds[0]
    four = config("cascade-4", base).stages
    assert [s.std for s in four[:3]] == list(stds)
    assert four[3].std == config("cascade-4").stages[3].std


def test_only_the_model_differs():
    of_table3 = {name: replace(v.recipe, model="", options=SMALL.options) for name, v in variants(SMALL).items()}
    by_sgd = {of_table3.pop(name) for name in TABLE3}
    assert len(by_sgd) == len(set(of_table3.values())) == 1
    (row,), (other,) = by_sgd, set(of_table3.values())
    assert replace(row, optimizer=other.optimizer) == other  # and these differ only in the optimizer


def test_table_3_is_trained_with_sgd():
    """AdamW divides each gradient by its own magnitude, which would hide the scale that the target statistics set."""
    assert SMALL.optimizer.name == "adamw"
    found = variants(SMALL)
    for name in TABLE3:
        optimizer = found[name].recipe.optimizer
        assert (optimizer.name, optimizer.schedule) == ("sgd", SMALL.optimizer.schedule)
    slow = replace(SMALL, optimizer=replace(SMALL.optimizer, warmup_steps=9, warmup_factor=0.5))
    optimizer = variants(slow)["cascade-plain"].recipe.optimizer
    assert (optimizer.warmup_steps, optimizer.warmup_factor) == (9, 0.5)
    options = [replace(found[name].recipe.options, score_threshold=None) for name in (BY_SGD, "cascade")]
    assert options[0] == options[1]


def test_a_base_trained_with_sgd_has_the_last_row_of_table_3_already():
    base = RECIPES["paper_ablation"]()
    found = variants(base)
    assert BY_SGD not in found
    assert {found[name].recipe.optimizer for name in (*[*TABLE3][:3], "cascade")} == {base.optimizer}


def test_models_with_masks_by_their_number_of_stages():
    for stages, name in MASKS.items():
        found = config(name)
        assert found.has_masks
        assert [stage.iou for stage in found.stages] == [0.5, 0.6, 0.7, 0.75][:stages]
        assert (found.stages, found.backbone) == (config("baseline" if stages == 1 else "cascade-4").stages[:stages],
                                                  config("cascade").backbone)  # fmt: skip
    assert not set(MASKS.values()) & set(variants(RECIPES["small_vgg"]()))


def test_the_settings_of_a_variant_have_different_names():
    for variant in variants(SMALL).values():
        names = [setting.name for setting in variant.settings]
        assert len(set(names)) == len(names)


def test_families_of_table_6():
    base = replace(SMALL, options=replace(SMALL.options, semantics="paper"))
    found = variants(base, {"small_vgg": "vgg.safetensors"})
    assert found["small_vgg-cascade"].recipe.model == "cascade_rcnn_vgg16"
    assert found["small_vgg-baseline"].recipe.model == "faster_rcnn_vgg16"
    assert found["small_vgg-baseline"].recipe.weights_backbone == "vgg.safetensors"
    assert found["small_vgg-baseline"].recipe.epochs == SMALL.epochs
    assert found["small_vgg-baseline"].recipe.options.semantics == "paper"
    assert found["small_vgg-baseline"].recipe.options.rpn_channels == 128  # the family's own default


def test_mistakes():
    with pytest.raises(UserError, match="give --init None"):
        variants(replace(SMALL, init="model.safetensors"))
    with pytest.raises(UserError, match=r"options\.stages is 2"):
        variants(replace(SMALL, options=replace(SMALL.options, stages=2)))
    with pytest.raises(UserError, match="there is no recipe"):
        variants(SMALL, {"small_vg": None})


@pytest.mark.parametrize(
    ("name", "value"),
    [("stages", 2), ("stage_ious", (0.5,)), ("test_stage", 1), ("ensemble", False), ("ensemble_rois", "own")],
)
def test_what_the_study_sets_for_each_model_cannot_be_asked_for(name, value):
    base = replace(SMALL, options=replace(SMALL.options, **{name: value}))
    with pytest.raises(UserError, match=rf"options\.{name} is .*, but the study sets it for each model; leave it out"):
        variants(base)
