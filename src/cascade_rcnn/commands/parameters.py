"""Types of flags that several commands have."""

from typing import Literal

import tyro

Precision = Literal["fp32", "bf16", "fp16"]
Positional = tyro.conf.Positional
