"""The page template: what it escapes, what it embeds, and that a missing value is an error."""

import base64
import io

import jinja2
import numpy as np
import PIL.Image
import pytest

from cascade_rcnn.pages import data_uri, render


@pytest.fixture
def template(monkeypatch):
    """Return a function that renders a page with given content."""

    def page(content: str, **values: object) -> str:
        own = jinja2.DictLoader({"own": '{% extends "base.html.j2" %}{% block content %}' + content + "{% endblock %}"})
        both = jinja2.ChoiceLoader([own, jinja2.PackageLoader("cascade_rcnn", "pages")])
        monkeypatch.setattr("jinja2.PackageLoader", lambda *_: both)
        return render("own", **values)

    return page


def test_values_are_escaped_and_can_be_written(template):
    page = template("<p>{{ name }}</p>", name="<b>\udcff & \x1b")
    assert r"<p>&lt;b&gt;\udcff &amp; \x1b</p>" in page
    page.encode()


def test_lines_of_a_text_stay_lines(template):
    assert "<pre>a\nb\\x07</pre>" in template("<pre>{{ text }}</pre>", text="a\nb\x07")


def test_a_missing_value_is_an_error(template):
    with pytest.raises(jinja2.UndefinedError, match="absent"):
        template("{{ absent }}")


def test_the_shell_asks_for_nothing_outside(template):
    page = template("")
    assert "default-src 'none'" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "@import" not in page
    assert "url(" not in page


def test_tables_mark_names_words_and_tags(template):
    call = (
        '{% from "parts.html.j2" import table %}{{ table(["class", "boxes", "note"], rows, text=[2], tags=[["a"]]) }}'
    )
    page = template(call, rows=[["<cell>", 3, "few"]])
    assert '<tr data-tags="a"><th scope="row">&lt;cell&gt;</th><td>3</td><td class="text">few</td></tr>' in page


def test_pictures_are_reduced_and_decode_again():
    image = np.zeros((300, 900, 3), np.uint8)
    image[:, 450:] = (200, 30, 30)
    uri = data_uri(image, longest=300)
    assert uri.startswith("data:image/webp;base64,")
    with PIL.Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as picture:
        assert (picture.format, picture.size) == ("WEBP", (300, 100))
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert abs(pixels[50, 250] - [200, 30, 30]).max() < 12
    assert pixels[50, 50].max() < 12


def test_small_pictures_and_the_callers_stay_as_they_are():
    picture = PIL.Image.new("L", (40, 20), 128)
    uri = data_uri(picture, longest=300)
    assert PIL.Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).size == (40, 20)
    large = PIL.Image.new("RGB", (400, 200))
    data_uri(large, longest=100)
    assert large.size == (400, 200)
