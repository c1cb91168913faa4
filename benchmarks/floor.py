"""The limits of this machine: the measured rates of its matrix products and of its memory.

The floor of a model's time is its number of floating-point operations divided by the matrix rate; no program that
computes the same sums as matrix products can be faster on this machine.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import Options, Row, interleaved, options, write

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def bf16_instructions() -> list[str]:
    """Return the processor's instructions for bf16."""
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return [name for name, there in known.items() if there and "bf16" in name]


def matrix_rates(quick: bool, repeats: int = 5, device: str = "cpu") -> dict[str, float]:
    """Return the floating-point operations per second in large square matrix products, by precision."""
    n = 256 if quick else (8192 if device == "cuda" else 2048)
    operands = {name: [torch.randn(n, n, device=device).to(dtype) for _ in range(2)] for name, dtype in DTYPES.items()}

    def product(pair: list[torch.Tensor]) -> None:
        torch.mm(*pair)
        if device == "cuda":
            torch.cuda.synchronize()

    times = interleaved({name: lambda pair=pair: product(pair) for name, pair in operands.items()}, repeats)
    return {name: 2 * n**3 / taken for name, taken in times.items()}


def bandwidth(quick: bool, repeats: int = 5) -> float:
    """Return the bytes per second that c = a + b reads and writes, with arrays far larger than the caches."""
    n = 2**20 if quick else 2**26
    a, b, c = (torch.ones(n) for _ in range(3))
    taken = interleaved({"add": lambda: torch.add(a, b, out=c)}, repeats)["add"]
    return 3 * 4 * n / taken


def operations(run: Callable[[], Any]) -> int:
    """Count the floating-point operations of the convolutions and matrix products in a call, including backward."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def main(given: Options) -> None:
    rates = matrix_rates(given.quick, given.repeats)
    rows = [Row(what=f"matrix product, {name}", value=rate / 1e9, unit="GFLOP/s") for name, rate in rates.items()]
    rows.append(Row(what="memory, read and write", value=bandwidth(given.quick, given.repeats) / 1e9, unit="GB/s"))
    write("floor", given, rows, [f"bf16 instructions of the processor: {', '.join(bf16_instructions()) or 'none'}"])


if __name__ == "__main__":
    main(options(__doc__))
