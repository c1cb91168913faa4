"""How a case ends, and the one place that decides it."""

import enum
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from cascade_rcnn.errors import UserError

SECONDS = 10.0  # of processor time that one case may take


class Outcome(enum.StrEnum):
    """What came of a case. The last three are faults."""

    REFUSED = "refused in one line"
    RIGHT = "accepted and right"
    TRACEBACK = "traceback"
    HANG = "hang"
    WRONG = "silently wrong"

    @property
    def is_fault(self) -> bool:
        """Whether the campaign fails by it."""
        return self in (Outcome.TRACEBACK, Outcome.HANG, Outcome.WRONG)


@dataclass(frozen=True)
class Verdict:
    """The end of one case: what was done, what came of it, and what was said."""

    case: str
    outcome: Outcome
    said: str = ""


@dataclass
class Tally:
    """All verdicts of an area, counted; of faults and refusals some are kept."""

    area: str
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    faults: list[Verdict] = field(default_factory=list)
    refusals: dict[str, str] = field(default_factory=dict)  # a line -> the first case that got it
    skipped: list[str] = field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        """Count one more."""
        self.counts[verdict.outcome] += 1
        if verdict.outcome.is_fault:
            self.faults.append(verdict)
        elif verdict.outcome is Outcome.REFUSED and len(self.refusals) < 1000:
            self.refusals.setdefault(verdict.said, verdict.case)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


class Hang(BaseException):
    """A case that took too long; not an Exception, so that no reader takes it for a damaged file."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise Hang after that much processor time inside the block."""

    def stop(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds, 1.0)  # again each second, should the first be swallowed
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def judge(case: str, run: Callable[[], str | None], *, seconds: float = SECONDS) -> Verdict:
    """Run a case that returns what is wrong with what it got (None: nothing), or raises."""
    try:
        with time_limit(seconds):
            wrong = run()
    except UserError as error:
        said = str(error)
        return Verdict(case, Outcome.TRACEBACK if "\n" in said else Outcome.REFUSED, said)
    except Hang:
        return Verdict(case, Outcome.HANG, f"more than {seconds:g} s of processor time")
    except BaseException as error:  # noqa: BLE001  that is what is counted
        where = traceback.extract_tb(error.__traceback__)[-1]
        return Verdict(case, Outcome.TRACEBACK, f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})")
    return Verdict(case, Outcome.WRONG, wrong) if wrong else Verdict(case, Outcome.RIGHT)
