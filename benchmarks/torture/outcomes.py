"""The outcomes of cases, and the function that decides them."""

import enum
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from cascade_rcnn.errors import UserError

SECONDS = 10.0  # limit of processor time per case


class Outcome(enum.StrEnum):
    """The outcome of a case. The last three are faults."""

    REFUSED = "refused in one line"
    RIGHT = "accepted and right"
    TRACEBACK = "traceback"
    HANG = "hang"
    WRONG = "silently wrong"

    @property
    def is_fault(self) -> bool:
        """Whether it makes the tests fail."""
        return self in (Outcome.TRACEBACK, Outcome.HANG, Outcome.WRONG)


@dataclass(frozen=True)
class Verdict:
    """The result of one case: what was done, the outcome, and the message."""

    case: str
    outcome: Outcome
    said: str = ""


@dataclass
class Tally:
    """The counts of all verdicts of an area, with its faults and some of its refusals."""

    area: str
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    faults: list[Verdict] = field(default_factory=list)
    refusals: dict[str, str] = field(default_factory=dict)  # message -> the first case that got it
    skipped: list[str] = field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        """Add a verdict."""
        self.counts[verdict.outcome] += 1
        if verdict.outcome.is_fault:
            self.faults.append(verdict)
        elif verdict.outcome is Outcome.REFUSED and len(self.refusals) < 1000:
            self.refusals.setdefault(verdict.said, verdict.case)

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain JSON values."""
        return asdict(self)


class Hang(BaseException):
    """Raised in a case that takes too long; not an Exception, so that no reader mistakes it for a damaged file."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise Hang after this much processor time inside the block."""

    def stop(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds, 1.0)  # repeated every second, in case the first one is swallowed
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def judge(case: str, run: Callable[[], str | None], *, seconds: float = SECONDS) -> Verdict:
    """Run a case, which returns what is wrong with its result (None: nothing) or raises, and decide its outcome."""
    try:
        with time_limit(seconds):
            wrong = run()
    except UserError as error:
        said = str(error)
        return Verdict(case, Outcome.TRACEBACK if "\n" in said else Outcome.REFUSED, said)
    except Hang:
        return Verdict(case, Outcome.HANG, f"more than {seconds:g} s of processor time")
    except BaseException as error:  # noqa: BLE001  any other error counts as a traceback
        where = traceback.extract_tb(error.__traceback__)[-1]
        return Verdict(case, Outcome.TRACEBACK, f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})")
    return Verdict(case, Outcome.WRONG, wrong) if wrong else Verdict(case, Outcome.RIGHT)
