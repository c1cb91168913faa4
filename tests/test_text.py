"""Text for a terminal."""

import pytest

from cascade_rcnn.text import count, points, printable, storable


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


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("Screenshot at 3.04\u202fPM.png", "Screenshot at 3.04\u202fPM.png"),  # as macOS names them
        ("a\u3000b\u200d\xa0é日.jpg", "a\u3000b\u200d\xa0é日.jpg"),
        ("a\nb\x1b\udce9.jpg", "a\\nb\\x1b\\udce9.jpg"),
    ],
)
def test_names_are_stored_as_they_are_if_they_can_be(name, stored):
    assert storable(name) == stored
    stored.encode()


def test_nouns_agree_with_their_number():
    assert [count(n, "image") for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
    assert (count(1, "box"), count(2, "box"), count(3, "class")) == ("1 box", "2 boxes", "3 classes")
    assert (count(2, "epoch"), count(2, "batch")) == ("2 epochs", "2 batches")


@pytest.mark.parametrize(
    ("difference", "shown"), [(0.017, "+1.7"), (-0.0123, "-1.2"), (0.0004, "0.0"), (-0.0004, "0.0"), (-0.0006, "-0.1")]
)
def test_points_of_ap(difference, shown):
    assert points(difference) == shown
