"""Types of flags that several commands have."""

from typing import Annotated, Literal, TypeAlias

import tyro
from tyro.constructors import PrimitiveConstructorSpec

Precision = Literal["fp32", "bf16", "fp16"]
Positional = tyro.conf.Positional


def _resume(words: list[str]) -> bool | Literal["auto"]:
    if words not in ([], ["auto"]):
        raise ValueError(f"unknown: {' '.join(words)}")
    return "auto" if words else True


# `--resume`, which demands that there is something to resume, or `--resume auto`, which does not.
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
