"""Settings derived from the data and the machine, computed by hand."""

from dataclasses import replace

import numpy as np
import pytest

from cascade_rcnn.auto.rules import Machine, Start, choose
from cascade_rcnn.auto.survey import Survey
from cascade_rcnn.config import AnchorConfig
from cascade_rcnn.recipes import Recipe
from cascade_rcnn.recipes.bundled import quickstart
from cascade_rcnn.recipes.finetuning import finetune

CPU, GPU = Machine(), Machine(gpu_memory=24.0)
STARTER = Start(
    why="a CPU",
    init="starter",
    min_size=320,
    max_size=544,
    anchors=AnchorConfig(sizes=(16, 32, 64, (128, 256))),
    known_as="quickstart",
    optimizer=quickstart().optimizer,
    batch_size=4,
)
PUBLISHED = Start(
    why="published",
    init="a cascade",
    min_size=800,
    max_size=1333,
    anchors=AnchorConfig(),
    known_as="finetune",
    optimizer=finetune().optimizer,
    batch_size=8,
)


def data(images: int = 200, height: int = 480, width: int = 640, box: tuple[float, float] = (64, 64)) -> Survey:
    """Return a dataset with one box per image."""
    return Survey(
        sizes=np.full((images, 2), (height, width), float),
        shapes=np.full((images, 2), box, float),
        owners=np.arange(images),
        classes=[("thing", images)],
    )


def chosen(
    survey: Survey, machine: Machine, start: Start, recipe: Recipe | None = None, **given
) -> tuple[Recipe, dict]:
    recipe = replace(recipe or finetune(), **given)
    found, choices = choose(recipe, given, survey, machine, start)
    return found, {choice.name: choice.why for choice in choices}


def test_two_hundred_images_on_a_cpu():
    recipe, why = chosen(data(), CPU, STARTER)
    assert recipe.init == "starter"
    assert (recipe.options.min_size, recipe.options.max_size) == ((224, 272, 320), 544)
    assert recipe.options.anchor_sizes is None
    assert (recipe.batch_size, recipe.optimizer) == (4, quickstart().optimizer)
    assert (recipe.epochs, why["epochs"]) == (12, "600 updates of 4 images")
    assert (recipe.ema, recipe.evaluate_every) == (round(1 - 10 / 600, 4), 2)


def test_the_same_on_a_gpu():
    recipe, why = chosen(data(), GPU, PUBLISHED)
    assert (recipe.options.min_size, recipe.options.max_size) == ((560, 672, 800), 1333)
    assert (recipe.batch_size, why["batch_size"]) == (8, "as in recipe `finetune`")
    assert recipe.epochs == 60  # 25 updates per epoch; 12 epochs are 300 updates; the minimum is 1500
    assert why["epochs"] == "1500 updates of 8 images; 1500 to 20000 on a GPU with 24 GB"
    assert why["optimizer.lr"] == "for 8 images, as in recipe `finetune`; 0.0001 for updates of 8"
    assert recipe.optimizer.lr == 1e-4
    assert recipe.evaluate_every == 6


@pytest.mark.parametrize(
    ("epochs", "patience", "length"), [(2, 3, "3 evaluations"), (5, 3, "half of the 5 evaluations"), (60, 5, "half of")]
)
def test_patience_is_half_of_the_evaluations_but_not_too_few(epochs, patience, length):
    recipe, why = chosen(data(), CPU, STARTER, epochs=epochs)
    assert recipe.patience == patience
    assert why["patience"].startswith(f"stop after {length}")


@pytest.mark.parametrize(
    ("images", "machine", "epochs"),
    [
        (40, CPU, 30),  # 10 updates per epoch; at least 300
        (200, CPU, 12),
        (2000, CPU, 3),  # 500 per epoch; at most 1500
        (40_000, CPU, 1),  # at least one epoch
        (8000, GPU, 10),  # 2000 per epoch; at most 20,000
        (3000, GPU, 12),
    ],
)
def test_epochs_keep_the_updates_within_bounds(images, machine, epochs):
    assert chosen(data(images), machine, replace(PUBLISHED, batch_size=4))[0].epochs == epochs


@pytest.mark.parametrize(
    ("repeats", "machine", "given", "each"),
    [
        (None, CPU, {}, 8),  # 15 // 4 landscape and 22 // 4 portrait
        (2, CPU, {}, 18),  # 30 // 4 and 44 // 4
        (None, Machine(processes=3), {}, 3),  # 8 batches, of which the third process repeats one
        (None, CPU, {"accumulate": 3}, 3),  # the last update of an epoch has two batches
        (None, CPU, {"batch_size": 16}, 2),  # not even one landscape batch: not grouped, 37 // 16
    ],
)
def test_updates_are_those_of_the_batches_that_training_makes(repeats, machine, given, each):
    survey = data(37)
    survey.sizes[15:] = (640, 480)
    survey = replace(survey, repeats=None if repeats is None else np.full(37, float(repeats)))
    recipe, why = chosen(survey, machine, STARTER, **given)
    assert recipe.epochs == round(300 / each)
    assert why["epochs"].startswith(f"{recipe.epochs * each} updates")
    assert recipe.ema == round(1 - 10 / (recipe.epochs * each), 4)


