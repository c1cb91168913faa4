"""Packages that only some features need."""

from importlib.util import find_spec

from cascade_rcnn.errors import UserError


def needs(what: str, extra: str, *modules: str) -> None:
    """Raise UserError with the command to run if a module that `what` needs is not installed."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise UserError(f"{what} needs {', '.join(missing)}; pip install 'cascade-rcnn[{extra}]'")
