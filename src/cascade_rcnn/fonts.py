"""Fonts that have the letters of a text."""

from functools import cache

import PIL.ImageFont

_ASCII = frozenset(range(ord(" "), ord("~") + 1))


def font_of(size: int, text: str) -> PIL.ImageFont.FreeTypeFont:
    """Return matplotlib's DejaVu Sans, which has more letters than Pillow's font, or else a system font for the text.

    A text in Chinese, Japanese or Korean, for example, needs such a font; without one, its letters become boxes.
    """
    return _font(_file_with(frozenset(map(ord, text)) - _ASCII), size)


@cache
def _font(file: str, size: int) -> PIL.ImageFont.FreeTypeFont:
    return PIL.ImageFont.truetype(file, size)


@cache
def _file_with(letters: frozenset[int]) -> str:
    """Return the file of DejaVu Sans, or if it lacks some of the letters, of the first font that has all of them."""
    import matplotlib as mpl
    from matplotlib.font_manager import findSystemFonts

    own = f"{mpl.get_data_path()}/fonts/ttf/DejaVuSans.ttf"
    if not letters or _has(own, letters):
        return own
    others = sorted(findSystemFonts(), key=lambda file: ("Regular" not in file, file))  # rather than bold or thin
    return next((file for file in others if _has(file, letters | _ASCII)), own)


def _has(file: str, letters: frozenset[int]) -> bool:
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(file)
    except (OSError, RuntimeError):
        return False
    return all(map(font.get_char_index, letters)) and not font.get_char_index(0xFFFF)  # a font of boxes has that, too
