"""Optional dependencies."""

from importlib.util import find_spec

from cascade_rcnn.errors import UserError


def needs(what: str, extra: str, *modules: str) -> None:
    """Raise UserError with the pip command to run unless all modules that `what` needs are installed."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise UserError(f"{what} needs {', '.join(missing)}; pip install 'cascade-rcnn[{extra}]'")
