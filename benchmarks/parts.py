"""Where a detection's time goes: clocks at the modules' doors, the rest by subtraction."""

import statistics
import time
from collections.abc import Iterable

from torch import Tensor, nn

from benchmarks.networks import Network

_OURS = {
    "preprocess": ["preprocess"],
    "backbone": ["backbone"],
    "pyramid": ["pyramid"],
    "RPN convolutions": ["rpn"],
    "RoI heads": ["roi_heads"],
    "RoI features": ["roi_heads.pool"],
    "box heads": ["roi_heads.heads"],
}
_TORCHVISION = {
    "preprocess": ["transform"],
    "backbone": ["backbone.body"],
    "pyramid": ["backbone.fpn"],
    "RPN convolutions": ["rpn.head"],
    "RoI heads": ["roi_heads"],
    "RoI features": ["roi_heads.box_roi_pool"],
    "box heads": ["roi_heads.box_head", "roi_heads.box_predictor"],
}
_OUTER = ("preprocess", "backbone", "pyramid", "RPN convolutions", "RoI heads")


class _Clock:
    """Seconds spent inside some modules, summed over their calls."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self.seconds, self.start = 0.0, 0.0
        self.handles = [m.register_forward_pre_hook(self._enter) for m in modules]
        self.handles += [m.register_forward_hook(self._leave) for m in modules]

    def _enter(self, *_: object) -> None:
        self.start = time.perf_counter()

    def _leave(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self.start


def breakdown(network: Network, image: Tensor, repeats: int) -> dict[str, float]:
    """Milliseconds by part (medians); nothing for a model whose parts are not known here."""
    known = dict(network.model.named_modules())
    layout = next((x for x in (_OURS, _TORCHVISION) if all(n in known for names in x.values() for n in names)), None)
    if layout is None:
        return {}
    runs = []
    for _ in range(repeats):
        clocks = {part: _Clock(_leaves(known, names)) for part, names in layout.items()}
        start = time.perf_counter()
        network.detect([image])
        total = time.perf_counter() - start
        runs.append(_split({part: clock.seconds for part, clock in clocks.items()}, total))
        for clock in clocks.values():
            for handle in clock.handles:
                handle.remove()
    return {part: 1e3 * statistics.median(run[part] for run in runs) for part in runs[0]}


def _leaves(known: dict[str, nn.Module], names: list[str]) -> list[nn.Module]:
    """The modules of these names; a list of modules is never called itself, its members are."""
    found = []
    for name in names:
        found += list(known[name]) if isinstance(known[name], nn.ModuleList) else [known[name]]  # type: ignore[call-overload]
    return found


def _split(inside: dict[str, float], total: float) -> dict[str, float]:
    proposals = total - sum(inside[part] for part in _OUTER)
    roi = inside.pop("RoI heads")
    rest = roi - inside["RoI features"] - inside["box heads"]
    return inside | {"proposals": proposals, "boxes, scores, NMS": rest, "total": total}
