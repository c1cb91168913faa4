"""A safe reader for pickles of numbers, text, lists, dicts and NumPy arrays, such as detectron2's published weights.

Python's own unpickler calls whatever a file names. This one calls nothing: it knows the few names needed for arrays
(type code, shape, bytes) and refuses all others. Time and memory are bounded by a few times the file size: every length
is checked against the rest of the file, and no opcode repeats others.
"""

import math
import mmap
import pickle
import pickletools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cascade_rcnn.errors import UserError
from cascade_rcnn.text import printable

_MOST_STEPS = 500_000  # a file of a thousand tensors takes 30,000
_MOST = 2**31  # limit of array sides and integer keys: larger keys can be chosen to have equal hashes
_TYPES = {"b1", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)), "f2", "f4", "f8"}
_NUMBERS = {"K": "<B", "M": "<H", "J": "<i", "G": ">d"}  # opcode -> struct format of a number
_TEXTS = {"X": "<I", "\x8c": "<B", "\x8d": "<Q"}  # opcode -> struct format of the length prefix
_LATIN1 = {"T": "<i", "U": "<B"}  # strings of Python 2, which contain arbitrary bytes
_BYTES = {"B": "<I", "C": "<B", "\x8e": "<Q", "\x96": "<Q"}
_CONSTANTS = {"N": None, "\x88": True, "\x89": False}
_INDICES = {"h": "<B", "j": "<I", "q": "<B", "r": "<I"}
_CODES = {opcode.code: opcode.name for opcode in pickletools.opcodes}


class PickledArray:
    """An array, whose value is filled in once its parts are read."""

    value: np.ndarray


class _Name(str):
    """A name that a pickle refers to; only those in `_Machine.calls` can be called."""

    __slots__ = ()


class _Type:
    """A numeric numpy.dtype."""

    def __init__(self, code: Any) -> None:
        if not isinstance(code, str) or code not in _TYPES:
            raise pickle.UnpicklingError(f"an array has the non-numeric type {_shown(code)}")
        self.code, self.order = code, "="


def _shown(value: Any) -> str:
    """Format a value for a message; containers may be recursive."""
    return f"{value[:20]!r}" if isinstance(value, str) else f"a {type(value).__name__}"


def read_pickle(path: Path) -> Any:
    """Read a pickle; arrays are returned as `PickledArray`.

    Raises UserError if it refers to anything that might run code, and pickle.UnpicklingError or another of `DAMAGED` if
    it is damaged.
    """
    with path.open("rb") as file:
        return _Machine(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)).run()