@pytest.mark.parametrize(
    ("images", "machine", "sizes", "reason"),
    [
        # at 320 of 480, boxes of 15 pixels become 10: they would be 16 at 512, but a CPU gets at most 480
        ({"box": (15, 15)}, CPU, (336, 416, 480), "the maximum for a CPU"),
        # boxes of 18 become 12: they are 16 at 426.7, rounded up to 448, a multiple of 32
        ({"box": (18, 18)}, CPU, (320, 384, 448), "16 is better"),
        # at 320, lines of 320 x 9 are 6 pixels across: 8 need 427
        ({"box": (320, 9)}, CPU, (320, 384, 448), "16 is better"),
        ({"height": 96, "width": 96, "box": (40, 40)}, CPU, (128, 160, 192), "twice the images' 96 pixels"),
        ({}, CPU, (224, 272, 320), "as in the initial model"),
    ],
)
def test_image_sizes_by_the_smallest_boxes_the_images_and_the_machine(images, machine, sizes, reason):
    recipe, why = chosen(data(**images), machine, STARTER)
    assert recipe.options.min_size == sizes
    assert recipe.options.max_size == round(sizes[-1] * 544 / 320)
    assert reason in why["options.min_size"]


@pytest.mark.parametrize("shortest", [480, (336, 480)])
def test_the_long_side_goes_with_a_short_side_of_one_s_own(shortest):
    base = replace(finetune(), options=replace(finetune().options, min_size=shortest))
    recipe, choices = choose(base, {"options.min_size"}, data(), CPU, STARTER)
    assert recipe.options.min_size == shortest
    assert recipe.options.max_size == 816  # 544 at 320; images of 640 x 480 are not shrunk
    assert {choice.name: choice.why for choice in choices}["options.min_size"] == "given"


def test_a_published_cascade_on_a_cpu_takes_smaller_images():
    recipe, why = chosen(data(), CPU, PUBLISHED)
    assert recipe.options.min_size == (336, 416, 480)
    assert recipe.batch_size == 4
    assert why["options.min_size"].startswith("the maximum for a CPU")


def test_images_that_stay_as_they_are():
    recipe, _ = chosen(data(), CPU, replace(STARTER, min_size=None))
    assert recipe.options.min_size is None


def test_with_jitter_images_are_as_large_as_its_canvas():
    base = replace(finetune(), data=replace(finetune().data, jitter=(0.1, 2.0), jitter_size=512))
    recipe, _ = chosen(data(), GPU, PUBLISHED, base)
    assert (recipe.options.min_size, recipe.options.max_size) == (512, 512)


def test_anchors_change_where_the_start_s_do_not_fit_and_the_reason_says_what_it_costs():
    recipe, why = chosen(data(box=(400, 20)), GPU, PUBLISHED)
    assert recipe.options.anchor_ratios == (0.05, 0.05, 0.05)
    assert why["options.anchor_ratios"].endswith("as many as before, so the RPN keeps its weights")
    assert why["options.anchor_sizes"] == "100 % of the boxes have an anchor of IoU 0.5"
    one = replace(PUBLISHED, anchors=AnchorConfig(ratios=(1.0,)))
    shapes = np.array([[64 * 2.0**-k, 64 * 2.0**k] for k in np.linspace(-2, 2, 20)] * 10)
    recipe, why = chosen(replace(data(), shapes=shapes), GPU, one)
    number = len(recipe.options.anchor_ratios)
    assert number > 1
    assert why["options.anchor_ratios"].endswith(f"{number} instead of 1, so the RPN's output layers are reinitialised")


def test_anchors_of_one_s_own_stay_whatever_the_boxes():
    base = replace(finetune(), options=replace(finetune().options, anchor_sizes=(1, 2, 3, 4, 5)))
    recipe, why = chosen(data(box=(400, 20)), GPU, PUBLISHED, base)
    assert recipe.options.anchor_sizes == (1, 2, 3, 4, 5)
    assert not any("anchor" in name for name in why)


def test_what_is_given_stays_and_the_rest_goes_with_it():
    recipe, why = chosen(data(), CPU, STARTER, epochs=3, batch_size=8)
    assert (recipe.epochs, recipe.batch_size) == (3, 8)
    assert (why["epochs"], why["batch_size"]) == ("given", "given")
    assert recipe.ema == 0.9  # 75 updates, 25 per epoch: a tenth would give .8667, but .9 is the minimum
    assert recipe.optimizer.warmup_steps == 7
    assert why["optimizer.lr"].endswith("0.0016 for updates of 8")


def test_few_images_fill_a_batch():
    recipe, why = chosen(data(3), CPU, STARTER)
    assert (recipe.batch_size, why["batch_size"]) == (3, "the number of images")
    assert recipe.epochs == 300


def test_choices_are_flags():
    _, choices = choose(finetune(), (), data(), CPU, STARTER)
    assert [choice.flag for choice in choices][:4] == [
        "--init starter",
        "--options.min-size 224 272 320",
        "--options.max-size 544",
        "--options.anchor-sizes None",
    ]
