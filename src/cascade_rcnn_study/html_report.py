"""The report as one HTML file that includes its styles and figures, for screens and print."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from cascade_rcnn_study.report_sections import MISSING, PAPER, Section, TextTable

_STYLE = """
body { font: 15px/1.45 Georgia, serif; color: #111; background: #fff; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem }
h1, h2, th { font-family: Helvetica, Arial, sans-serif }
h1 { font-size: 1.6rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
table { border-collapse: collapse; margin: .8rem 0; font-size: .88rem; font-variant-numeric: tabular-nums }
.wide { overflow-x: auto }
th, td { padding: .2rem .6rem; text-align: right; white-space: nowrap }
th { border-bottom: 2px solid #111; border-top: 2px solid #111 } tr:last-child td { border-bottom: 2px solid #111 }
th.label, td.label { text-align: left }
tr.paper td { color: #666 } td.missing { color: #b00; font-style: italic }
p.note { max-width: 46rem } p.missing { color: #b00 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem } dt { font-weight: bold } dd { margin: 0 }
img { max-width: 100%; display: block; margin: .8rem 0 }
@media print { body { font-size: 10pt; margin: 0; max-width: none } .wide { overflow: visible }
  table { font-size: 8pt } th, td { padding: .1rem .35rem } section { break-inside: avoid } }
"""


def html_page(facts: Mapping[str, str], sections: Sequence[Section], runs: TextTable) -> str:
    """Return the page, which needs no other files."""
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts.items())
    parts = [*map(_section, sections), f"<section><h2>Training runs</h2>{_table(runs)}</section>"]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        'content="width=device-width"><title>Cascade R-CNN: the paper\'s tables and figures</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>Cascade R-CNN: the paper's tables and figures</h1>\n"
        f"<dl>{listed}</dl>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _section(section: Section) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>", f'<p class="note">{escape(section.note)}</p>']
    for caption, table in section.tables:
        parts += [f'<p class="note">{escape(caption)}</p>' if caption else "", _table(table)]
    if section.figure is not None:
        parts.append(_picture(section.figure, section.title))
    if section.missing:
        parts.append(f'<p class="missing">Missing: {escape(", ".join(section.missing))}.</p>')
    return f"<section>{''.join(parts)}</section>"


def _picture(path: Path, title: str) -> str:
    """Embed a drawing as an image, so that the ids of two drawings cannot clash."""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{escape(title)}" src="data:image/svg+xml;base64,{data}">'


def _table(table: TextTable) -> str:
    labels = {
        k for k, head in enumerate(table.heads) if k == 0 or not head or all(_is_word(row[k]) for row in table.rows)
    }
    head = "".join(f"<th{_class(k in labels, '')}>{escape(text)}</th>" for k, text in enumerate(table.heads))
    body = []
    for row in table.rows:
        cells = "".join(f"<td{_class(k in labels, text)}>{escape(text)}</td>" for k, text in enumerate(row))
        kind = f' class="{PAPER}"' if PAPER in row else ""
        body.append(f"<tr{kind}>{cells}</tr>")
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def _is_word(text: str) -> bool:
    return (not text[:1].isdigit() and text[:1] not in "+-" and text != MISSING) or not text


def _class(label: bool, text: str) -> str:
    name = "missing" if text == MISSING else "label" if label else ""
    return f' class="{name}"' if name else ""
