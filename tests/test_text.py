"""Text for a terminal."""

import pytest

from cascade_rcnn.text import count, points, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, 日本 é", "plain, 日本 é"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("two\nlines\t", "two\\nlines\\t"),
        (b"caf\xe9.jpg".decode("utf-8", "surrogateescape"), "caf\\udce9.jpg"),
        ("\u202efdp.exe", "\\u202efdp.exe"),  # changes the writing direction
    ],
)
def test_what_steers_a_terminal_is_spelled_out(text, shown):
    assert printable(text) == shown
    printable(text).encode()


def test_nouns_agree_with_their_number():
    assert [count(n, "image") for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
    assert (count(1, "box"), count(2, "box"), count(3, "class")) == ("1 box", "2 boxes", "3 classes")
    assert (count(2, "epoch"), count(2, "batch")) == ("2 epochs", "2 batches")


@pytest.mark.parametrize(
    ("difference", "shown"), [(0.017, "+1.7"), (-0.0123, "-1.2"), (0.0004, "0.0"), (-0.0004, "0.0"), (-0.0006, "-0.1")]
)
def test_points_of_ap(difference, shown):
    assert points(difference) == shown
