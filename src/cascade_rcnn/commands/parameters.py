"""Types of flags that several commands share."""

from typing import Annotated, Literal, TypeAlias

import tyro
from tyro.constructors import PrimitiveConstructorSpec

Precision = Literal["fp32", "bf16", "fp16"]
Positional = tyro.conf.Positional


def _resume(words: list[str]) -> bool | Literal["auto"]:
    if words not in ([], ["auto"]):
        raise ValueError(f"expected nothing or 'auto', not '{' '.join(words)}'")
    return "auto" if words else True


# `--resume` fails if there is nothing to resume; `--resume auto` starts a new run in that case.
Resume: TypeAlias = Annotated[
    bool | Literal["auto"],
    PrimitiveConstructorSpec(
        nargs="*",
        metavar="[auto]",
        instance_from_str=_resume,
        is_instance=lambda given: given in (True, False, "auto"),
        str_from_instance=lambda given: ["auto"] if given == "auto" else [],
    ),
]
