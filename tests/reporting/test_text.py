"""Numbers as text."""

import math

from cascade_rcnn.reporting.text import decimal, signed


def test_small_scores_keep_two_digits():
    assert [decimal(x) for x in (0.0, 0.00041, 0.0099, 0.01, 0.5, 1.0)] == [
        "0.00",
        "0.00041",
        "0.0099",
        "0.01",
        "0.50",
        "1.00",
    ]
    assert decimal(math.nan) == "–"


def test_what_rounds_to_zero_has_no_sign():
    assert [signed(x) for x in (0.0234, -0.0234, 0.0004, -0.0004, 0.0, math.nan)] == ["+2.3", "−2.3", *["0.0"] * 3, "–"]
