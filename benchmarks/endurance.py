"""Does memory grow from one prediction to the next? Resident memory of a process after some and after many of them."""

import random

from benchmarks.measure import STATUS, Options, Row, fresh, options, skip, status_mb, write

_COUNTS, _QUICK = (100, 500), (5, 10)  # numbers of predictions
_SIDES = (120, 800)  # range of an image's sides, in pixels
_MOST = 1.05


def main(given: Options) -> None:
    if not STATUS.is_file():
        skip("endurance", f"resident memory is read from {STATUS}, which this system does not have")
        return
    some, many = _QUICK if given.quick else _COUNTS
    before, after = fresh(resident, counts=[some, many], threads=given.threads)
    what = f"{many} predictions by the starter, {_SIDES[0]} to {_SIDES[1]} pixels a side"
    row = Row(what=what, value=after, unit="MB", ratio=after / before, against=f"after {some}", bound=_MOST)
    write("endurance", given, [row])


def resident(counts: list[int], threads: int) -> list[float]:
    """Return the resident memory in megabytes after each of these numbers of predictions."""
    import torch

    import cascade_rcnn
    from benchmarks.photo import photograph

    torch.set_num_threads(threads)
    model, generator = cascade_rcnn.load("starter"), random.Random(0)
    found = []
    for k in range(1, counts[-1] + 1):
        size = (_SIDES[1], _SIDES[1]) if k == 1 else (generator.randint(*_SIDES), generator.randint(*_SIDES))
        model.predict(photograph(size))
        if k in counts:
            found.append(status_mb("VmRSS"))
    return found


if __name__ == "__main__":
    main(options(__doc__))
