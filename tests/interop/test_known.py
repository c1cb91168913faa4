"""Settings are read, required, or known not to matter; all others are refused."""

import pytest

from cascade_rcnn.errors import UserError
from cascade_rcnn.interop.known import Known, leaves

KNOWN = Known(read={"a.size"}, required={"a.type": ("x", "y"), "a.flags": ([1, 2],)}, inert=r"log\.|(\w+\.)*debug$")


def test_leaves_of_nested_settings():
    tree = {"a": {"b": 1, "c": (1, [2, 3])}, "d": [{"e": 1}, {"e": 2}], "f": [], "g": {}}
    assert list(leaves(tree)) == [("a.b", 1), ("a.c", [1, [2, 3]]), ("d.e", 1), ("d.e", 2), ("f", [])]
    assert list(leaves({"x": 1}, "model")) == [("model.x", 1)]


def test_what_is_known_passes():
    KNOWN.check(leaves({"a": {"size": 3, "type": "y", "flags": (1, 2)}, "log": {"any": 1}, "b": {"debug": 1}}), "here")
    KNOWN.check(leaves({"a": {"type": None}, "new": None}), "here")


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": {"type": "z"}}, "here: a.type is 'z'; only 'x' or 'y' can be converted"),
        ({"a": {"flags": [1, 3]}}, r"a\.flags is \[1, 3\]; only \[1, 2\] can be converted"),
        ({"a": {"new": 0, "type": "z"}}, "a.type is 'z'"),  # the known fault comes before the unknown setting
        ({"a": {"new": 0}}, "a.new is 0, which has no equivalent here; .* remove it from the file"),
        ({"b": {"groups": 1, "type": "DCN"}}, "b.type is 'DCN'"),  # the type comes before its details
        ({"debugger": 1}, "debugger is 1"),
    ],
)
def test_what_would_be_lost_is_refused(tree, message):
    with pytest.raises(UserError, match=message):
        KNOWN.check(leaves(tree), "here")
