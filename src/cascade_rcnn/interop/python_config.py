"""Evaluate the statements of configs written in Python, without running them."""

import ast
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cascade_rcnn.interop.python_expressions import Scope
from cascade_rcnn.interop.python_values import Budget, Foreign, Name, Tree, get, tree

_LONGEST = 4_000_000  # characters in a file


class Settings:
    """A nested config, accessed by dotted path: `settings("roi_head.num_stages", 1)`; `notes` say what is left out."""

    def __init__(self, tree: Any, notes: Sequence[str] = ()) -> None:
        self.tree, self.notes = tree, notes

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


def parse(text: str) -> list[ast.stmt]:
    """Parse a text into statements. Raises ValueError if it is not Python, or too long."""
    if len(text) > _LONGEST:
        raise ValueError(f"is longer than {_LONGEST} characters")
    try:
        with warnings.catch_warnings(action="ignore"):  # about invalid escape sequences
            return ast.parse(text).body
    except SyntaxError as error:
        raise ValueError(f"line {error.lineno}: {error.msg}") from None
    except (RecursionError, MemoryError):
        raise ValueError("is nested too deeply") from None


@dataclass(frozen=True)
class Reader:
    """Evaluates the statements of one file."""

    scope: Scope
    bring: Callable[[ast.ImportFrom], Any]  # imports the names of another config
    relative: bool  # whether relative imports anywhere are of configs, not only those in `with read_base()`

    def run(self, statements: list[ast.stmt]) -> None:
        """Evaluate statements. Raises ValueError, with the line, for one that does more than compute values."""
        for statement in statements:
            try:
                self._take(statement)
            except RecursionError:
                raise ValueError(f"line {statement.lineno} is nested too deeply") from None
            except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
                reason = " ".join(str(error).split())
                raise ValueError(
                    reason if reason.startswith("line ") else f"line {statement.lineno}: {reason}"
                ) from None

    def _take(self, statement: ast.stmt) -> None:
        scope = self.scope
        match statement:
            case ast.Assign(targets=targets, value=node):
                value = scope.value(node)
                for target in targets:
                    scope.bind(target, value)
            case ast.AnnAssign(target=target, value=ast.expr() as node):
                scope.bind(target, scope.value(node))
            case ast.AugAssign(target=target, op=op, value=node):
                self._change(target, op, scope.value(node))
            case ast.Delete(targets=targets):
                for target in targets:
                    self._delete(target)
            case ast.Expr(value=node):
                if _acts(scope.value(node)):
                    raise ValueError(f"calls '{ast.unparse(node)[:60]}', which is not run here")
            case ast.For(target=target, iter=node, body=body, orelse=[]):
                for item in scope.sequence(node):
                    scope.bind(target, item)
                    self.run(body)
            case ast.Import(names=aliases):
                for alias in aliases:
                    scope.names[alias.asname or alias.name.partition(".")[0]] = Foreign(
                        alias.name if alias.asname else alias.name.partition(".")[0]
                    )
            case ast.ImportFrom() if self.relative and statement.level:
                self._bring(statement)
            case ast.ImportFrom(module=module, names=aliases):
                for alias in aliases:
                    scope.names[alias.asname or alias.name] = Foreign(f"{module or ''}.{alias.name}".strip("."))
            case ast.With(items=[ast.withitem(context_expr=ast.Call(func=ast.Name(id="read_base")))], body=body):
                for inner in body:
                    if not isinstance(inner, ast.ImportFrom):
                        raise ValueError(f"line {inner.lineno} in read_base() is not a 'from ... import'")
                    self._bring(inner)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                scope.names[name] = Foreign(name)
            case ast.Pass():
                pass
            case _:
                raise ValueError(f"line {statement.lineno} is not an assignment")

    def _bring(self, statement: ast.ImportFrom) -> None:
        there = self.bring(statement)
        for alias in statement.names:
            if alias.name == "*" and isinstance(there, dict):
                self.scope.names.update({name: x for name, x in there.items() if not name.startswith("__")})
            else:
                self.scope.names[alias.asname or alias.name] = get(there, alias.name)

    def _change(self, target: ast.expr, op: ast.operator, value: Any) -> None:
        before = self.scope.value(target)
        if isinstance(op, ast.Add) and isinstance(before, list):  # in place, since the list may be shared
            before[:] = self.scope.arithmetic(op, before, value)
        else:
            self.scope.bind(target, self.scope.arithmetic(op, before, value))

    def _delete(self, target: ast.expr) -> None:
        match target:
            case ast.Name(id=name):
                del self.scope.names[name]
            case ast.Attribute(value=owner, attr=name):
                self.scope.value(owner).pop(name)
            case ast.Subscript(value=owner, slice=key):
                self.scope.value(owner).pop(self.scope.value(key))
            case _:
                raise ValueError(f"line {target.lineno} deletes something that is not a name")


def read_statements(
    statements: list[ast.stmt],
    names: dict[str, Any],
    budget: Budget,
    *,
    call: Callable[[Foreign, list[Any], dict[str, Any]], Any],
    bring: Callable[[ast.ImportFrom], Any],
    relative: bool = False,
    deep: bool = True,
) -> Tree:
    """Evaluate statements and return the names that they define beyond those given."""
    scope = Scope(dict(names), budget, call, deep)
    Reader(scope, bring, relative).run(statements)
    found = {name: value for name, value in scope.names.items() if name not in names and not name.startswith("__")}
    try:
        return tree(found, budget)
    except RecursionError:
        raise ValueError("is nested too deeply, or in itself") from None


def described(value: Any, name: Callable[[str], str]) -> Any:
    """Convert to plain values: a foreign object becomes its name, a call to one a dict of its arguments."""
    if isinstance(value, Foreign):
        return Name(name(value.name)) if value.call is None else described(value.call, name)
    if isinstance(value, dict):
        return {key: described(item, name) for key, item in value.items()}
    return [described(item, name) for item in value] if isinstance(value, list) else value


def _acts(value: Any) -> bool:
    """Return whether a statement calls something foreign with settings, which it may change."""
    return any(
        isinstance(x, Foreign)
        and x.call is not None
        and any(isinstance(y, dict | list) for y in (*x.call.get("_args_", []), *x.call.values()))
        for x in (value if isinstance(value, list) else [value])
    )
