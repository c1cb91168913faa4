"""Words for a terminal."""


def printable(text: str) -> str:
    r"""The text with what could steer a terminal, or not be encoded, spelled out: an escape character becomes `\x1b`.

    Names of files and classes come from other people's data; those that are not valid Unicode hold surrogates.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def count(number: int, noun: str) -> str:
    """`1 image`, `2 images`, `2 boxes`, `2 epochs`."""
    hissing = noun.endswith(("x", "s", "ch")) and not noun.endswith("epoch")
    plural = f"{noun}es" if hissing else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"
