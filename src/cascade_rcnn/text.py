"""Format text for terminals."""


def printable(text: str) -> str:
    r"""Escape characters that could control a terminal or cannot be encoded; an escape character becomes `\x1b`.

    File and class names come from untrusted data. Names that are not valid Unicode contain surrogates.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def count(number: int, noun: str) -> str:
    """Format a count with its noun: `1 image`, `2 images`, `2 boxes`, `2 epochs`."""
    hissing = noun.endswith(("x", "s", "ch")) and not noun.endswith("epoch")
    plural = f"{noun}es" if hissing else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"
