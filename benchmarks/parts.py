"""The time of each part of a detector.

`breakdown` measures it by hooks on the modules, and computes the rest by subtraction. `outside` is the share of the
operators that are neither convolutions nor matrix products.
"""

import re
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.measure import Row
from benchmarks.networks import Network

_OURS = {
    "preprocess": r"preprocess",
    "backbone": r"backbone",
    "pyramid": r"pyramid",
    "RPN convolutions": r"rpn",
    "RoI heads": r"roi_heads",
    "RoI features": r"roi_heads\.heads\.\d+\.pool",  # inside the heads
    "box heads": r"roi_heads\.heads\.\d+",
}
_TORCHVISION = {
    "preprocess": r"transform",
    "backbone": r"backbone\.body",
    "pyramid": r"backbone\.fpn",
    "RPN convolutions": r"rpn\.head",
    "RoI heads": r"roi_heads",
    "RoI features": r"roi_heads\.box_roi_pool",
    "box heads": r"roi_heads\.box_(head|predictor)",
}
_PRODUCTS = re.compile(r"aten::.*(conv|mm)")  # of torch's operators
_OUTSIDE = 10.0  # target, in percent
_OUTER = ("preprocess", "backbone", "pyramid", "RPN convolutions", "RoI heads")


class _Clock:
    """A clock that sums the seconds spent inside some modules over their calls."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self.seconds, self.start = 0.0, 0.0
        self.handles = [m.register_forward_pre_hook(self._enter) for m in modules]
        self.handles += [m.register_forward_hook(self._leave) for m in modules]

    def _enter(self, *_: object) -> None:
        self.start = time.perf_counter()

    def _leave(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self.start


def breakdown(network: Network, image: Tensor, repeats: int) -> dict[str, float]:
    """Return the median milliseconds of each part; empty for a model whose parts are not known here."""
    for layout in (_OURS, _TORCHVISION):
        modules = {part: _matching(network.model, pattern) for part, pattern in layout.items()}
        if all(modules.values()):
            break
    else:
        return {}
    runs = []
    for _ in range(repeats):
        clocks = {part: _Clock(found) for part, found in modules.items()}
        start = time.perf_counter()
        network.detect([image])
        total = time.perf_counter() - start
        seconds = {part: clock.seconds for part, clock in clocks.items()}
        if layout is _OURS:
            seconds["box heads"] -= seconds["RoI features"]
        runs.append(_split(seconds, total))
        for clock in clocks.values():
            for handle in clock.handles:
                handle.remove()
    return {part: 1e3 * statistics.median(run[part] for run in runs) for part in runs[0]}


def outside(run: Callable[[], Any], *, gpu: bool = False) -> float:
    """Return the percentage of processor time that a call spends outside convolutions and matrix products.

    With `gpu`, it is that of the GPU's time: of the kernels, without the gaps between them.
    """
    run()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
    with profile(activities=activities, acc_events=True) as profiler:  # without it, torch 2.11 warns
        run()
    operators = [event for event in profiler.key_averages() if event.device_type.name == "CPU"]  # not kernels
    taken = {event.key: event.self_device_time_total if gpu else event.self_cpu_time_total for event in operators}
    products = sum(time for name, time in taken.items() if _PRODUCTS.match(name))
    return 100 * (1 - products / sum(taken.values()))


def outside_row(what: str, run: Callable[[], Any]) -> Row:
    """Make a row of `outside` with its target."""
    what = f"{what}: outside convolutions and matrix products"
    return Row(what=what, value=outside(run), unit="%", bound=_OUTSIDE)


def _matching(model: nn.Module, pattern: str) -> list[nn.Module]:
    """Return the modules whose names match; a module with several names appears once."""
    return [module for name, module in model.named_modules() if re.fullmatch(pattern, name)]


def _split(inside: dict[str, float], total: float) -> dict[str, float]:
    proposals = total - sum(inside[part] for part in _OUTER)
    roi = inside.pop("RoI heads")
    rest = roi - inside["RoI features"] - inside["box heads"]
    return inside | {"proposals": proposals, "boxes, scores, NMS": rest, "total": total}
