import json

import pytest

pytest.importorskip("litserve")

from benchmarks.service import HOSTILE, Tally, form, render


def test_the_page_has_a_row_per_minute():
    tally = Tally(1.5, taken=[[1.0] * 60, [1.0, 3.0] * 30], hostile=2, memory=[900, 950])
    page = render(tally, "--minutes 1.5", 4)
    assert "| 1 | 1.00 | 1.00 s | 1.00 s | 900 MB |" in page
    assert "| 2 | 2.00 | 2.00 s | 3.00 s | 950 MB |" in page  # 60 requests in 30 seconds
    assert "received 120 responses, all with the same detections, and sent 2\nhostile requests. 0 responses" in page


def test_hostile_requests_are_what_they_should_be():
    assert len({(body[:20], kind) for body, kind, _ in HOSTILE}) == len(HOSTILE)
    assert json.loads(HOSTILE[2][0])
    assert form(b"abc").count(b"--x") == 2
