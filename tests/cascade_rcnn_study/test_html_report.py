"""The HTML report."""

from xml.etree import ElementTree

from cascade_rcnn_study.html_report import html_page
from cascade_rcnn_study.report_sections import Section, TextTable


def test_it_is_well_formed_and_escapes(tmp_path):
    drawing = tmp_path / "a.svg"
    drawing.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    grid = TextTable(heads=("name", "", "AP"), rows=(("a < b", "paper", "1.0"), ("", "ours", "missing")))
    section = Section(title="T & F", note="n", tables=(("c", grid),), figure=drawing, missing=("x",))
    page = html_page({"data": "<set>"}, [section], grid)
    body = page[page.index("<body>") : page.index("</html>")].replace("<img", "<i").replace('">\n', '"/>\n')
    assert "&lt;set&gt;" in body
    assert "a &lt; b" in body
    assert '<tr class="paper">' in body
    assert '<td class="missing">missing</td>' in body
    assert "data:image/svg+xml;base64," in body
    for tag in ("section", "table", "tr", "td", "dl"):
        assert body.count(f"<{tag}>") + body.count(f"<{tag} ") == body.count(f"</{tag}>")
    table = body[body.index("<table>") : body.index("</table>") + 8]
    assert len(ElementTree.fromstring(table).findall("tbody/tr")) == 2


def test_labels_are_left_and_numbers_right():
    page = html_page(
        {}, [], TextTable(heads=("run", "seed", "model"), rows=(("a", "0", "faster"), ("b", "1", "cascade")))
    )
    assert '<th class="label">run</th><th>seed</th><th class="label">model</th>' in page
