"""Evaluate the expressions of configs written in Python, without running them.

Constants, containers, arithmetic, comprehensions and a few functions and methods of built-in types are computed here;
anything imported or defined stays a name. A budget bounds time and memory.
"""

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cascade_rcnn.interop.python_values import LIMIT, Budget, Foreign, Tree, get, key_of, kind, merge, tree


@dataclass(frozen=True)
class Scope:
    """The names defined so far, and how imported objects behave."""

    names: dict[str, Any]
    budget: Budget
    call: Callable[[Foreign, list[Any], dict[str, Any]], Any]  # evaluates a call to a foreign object
    deep: bool  # whether `update` of shared settings merges nested ones, as in mmengine

    def value(self, node: ast.expr) -> Any:
        """Evaluate an expression. Raises ValueError if it is unsupported, and whatever its operators raise."""
        self.budget.spend(1)
        match node:
            case ast.Constant(value=constant):
                return self._bounded(constant)
            case ast.Set(elts=[ast.Set(elts=[inner])]):  # mmengine's {{_base_.name}}
                return self.value(inner)
            case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
                return self._items(items)
            case ast.Dict(keys=keys, values=values):
                return self._dict(keys, values)
            case ast.Name(id=name) if name in self.names:
                return self.names[name]
            case ast.Attribute(value=owner, attr=name):
                return get(self.value(owner), name)
            case ast.Subscript(value=owner, slice=ast.Slice() as part):
                bounds = [None if x is None else self.value(x) for x in (part.lower, part.upper, part.step)]
                return self._bounded(_sequence(self.value(owner))[slice(*bounds)])
            case ast.Subscript(value=owner, slice=key):
                return get(self.value(owner), self.value(key))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -_number(self.value(operand))
            case ast.BinOp(left=left, op=op, right=right):
                return self.arithmetic(op, self.value(left), self.value(right))
            case ast.Call():
                return self._call(node)
            case ast.ListComp(elt=element, generators=generators):
                return self._each(generators, lambda: self.value(element))
            case ast.DictComp(key=key, value=element, generators=generators):
                return dict(self._each(generators, lambda: (key_of(self.value(key)), self.value(element))))
            case ast.JoinedStr(values=parts):
                return self._bounded("".join(_text(self.value(part)) for part in parts))
            case ast.FormattedValue(value=part, conversion=-1, format_spec=None):
                return self.value(part)
            case ast.Lambda():
                return Foreign(ast.unparse(node))
        raise ValueError(f"line {node.lineno} holds '{_shown(node)}', which is not a plain value")

    def arithmetic(self, op: ast.operator, left: Any, right: Any) -> Any:
        """Compute with numbers, or add or repeat lists and strings; with a foreign operand, the result is foreign."""
        if isinstance(left, Foreign) or isinstance(right, Foreign):
            return Foreign(f"{type(op).__name__}({kind(left)}, {kind(right)})")
        if isinstance(op, ast.Mult) and isinstance(right, list | str):
            left, right = right, left
        if isinstance(op, ast.Mult) and isinstance(left, list | str) and isinstance(right, int):
            self.budget.spend(len(left) * max(right, 0))
            return left * right
        if isinstance(op, ast.Add) and isinstance(left, list | str) and type(left) is type(right):
            return self._bounded(left + right)
        if type(op) not in _ARITHMETIC or (isinstance(op, ast.Pow) and abs(_number(right)) > _EXPONENT):
            raise ValueError("calculates more than plain sums, products and small powers")
        return self._bounded(_number(_ARITHMETIC[type(op)](_number(left), _number(right))))

    def bind(self, target: ast.expr, value: Any) -> None:
        """Assign to a name, to several, or to a part of a value."""
        match target:
            case ast.Name(id=name):
                self.names[name] = value
            case ast.Tuple(elts=targets) | ast.List(elts=targets) if len(_sequence(value)) == len(targets):
                for each, item in zip(targets, value, strict=True):
                    self.bind(each, item)
            case ast.Attribute(value=owner, attr=name):
                self.put(self.value(owner), name, value)
            case ast.Subscript(value=owner, slice=key) if not isinstance(key, ast.Slice):
                self.put(self.value(owner), self.value(key), value)
            case _:
                raise ValueError(f"line {target.lineno} assigns to '{_shown(target)}'")

    def put(self, owner: Any, key: Any, value: Any) -> None:
        """Set an item of a value; changes to foreign objects are ignored."""
        if isinstance(owner, Tree):
            value = tree(value, self.budget)
        if isinstance(owner, dict):
            owner[key_of(key)] = value
        elif isinstance(owner, list):
            owner[key] = value
        elif not isinstance(owner, Foreign):
            raise ValueError(f"sets '{key}' in {kind(owner)}")

    def sequence(self, node: ast.expr) -> list[Any]:
        """Return what a loop iterates over: the items of a list or string, or the keys of a dict."""
        return list(_sequence(self.value(node)))

    def _bounded(self, value: Any) -> Any:
        """Return the value if its size and type are allowed in a config."""
        if isinstance(value, int) and abs(value) >= 2**64:
            raise ValueError("makes a number of more than 64 bits")
        if isinstance(value, complex | bytes) or value is ...:
            raise ValueError(f"holds {str(value)[:60]}, which is not a plain value")
        self.budget.spend(len(value) if isinstance(value, list | str | dict) else 0)
        return value

    def _items(self, nodes: list[ast.expr]) -> list[Any]:
        """Evaluate the items of a list, tuple or set, all of which become lists."""
        found: list[Any] = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                found += self._bounded(list(_sequence(self.value(node.value))))
            else:
                found.append(self.value(node))
        return found

    def _dict(self, keys: list[ast.expr | None], values: list[ast.expr]) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key, value in zip(keys, values, strict=True):
            found |= self._spread(value) if key is None else {key_of(self.value(key)): self.value(value)}
        return found

    def _spread(self, node: ast.expr) -> dict[Any, Any]:
        """Return what ** unpacks."""
        value = self.value(node)
        if not isinstance(value, dict):
            raise ValueError(f"line {node.lineno} unpacks '{_shown(node)}', which is not a dict")
        return dict(self._bounded(value))

    def _call(self, node: ast.Call) -> Any:
        args, kwargs = self._items(node.args), {}
        for pair in node.keywords:
            kwargs |= {pair.arg: self.value(pair.value)} if pair.arg else self._spread(pair.value)
        function = node.func
        if isinstance(function, ast.Attribute):
            owner = self.value(function.value)
            if isinstance(owner, dict | list) and function.attr in _METHODS:
                return self._method(owner, function.attr, args, kwargs)
            target = get(owner, function.attr)
        elif isinstance(function, ast.Name) and function.id in _FUNCTIONS and function.id not in self.names:
            return self._bounded(_FUNCTIONS[function.id](*args, **kwargs))
        else:
            target = self.value(function)
        if not isinstance(target, Foreign):
            raise ValueError(f"line {node.lineno} calls '{_shown(function)}', which is not a function")
        return self.call(target, args, kwargs)

    def _method(self, owner: Any, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Call a method of a dict or list."""
        if name == "update":
            self._update(owner, dict(*args, **kwargs))
        elif name == "merge" and isinstance(owner, Tree):
            merged = merge({"": tree(dict(*args, **kwargs), self.budget)}, {"": owner})[""]
            owner.clear()
            owner.update(merged)
        else:
            found = getattr(type(owner), name)(owner, *args, **kwargs)
            return self._bounded(found if name not in _VIEWS else [_plain(item) for item in found])
        return None

    def _update(self, owner: Any, other: dict[Any, Any]) -> None:
        for key, value in other.items():
            self.budget.spend(1)
            inner = owner.get(key)
            if self.deep and isinstance(owner, Tree) and isinstance(inner, dict) and isinstance(value, dict):
                self._update(inner, value)
            else:
                self.put(owner, key, value)

    def _each(self, generators: list[ast.comprehension], element: Callable[[], Any]) -> list[Any]:
        """Evaluate each element of a comprehension; names hidden by its variables are restored afterwards."""
        hidden, found = dict(self.names), []

        def nest(loops: list[ast.comprehension]) -> None:
            if not loops:
                found.append(element())
                return
            if loops[0].ifs or loops[0].is_async:
                raise ValueError(f"line {loops[0].target.lineno} holds a comprehension with a condition")
            for item in self.sequence(loops[0].iter):
                self.bind(loops[0].target, item)
                nest(loops[1:])

        nest(generators)
        self.names.clear()
        self.names.update(hidden)
        return found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _number(value: Any) -> int | float:
    if not isinstance(value, int | float):
        raise ValueError(f"calculates with {kind(value)}")
    return value


def _text(value: Any) -> str:
    """Format a value as an f-string does."""
    if not isinstance(value, str | int | float | None):
        raise ValueError("formats something other than text and numbers")
    return str(value)


def _sequence(value: Any) -> Any:
    """Return a value that can be iterated over: a list, string or dict."""
    if not isinstance(value, list | str | dict):
        raise ValueError(f"iterates over {kind(value)}")
    return value


def _range(*bounds: int) -> list[int]:
    found = range(*bounds)
    if len(found) > LIMIT:
        raise ValueError("makes more values than any config needs")
    return list(found)


def _shown(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 60 else text[:57] + "..."


_EXPONENT = 64
_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "dict": dict,
    "list": lambda items=(): list(items),
    "tuple": lambda items=(): list(items),
    "range": _range,
    "len": len,
    "zip": lambda *lists: [list(items) for items in zip(*lists, strict=False)],
    "enumerate": lambda items, start=0: [[k, item] for k, item in enumerate(items, start)],
    "int": int,
    "float": float,
    "str": _text,
    "min": lambda *numbers: min(map(_number, numbers)),
    "max": lambda *numbers: max(map(_number, numbers)),
}
_VIEWS = ("keys", "values", "items")
_METHODS = (*_VIEWS, "update", "merge", "get", "pop", "setdefault", "copy", "append", "extend", "insert")
