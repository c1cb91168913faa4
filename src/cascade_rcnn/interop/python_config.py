"""Reader of configs written in Python, without running them."""

import ast
import operator
from collections.abc import Callable
from typing import Any


class Settings:
    """A nested config, accessed by dotted path: `settings("roi_head.num_stages", 1)`."""

    def __init__(self, tree: Any) -> None:
        self.tree = tree

    def __call__(self, path: str, default: Any = None) -> Any:
        """Return the value at a path of keys and indices, or the default if there is none."""
        node = self.tree
        for key in path.split("."):
            if isinstance(node, list) and key.isdecimal() and int(key) < len(node):
                node = node[int(key)]
            elif isinstance(node, dict) and key in node:
                node = node[key]
            else:
                return default
        return node


def assignments(text: str) -> dict[str, Any]:
    """Parse a text of plain assignments to values by name. Raises ValueError for anything else in it."""
    values: dict[str, Any] = {}
    try:
        for statement in ast.parse(text).body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    values[name] = _value(value, values)
                case ast.Expr(value=ast.Constant()):
                    pass  # a docstring
                case _:
                    raise ValueError(f"line {statement.lineno} is not an assignment")
    except (SyntaxError, ArithmeticError, RecursionError) as error:
        raise ValueError(str(error)) from None
    return values


_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def _value(node: ast.expr, names: dict[str, Any]) -> Any:
    """Evaluate an expression of constants, containers, dict(...), arithmetic on numbers and earlier names."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
            return [_value(item, names) for item in items]
        case ast.Dict(keys=keys, values=values) if all(key is not None for key in keys):
            return {_value(k, names): _value(v, names) for k, v in zip(keys, values, strict=True) if k is not None}
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=pairs) if all(pair.arg for pair in pairs):
            return {str(pair.arg): _value(pair.value, names) for pair in pairs}
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_number(operand, names)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return _ARITHMETIC[type(op)](_number(left, names), _number(right, names))
        case ast.Name(id=name) if name in names:
            return names[name]
    raise ValueError(f"line {node.lineno} contains '{ast.unparse(node)[:60]}', which is not a plain value")


def _number(node: ast.expr, names: dict[str, Any]) -> int | float:
    value = _value(node, names)
    if not isinstance(value, int | float):
        raise ValueError(f"line {node.lineno} calculates with {value!r}")
    return value
