"""Report pages in a real browser: slow, and skipped where Chromium is missing."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cascade_rcnn.reporting import comparison_page, page
from cascade_rcnn.reporting.analysis import Training, analyse
from cascade_rcnn.reporting.comparison import compare

from .test_page import CURVES, FOUND, STAGES, TRUTH

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(scene, tmp_path_factory) -> dict[str, Path]:
    """Write a report and a comparison."""
    folder = tmp_path_factory.mktemp("pages")
    evidence = scene(TRUTH, FOUND, images=4, pixels=True)
    analysis = analyse(evidence, stages=STAGES, training=Training(curves=CURVES, images=40, min_size=(320,)))
    better = scene(TRUTH, [(*row[:5], 0.9, row[5]) for row in TRUTH], images=4, pixels=True)
    written = {
        "report": page.page(analysis, {"run": "runs/one"}),
        "comparison": comparison_page.page(compare(evidence, better), ["first", "second"], {}),
    }
    for name, html in written.items():
        (folder / f"{name}.html").write_text(html, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in written}


@pytest.fixture
def show(browser, files) -> Iterator[Any]:
    """Open a page at a given width; check afterwards that it reported no error and requested nothing but itself."""
    asked: list[str] = []
    said: list[str] = []
    contexts = []

    def opened(name: str, width: int = 1280, scheme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        contexts.append(context)
        shown = context.new_page()
        shown.on("request", lambda request: asked.append(request.url))
        shown.on("console", lambda message: said.append(message.text))
        shown.on("pageerror", lambda error: said.append(str(error)))
        shown.goto(files[name].as_uri())
        return shown

    yield opened
    for context in contexts:
        context.close()
    own = tuple(path.as_uri() for path in files.values())
    assert all(url.startswith((*own, "data:")) for url in asked)
    assert said == []


@pytest.mark.parametrize("name", ["report", "comparison"])
def test_every_picture_loads(show, name):
    shown = show(name)
    shown.evaluate("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
    shown.wait_for_function("[...document.querySelectorAll('main img')].every(image => image.complete)")
    widths = shown.evaluate("[...document.querySelectorAll('main img')].map(image => image.naturalWidth)")
    assert len(widths) >= 3
    assert all(widths)


@pytest.mark.parametrize("name", ["report", "comparison"])
def test_wide_tables_scroll_inside_themselves_on_a_phone(show, name):
    shown = show(name, width=390)
    assert shown.evaluate("document.documentElement.scrollWidth") <= 390
    wide = shown.evaluate("[...document.querySelectorAll('.wide')].filter(x => x.scrollWidth > x.clientWidth).length")
    assert wide >= 1


def test_text_of_plots_follows_the_scheme(show):
    """Dark text on light becomes light text on dark."""
    colours = [
        show("report", scheme=scheme).evaluate("getComputedStyle(document.querySelector('svg.chart text')).fill")
        for scheme in ("light", "dark")
    ]
    dark, light = (sum(map(int, colour[4:-1].split(","))) for colour in colours)
    assert dark < 380 < light


def test_filters_show_the_worst_or_the_best(show):
    shown = show("report")
    visible = "[...document.querySelectorAll('#image-list figure')].filter(x => !x.hidden).map(x => x.dataset.tags)"
    before = shown.evaluate(visible)
    shown.click("[data-filters='#image-list'] button[data-show='worst']")
    assert shown.evaluate(visible) == [tag for tag in before if tag == "worst"]
    shown.click("[data-filters='#image-list'] button[data-show='']")
    assert shown.evaluate(visible) == before


def test_filters_offer_what_there_is(show):
    """No image of the comparison is lost."""
    shown = show("comparison")
    enabled = "[...document.querySelectorAll('.filters button')].filter(x => !x.disabled).map(x => x.dataset.show)"
    assert shown.evaluate(enabled) == ["", "won"]


def test_printed_text_is_dark(show):
    shown = show("report", scheme="dark")
    ink = "getComputedStyle(document.body).color"
    assert shown.evaluate(ink) == "rgb(232, 235, 240)"
    shown.emulate_media(media="print")
    assert shown.evaluate(ink) == "rgb(22, 25, 31)"


@pytest.mark.parametrize("kind", ["hit", "slip"])
def test_full_cells_of_the_confusion_matrix_are_legible_in_the_dark(show, kind):
    """The contrast of the text is at least 4.5, as WCAG demands."""
    cell = "document.querySelector('.matrix td')"
    shown = show("report", scheme="dark")
    shown.evaluate(f"{cell}.className = '{kind}'; {cell}.style.setProperty('--share', 1)")
    ink, cover = (
        np.array([float(x) for x in re.findall(r"[\d.]+", shown.evaluate(f"getComputedStyle({cell}).{name}"))])
        for name in ("color", "backgroundColor")
    )
    card = np.array([24, 28, 35]) / 255
    ground = cover[3] * cover[:3] + (1 - cover[3]) * card
    assert (luminance(ink / 255) + 0.05) / (luminance(ground) + 0.05) >= 4.5


def luminance(rgb: np.ndarray) -> float:
    """Return the relative luminance of a colour, 0 to 1."""
    linear = np.where(rgb <= 0.03928, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def test_intervals_sort_as_numbers(show):
    """Classes in too few images have none, and come last."""
    shown = show("report")
    rows = "[...document.querySelector('#thresholds tbody').rows]"
    texts = ["9.4 to 33.4", "fewer than 10 images", "12.5 to 28.7"]
    shown.evaluate(f"texts => {rows}.forEach((row, k) => {{ row.cells[1].textContent = texts[k % 3] }})", texts)
    shown.locator("#thresholds th", has_text="precision").first.click()
    sorted_texts = list(dict.fromkeys(shown.evaluate(f"{rows}.map(row => row.cells[1].textContent)")))
    assert sorted_texts == ["12.5 to 28.7", "9.4 to 33.4", "fewer than 10 images"]


def test_tables_sort_both_ways(show):
    shown = show("report")
    column = "[...document.querySelector('#thresholds tbody').rows].map(row => parseFloat(row.cells[1].textContent))"
    head = shown.locator("#thresholds th", has_text="precision").first
    head.click()
    falling = [value for value in shown.evaluate(column) if value is not None]
    assert falling == sorted(falling, reverse=True)
    assert len(set(falling)) > 1
    head.press("Enter")
    rising = [value for value in shown.evaluate(column) if value is not None]
    assert rising == sorted(rising)


def test_a_picture_opens_large(show):
    shown = show("report")
    shown.click("#image-list img >> nth=0")
    assert shown.evaluate("document.getElementById('large').open")
