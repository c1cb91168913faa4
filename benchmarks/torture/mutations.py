"""Mutations of files: changed bytes anywhere, or an unusual value in a JSON tree."""

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

Random: TypeAlias = np.random.Generator
Path: TypeAlias = tuple[Any, ...]  # keys and indices from the root of a tree

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 1.0, 1.5, -0.5, 2**31, 2**53 + 1, 2**63, 2**70, 1e30, 1e308, -1e308),
    *(math.nan, math.inf, -math.inf, "", "1", "x", "nan", "ä\u0301", "a\nb", "\x1b[31m", "[/red]", "../../etc/passwd"),
    *("\x00", "\ud800", "x" * 5000, [], {}, [1], [[1, 2]], {"a": 1}),
)


def one(random: Random, values: Any) -> Any:
    """Choose one of the values; NumPy's own `choice` would convert them to an array first."""
    return values[int(random.integers(len(values)))]


def place(random: Random, data: bytes) -> slice:
    """Choose a piece of the data, usually a short one, sometimes up to the end."""
    start = int(random.integers(len(data) + 1))
    most = len(data) - start
    length = min(most, int(random.integers(1, 9))) if random.random() < 0.8 else int(random.integers(most + 1))
    return slice(start, start + length)


def cut(random: Random, data: bytes) -> bytes:
    """Keep only the beginning."""
    return data[: int(random.integers(len(data)))]


def flip(random: Random, data: bytes) -> bytes:
    """Flip one to eight bits anywhere."""
    changed = bytearray(data)
    for position in random.integers(8 * len(data), size=int(random.integers(1, 9))):
        changed[position // 8] ^= 1 << (position % 8)
    return bytes(changed)


def overwrite(random: Random, data: bytes) -> bytes:
    """Replace a piece by random bytes."""
    where = place(random, data)
    return data[: where.start] + random.bytes(where.stop - where.start) + data[where.stop :]


def remove(random: Random, data: bytes) -> bytes:
    """Remove a piece."""
    where = place(random, data)
    return data[: where.start] + data[where.stop :]


def repeat(random: Random, data: bytes) -> bytes:
    """Repeat a piece."""
    where = place(random, data)
    return data[: where.stop] + data[where.start :]


def insert(random: Random, data: bytes) -> bytes:
    """Insert bytes that have a meaning in some format."""
    words = (
        b"\x00",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"-",
        b"9" * 20,
        b"1e999",
        b"nan",
        b"\n",
        b"\r",
        b'"',
        b"<",
        b"&x;",
        b"{",
    )
    at = int(random.integers(len(data) + 1))
    return data[:at] + one(random, words) + data[at:]


def digit(random: Random, data: bytes) -> bytes:
    """Replace a digit by another digit, a sign or a letter."""
    places = [i for i, byte in enumerate(data) if 48 <= byte <= 57]
    if not places:
        return insert(random, data)
    at = one(random, places)
    return data[:at] + one(random, (b"0", b"1", b"7", b"9", b"-", b".", b"e", b"99", b"\xd9\xa1")) + data[at + 1 :]


def blank_end(random: Random, data: bytes) -> bytes:
    """Fill the end with zeros, as after a power loss."""
    at = int(random.integers(len(data)))
    return data[:at] + bytes(len(data) - at)


BYTES: tuple[Callable[[Random, bytes], bytes], ...] = (
    *(cut, flip, overwrite, remove, repeat, insert, digit, blank_end),
)


def mutate_bytes(random: Random, data: bytes) -> tuple[str, bytes]:
    """Mutate the data one to three times; return the names of the mutations and the result."""
    names = []
    for _ in range(one(random, (1, 1, 1, 2, 3))):
        mutation = one(random, BYTES)
        names.append(mutation.__name__)
        data = mutation(random, data) or b"\x00"
    return "+".join(names), data


def leaves(tree: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path to every value of a tree, including inner nodes."""
    if path:
        yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from leaves(value, (*path, key))


def mutate_tree(random: Random, tree: Any) -> tuple[str, Any]:
    """Replace, remove, repeat or nest one value of a tree; return what was done and the result."""
    tree = copy.deepcopy(tree)
    path = one(random, list(leaves(tree)))
    parent = tree
    for key in path[:-1]:
        parent = parent[key]
    where, key = ".".join(map(str, path)), path[-1]
    action = one(random, ("odd", "odd", "odd", "remove", "repeat", "deep"))
    if action == "remove":
        del parent[key]
        return f"{where} removed", tree
    if action == "repeat" and isinstance(parent, list):
        parent.insert(int(random.integers(len(parent) + 1)), copy.deepcopy(parent[key]))
        return f"{where} repeated", tree
    if action == "deep":
        value: Any = []
        for _ in range(500):
            value = [value]
        parent[key] = value
        return f"{where} nested", tree
    parent[key] = one(random, ODD)
    return f"{where} = {parent[key]!r:.60}", tree
