import os

import PIL.Image
import PIL.ImageDraw
import pytest

from cascade_rcnn.fonts import _file_with, font_of


@pytest.mark.parametrize("letter", ["é", "ü", "ř", "ж", "Ω", "ك", "→"])
def test_letters_of_many_languages_are_drawn(letter):
    def drawn(text: str) -> bytes:
        image = PIL.Image.new("L", (40, 40))
        PIL.ImageDraw.Draw(image).text((5, 5), text, fill=255, font=font_of(20, text))
        return image.tobytes()

    assert drawn(letter) not in (drawn(" "), drawn("\uffff"))  # the latter is the box for an unknown letter


def test_a_system_font_draws_letters_that_dejavu_lacks(monkeypatch, tmp_path):
    """As for Chinese; here, it is a letter in a circle. A font that has a box for every letter does not count."""
    from matplotlib import get_data_path

    own, boxes, other = (
        f"{get_data_path()}/fonts/ttf/{name}.ttf" for name in ("DejaVuSans", "LastResortHE-Regular", "STIXGeneral")
    )
    (tmp_path / "damaged-Regular.ttf").write_bytes(b"no font")
    found = [str(tmp_path / "damaged-Regular.ttf"), *filter(os.path.exists, (boxes,)), other]  # new in matplotlib 3.11
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: found)
    _file_with.cache_clear()
    assert [font_of(20, text).path for text in ("cat", "ж 0.9", "cat Ⓐ", "犬")] == [own, own, other, own]
    _file_with.cache_clear()
