"""Hostile requests to the service, and an actor of Ray that is killed."""

import socket
from importlib.util import find_spec
from pathlib import Path

from benchmarks import service
from benchmarks.torture.outcomes import Outcome, Tally, Verdict

_CLIENTS, _HOSTILE = 4, 0.5  # clients, and their share of hostile requests
_MIN_SIZE = 128  # short side for the starter, so that images take little time


def hostile_requests(minutes: float) -> Tally:
    """Send as many hostile requests as good ones, at the same time; a good one must get the same boxes every time."""
    tally = Tally("service: hostile requests")
    if find_spec("litserve") is None:
        tally.skipped.append("the service: litserve is not installed")
        return tally
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with service.serving(port) as process:
        found = service.load(port, process.pid, minutes, _CLIENTS, _HOSTILE)
    tally.counts[Outcome.RIGHT] = sum(map(len, found.taken))
    tally.counts[Outcome.REFUSED] = found.refused
    for wrong in found.wrong:
        tally.add(Verdict("request", Outcome.WRONG, wrong))
    return tally


def killed_actor(folder: Path, number: int) -> Tally:
    """Run prediction with two actors, kill one of them, and compare the scores of each image."""
    tally = Tally("Ray: a killed actor")
    if find_spec("ray") is None:
        tally.skipped.append("Ray: it is not installed")
        return tally
    from benchmarks import ray_predict

    folder.mkdir(parents=True)
    source, output = folder / "images", folder / "found"
    ray_predict.write_images(source, number)
    expected = ray_predict.alone(source, _MIN_SIZE)
    ray_predict.with_ray(source, output, _MIN_SIZE, workers=2, kill=True)
    found = ray_predict.found(output)
    for name, scores in expected.items():
        right = found.get(name) == scores
        said = "" if right else f"{scores} expected, {found.get(name)} found"
        tally.add(Verdict(name, Outcome.RIGHT if right else Outcome.WRONG, said))
    return tally
