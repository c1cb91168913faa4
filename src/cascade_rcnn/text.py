"""Format text for terminals, reports and files."""

from unicodedata import category


def printable(text: str) -> str:
    r"""Escape characters that could control a terminal or cannot be encoded; an escape character becomes `\x1b`.

    File and class names come from untrusted data. Names that are not valid Unicode contain surrogates.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def storable(text: str) -> str:
    """Escape what files cannot hold: control characters, and surrogates, which stand for bytes that are not Unicode.

    Everything else is kept, such as the narrow spaces (U+202F) in names of macOS's screenshots, since other tools look
    files up by these names.
    """
    return "".join(c.encode("unicode_escape").decode() if category(c) in ("Cc", "Cs") else c for c in text)


def count(number: int, noun: str) -> str:
    """Format a count with its noun: `1 image`, `2 images`, `2 boxes`, `2 epochs`."""
    hissing = noun.endswith(("x", "s", "ch")) and not noun.endswith("epoch")
    plural = f"{noun}es" if hissing else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def points(difference: float) -> str:
    """Format a difference of AP in points: 0.017 becomes `+1.7`, and what rounds to zero has no sign."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text
