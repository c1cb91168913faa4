"""The paired bootstrap over images and seeds."""

import time

import numpy as np
import pytest

from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation.bootstrap import (
    column,
    difference_draws,
    interval,
    interval_of_ap,
    paired_difference,
    resample,
)
from cascade_rcnn.evaluation.matches import Matches


def one_object_an_image(right: np.ndarray) -> Matches:
    """Return one object and one detection per image; right (N,) says whether it is a hit, at every IoU."""
    flags = right.astype(bool)[:, None].repeat(10, axis=1)
    number = len(right)
    image = np.arange(number)
    score = np.where(right, 0.9, 0.1)  # hits first: precision 1 up to the final recall
    return Matches(image, np.ones(number, np.int64), score, flags, ~flags, np.ones((number, 1), np.int64))


def test_the_first_row_is_the_set_itself():
    found = resample(one_object_an_image(np.array([1, 1, 1, 0])), number=20)
    assert found.shape == (21, 10)
    np.testing.assert_allclose(found[0], 76 / 101)  # recall .75 reaches 0, .01, ..., .75


def test_the_spread_is_the_binomial_s():
    """With one object per image, AP is about the fraction of images with a hit: deviation sqrt(p (1 - p) / N)."""
    right = np.arange(400) < 240
    found = column(resample(one_object_an_image(right), number=400), "ap")
    assert found[1:].std() == pytest.approx(np.sqrt(0.6 * 0.4 / 400), rel=0.15)


def test_a_model_does_not_differ_from_itself():
    a = resample(one_object_an_image(np.arange(30) % 3 > 0), number=30)
    assert paired_difference([a, a], [a, a], "ap") == (0, 0, 0)


def test_pairing_removes_what_both_share():
    """Of 100 images, b hits 5 more than a: the interval covers only those 5, and is much narrower than either's own."""
    a, b = (resample(one_object_an_image(np.arange(100) < hits), number=400) for hits in (60, 65))
    found = paired_difference([b], [a], "ap50")
    assert found.mean == pytest.approx(5 / 101, abs=1e-9)
    assert 0 <= found.low < 0.02
    assert 0.07 < found.high < 0.12
    own = np.percentile(column(b, "ap50")[1:], [2.5, 97.5])
    assert found.high - found.low < (own[1] - own[0]) / 1.5


def test_seeds_are_averaged():
    a, b, c = (resample(one_object_an_image(np.arange(50) < hits), number=10) for hits in (10, 20, 30))
    assert paired_difference([b, c], [a, a], "ap").mean == pytest.approx(15 / 50, abs=0.01)


def test_intervals_cover_images_and_seeds():
    rng = np.random.default_rng(0)
    theirs = [np.full((401, 10), 0.3) for _ in range(3)]
    ours = [base + apart for base, apart in zip(theirs, (0.01, 0.02, 0.06), strict=True)]
    values = difference_draws(ours, theirs, "ap", rng)
    assert values[0] == pytest.approx(0.03)  # the dataset itself, with each seed once
    assert values.min() == pytest.approx(0.01)  # a resample with one seed three times
    assert values.max() == pytest.approx(0.06)
    assert difference_draws(ours[:1], theirs[:1], "ap", rng) == pytest.approx(np.full(401, 0.01))


def test_different_seeds_are_refused():
    a = resample(one_object_an_image(np.ones(4)), number=3)
    with pytest.raises(UserError, match="different numbers of seeds"):
        paired_difference([a, a], [a], "ap")


def test_columns():
    by_iou = np.arange(10)[None] / 10
    assert column(by_iou, "ap")[0] == pytest.approx(0.45)
    assert column(by_iou, "ap50")[0] == 0
    assert column(by_iou, "ap75")[0] == 0.5
    assert column(by_iou, "ap90")[0] == 0.8


def test_different_resamples_are_refused():
    a, b = (resample(one_object_an_image(np.ones(4)), number=n) for n in (3, 4))
    with pytest.raises(UserError, match="different numbers of resamples"):
        paired_difference([a], [b], "ap")


def test_it_is_quick():
    """200 resamples of 464 images with 40 detections each take seconds."""
    rng = np.random.default_rng(0)
    image = np.repeat(np.arange(464), 40)
    right = rng.random((len(image), 10)) < 0.1
    truth = np.full((464, 1), 4)
    start = time.perf_counter()
    resample(Matches(image, np.ones_like(image), rng.random(len(image)), right, ~right, truth), number=200)
    assert time.perf_counter() - start < 30


def test_an_interval_leaves_out_draws_without_objects():
    values = np.array([0.5, np.nan, *np.linspace(0, 1, 101)])
    assert interval(values) == pytest.approx((0.5, 0.025, 0.975))
    assert np.isnan(interval(np.array([0.5]))[1:]).all()


def test_the_interval_of_ap_is_symmetric():
    """Resamples lie 0 to 0.2 above an AP of 0.5, 95 % of them at most 0.19; then 0 to 0.1 away on both sides."""
    assert interval_of_ap(np.array([0.5, *np.linspace(0.5, 0.7, 101)])) == pytest.approx((0.5, 0.31, 0.69))
    assert interval_of_ap(np.array([0.5, np.nan, *np.linspace(0.4, 0.6, 101)])) == pytest.approx((0.5, 0.404, 0.596))


def test_the_interval_of_ap_stays_within_its_range():
    assert interval_of_ap(np.array([0.95, *np.linspace(0.75, 0.95, 101)])) == pytest.approx((0.95, 0.76, 1))
    assert interval_of_ap(np.array([0.05, *np.linspace(0.05, 0.25, 101)])) == pytest.approx((0.05, 0, 0.24))
    assert np.isnan(interval_of_ap(np.array([0.5]))[1:]).all()
    assert np.isnan(interval_of_ap(np.full(5, np.nan))).all()
