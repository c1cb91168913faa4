"""Load test of `cascade-rcnn serve`: requests per second, response times and memory over time, with hostile requests.

Clients send the starter's photo as forms, each as soon as its last request is answered; one request in a hundred is
hostile. The page shows the results by minute: `python -m benchmarks.service --minutes 10`.
"""

import argparse
import http.client
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.measure import gpu_of
from cascade_rcnn.assets import PHOTO
from cascade_rcnn.engine.environment import describe

PAGE = Path("docs/results/serving.md")
_FORM = 'multipart/form-data; boundary="x"'


def form(content: bytes) -> bytes:
    """Return a request body with an image."""
    return b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + content + b"\r\n--x--\r\n"


# Requests that no client should send, with the status code of the correct response.
HOSTILE: list[tuple[bytes, str, int]] = [
    (b"{", "application/json", 400),
    (b"[" * 100_000, "application/json", 400),
    (b'{"image": "bm8gaW1hZ2U="}', "application/json", 422),
    (form(b"\x89PNG\r\n\x1a\n" + bytes(100)), _FORM, 422),
    (b"--y", _FORM, 400),
    (bytes(30_000_000), "application/json", 413),
    (b"x", "text/plain", 415),
]


@dataclass
class Tally:
    """The results of the clients, by minute."""

    minutes: float
    taken: list[list[float]] = field(default_factory=list)  # seconds of each answered request
    hostile: int = 0
    refused: int = 0  # hostile requests with the correct response
    wrong: list[str] = field(default_factory=list)  # incorrect responses
    memory: list[float] = field(default_factory=list)  # MB of all its processes, at the end of each minute


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    flags = ["--workers", str(given.workers), "--batch-size", str(given.batch_size)]
    with serving(given.port, *flags) as process:
        tally = load(given.port, process.pid, given.minutes, given.clients)
    given.page.write_text(render(tally, " ".join(sys.argv[1:]), given.clients), encoding="utf-8")
    print(given.page)
    if tally.wrong:
        sys.exit(f"{len(tally.wrong)} wrong responses; the first: {tally.wrong[0]}")


@contextmanager
def serving(port: int, *flags: str) -> Iterator[subprocess.Popen]:
    """Run the service with the starter, which responds when the block begins and is stopped at its end."""
    command = [sys.executable, "-m", "cascade_rcnn", "serve", "starter", "--port", str(port), *flags]
    with subprocess.Popen(command) as process:
        try:
            _wait(port, process)
            yield process
        finally:
            process.send_signal(signal.SIGINT)


def _wait(port: int, process: subprocess.Popen) -> None:
    for _ in range(240):
        time.sleep(0.5)
        if process.poll() is not None:
            break
        try:
            if ask(port, "GET", "/health", b"", "")[0] == 200:
                return
        except OSError:
            continue
    raise SystemExit("the service did not start (see above)")


def ask(port: int, method: str, path: str, body: bytes, kind: str) -> tuple[int, bytes]:
    """Send a request on a new connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, path, body, {"Content-Type": kind})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def load(port: int, pid: int, minutes: float, clients: int, share: float = 0.01) -> Tally:
    """Send requests from several threads for some minutes; this share of them is hostile."""
    tally, start, lock = Tally(minutes), time.perf_counter(), threading.Lock()
    body = form(Path(PHOTO).read_bytes())
    expected = json.loads(ask(port, "POST", "/predict", body, _FORM)[1])

    def client(seed: int) -> None:
        rng = random.Random(seed)
        while (now := time.perf_counter()) < start + 60 * minutes:
            hostile = rng.random() < share
            sent, kind, status = rng.choice(HOSTILE) if hostile else (body, _FORM, 200)
            try:
                found, answer = ask(port, "POST", "/predict", sent, kind)
            except OSError as error:  # a body that is too large may be refused before it has been sent
                found, answer = (413 if status == 413 else 0), str(error).encode()
            right = found == status and (hostile or _close(json.loads(answer), expected))
            with lock:
                while len(tally.taken) <= (now - start) // 60:
                    tally.taken.append([])
                tally.hostile += hostile
                tally.refused += hostile and right
                if not right:
                    tally.wrong.append(f"{status} expected, {found}: {answer[:200]!r}")
                elif not hostile:
                    tally.taken[int((now - start) // 60)].append(time.perf_counter() - now)

    threads = [threading.Thread(target=client, args=[seed]) for seed in range(clients)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(min(60.0, 60 * minutes / 2))
        tally.memory.append(_memory(pid))
    return tally


def _close(found: dict, expected: dict) -> bool:
    a, b = (np.array([[*one["bbox"], one["score"]] for one in answer["detections"]]) for answer in (found, expected))
    return a.shape == b.shape and bool(np.allclose(a, b, atol=0.01))


def _memory(pid: int) -> float:
    """Return the memory of a process and its descendants in MB, with shared pages counted proportionally (PSS)."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    family = {pid}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    total = 0
    for member in family:
        try:
            text = Path(f"/proc/{member}/smaps_rollup").read_text()
        except OSError:
            continue
        total += int(text.partition("\nPss:")[2].split()[0])
    return total / 1e3


def render(tally: Tally, flags: str, clients: int) -> str:
    """Return the page."""
    everything = [second for minute in tally.taken for second in minute]
    lines = [
        "# Serving",
        "",
        f"These results were measured with `python -m benchmarks.service {flags}`: {clients} clients send a photo of",
        "600 x 471 pixels to `cascade-rcnn serve starter`, each as soon as its last request is answered. One in a",
        "hundred requests is hostile: invalid JSON, JSON nested 100,000 levels deep, no image, a damaged image, an",
        "invalid form, 30 MB, or another content type.",
        "",
        f"The clients received {len(everything)} responses, all with the same detections, and sent {tally.hostile}",
        f"hostile requests. {len(tally.wrong)} responses were incorrect.",
        "",
        "| minute | requests/s | p50 | p99 | memory of all processes |",
        "|---|---|---|---|---|",
    ]
    for minute, taken in enumerate(tally.taken):
        if taken:
            p50, p99 = np.percentile(taken, [50, 99])
            span = min(60.0, 60 * (tally.minutes - minute))
            memory = tally.memory[min(minute, len(tally.memory) - 1)]
            lines.append(f"| {minute + 1} | {len(taken) / span:.2f} | {p50:.2f} s | {p99:.2f} s | {memory:.0f} MB |")
    here = describe()
    where = (
        f"{here['processor']}, {here['cores']} cores, {gpu_of(here)}; Python {here['python']}, torch {here['torch']}"
    )
    return "\n".join([*lines, "", f"{where}; {here['date']}.", ""])


if __name__ == "__main__":
    main()