class _Machine:
    """Interprets a pickle's opcodes."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content, self.data, self.at = content, memoryview(content), 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.arrays: list[PickledArray] = []
        self.to_make = 2 * len(content) + 1024  # limit in bytes; each array's data is in the pickle
        self.calls: dict[str, Callable[..., Any]] = {
            "collections.OrderedDict": dict,
            "_codecs.encode": self._encoded,
            "__builtin__.bytes": lambda: b"",  # empty bytes in protocols 0 to 2
            "numpy.dtype": lambda code, *_: _Type(code),
            "numpy.ndarray": self._not_called,
            "numpy.core.multiarray._reconstruct": lambda *_: self._new(),
            "numpy.core.multiarray.scalar": lambda kind, data: self._array(data, kind, (), False).item(),
            "numpy.core.numeric._frombuffer": self._from_buffer,
        }

    def run(self) -> Any:
        for _ in range(_MOST_STEPS):
            code = chr(self._take(1)[0])
            if code == ".":
                if len(self.stack) != 1 or not all(hasattr(array, "value") for array in self.arrays):
                    raise pickle.UnpicklingError("it ends in the middle")
                return self.stack[0]
            self._step(code)
        raise pickle.UnpicklingError(f"it takes more than {_MOST_STEPS} steps")

    # -- reading ---------------------------------------------------------------------------------------------------

    def _take(self, number: int) -> memoryview:
        if not 0 <= number <= len(self.data) - self.at:
            raise pickle.UnpicklingError("it ends too early")
        self.at += number
        return self.data[self.at - number : self.at]

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _line(self, most: int = 1000) -> str:
        """Read the text up to the end of the line (protocol 0)."""
        line = self._take(self.content.find(b"\n", self.at, self.at + most) - self.at)
        self._take(1)
        return str(line, "latin1")

    # -- the stack -------------------------------------------------------------------------------------------------

    def _pop(self, kind: type | tuple[type, ...] = object) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0) or not isinstance(self.stack[-1], kind):
            raise pickle.UnpicklingError("it is damaged")
        return self.stack.pop()

    def _items(self) -> list[Any]:
        """Pop all items above the last mark."""
        at = self.marks.pop()
        items, self.stack[at:] = self.stack[at:], []
        return items

    def _step(self, code: str) -> None:
        push = self.stack.append
        match code:
            case "\x80" | "\x95":  # the protocol, or a frame, which is only a read-ahead hint
                self._take(1 if code == "\x80" else 8)
            case _ if code in _CONSTANTS:
                push(_CONSTANTS[code])
            case _ if code in _NUMBERS:
                push(self._number(_NUMBERS[code]))
            case "I" | "L" | "F" | "\x8a":
                push(self._plain_number(code))
            case _ if code in _TEXTS:
                push(str(self._take(self._number(_TEXTS[code])), "utf-8", "surrogatepass"))
            case _ if code in _LATIN1:
                push(str(self._take(self._number(_LATIN1[code])), "latin1"))
            case "V":
                push(self._line(10_000_000).encode("latin1").decode("raw-unicode-escape"))
            case _ if code in _BYTES:
                push(self._take(self._number(_BYTES[code])))
            case "(":
                self.marks.append(len(self.stack))
            case "0":
                self._pop()
            case "1":
                self._items()
            case "c" | "\x93":
                push(self._name(code))
            case "R" | "b":
                self._call() if code == "R" else self._build()
            case _ if code in _INDICES or code in "gp\x94":
                self._remember(code)
            case _:
                self._container(code)

    def _plain_number(self, code: str) -> Any:
        if code == "\x8a":
            return int.from_bytes(self._take(self._number("<B")), "little", signed=True)
        line = self._line(40)
        if code == "F":
            return float(line)
        return line == "01" if code == "I" and line in ("00", "01") else int(line.removesuffix("L"))

    def _remember(self, code: str) -> None:
        """Store the top of the stack in the memo, or push an entry of the memo."""
        if code == "\x94":
            index = len(self.memo)
        else:
            index = self._number(_INDICES[code]) if code in _INDICES else int(self._line(20))
        if code in "hjg":
            self.stack.append(self.memo[index])
        else:
            self.memo[index] = self.stack[-1]

    def _container(self, code: str) -> None:
        push = self.stack.append
        match code:
            case "]" | ")" | "}":
                push({"]": [], ")": (), "}": {}}[code])
            case "l" | "t":
                push(self._items() if code == "l" else tuple(self._items()))
            case "\x85" | "\x86" | "\x87":
                items = [self._pop() for _ in range(ord(code) - 0x84)]
                push(tuple(reversed(items)))
            case "a" | "e":
                items = [self._pop()] if code == "a" else self._items()
                self._last(list).extend(items)
            case "d":
                items = self._items()
                push({})
                self._set(items)
            case "s" | "u":
                self._set([self._pop(), self._pop()][::-1] if code == "s" else self._items())
            case _:
                raise pickle.UnpicklingError(f"it contains {_CODES.get(code, 'an unknown opcode')}, not a plain value")

    def _last(self, kind: type) -> Any:
        if not self.stack or type(self.stack[-1]) is not kind:
            raise pickle.UnpicklingError("it is damaged")
        return self.stack[-1]

    def _set(self, items: list[Any]) -> None:
        """Set alternating keys and values in the dict on top of the stack."""
        table = self._last(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not (
                isinstance(key, str) or (isinstance(key, int) and abs(key) < _MOST)
            ):  # tuples may take years to hash
                raise pickle.UnpicklingError(f"a key is {_shown(key)}, not text or a small number")
            table[key] = value

    # -- arrays ----------------------------------------------------------------------------------------------------

    def _name(self, code: str) -> _Name:
        if code == "c":
            module, name = self._line(), self._line()
        else:
            name, module = self._pop(str), self._pop(str)
        full = f"{module}.{name}".replace("numpy._core.", "numpy.core.", 1)  # numpy 2 and 1
        if full not in self.calls:
            asked = printable(full[:200])
            raise UserError(f"refused: the file refers to '{asked}', which is not an array and might run code")
        return _Name(full)

    def _call(self) -> None:
        arguments, name = self._pop(tuple), self._pop(_Name)
        self.stack.append(self.calls[name](*arguments))

    def _build(self) -> None:
        state, made = self._pop(), self._last_object()
        if isinstance(made, _Type):
            if state[1] not in ("<", ">", "=", "|"):
                raise pickle.UnpicklingError(f"an array has the byte order {_shown(state[1])}")
            made.order = state[1]
        elif isinstance(made, PickledArray):
            _, shape, kind, fortran, data = state
            made.value = self._array(data, kind, shape, fortran)

    def _last_object(self) -> Any:
        if not self.stack or not isinstance(self.stack[-1], PickledArray | _Type | dict):  # dicts have no attributes
            raise pickle.UnpicklingError("it is damaged")
        return self.stack[-1]

    def _array(self, data: Any, kind: Any, shape: Any, fortran: Any) -> np.ndarray:
        data = data.encode("latin1") if isinstance(data, str) else data  # Python 2 wrote strings
        if not isinstance(data, bytes | memoryview) or not isinstance(kind, _Type):
            raise pickle.UnpicklingError("an array has no bytes, or no type")
        sides = isinstance(shape, tuple) and len(shape) <= 32 and all(type(x) is int and 0 <= x < _MOST for x in shape)
        stored = np.dtype(kind.order + kind.code)
        if not sides or math.prod(shape) * stored.itemsize != len(data):
            raise pickle.UnpicklingError("an array's shape does not fit its bytes")
        self._spend(len(data))
        numbers = np.frombuffer(data, np.uint8 if kind.code == "b1" else stored)
        numbers = numbers != 0 if kind.code == "b1" else numbers.astype(stored.newbyteorder("="))
        return numbers.reshape(shape, order="F" if fortran else "C")

    def _from_buffer(self, data: Any, kind: Any, shape: Any, order: Any, *_: Any) -> PickledArray:
        array = self._new()
        array.value = self._array(data, kind, shape, order == "F")
        return array

    def _new(self) -> PickledArray:
        self.arrays.append(PickledArray())
        return self.arrays[-1]

    def _encoded(self, text: Any, encoding: Any) -> bytes:
        """Decode bytes as written by protocol 2."""
        if not isinstance(text, str) or encoding != "latin1":
            raise pickle.UnpicklingError(f"an array is encoded as {_shown(encoding)}")
        self._spend(len(text))
        return text.encode("latin1")

    def _not_called(self, *_: Any) -> Any:
        raise pickle.UnpicklingError("it makes an array in an unknown way")

    def _spend(self, number: int) -> None:
        self.to_make -= number
        if self.to_make < 0:
            raise pickle.UnpicklingError("its arrays contain more data than the file")
