from pathlib import Path

from cascade_rcnn.inspection.kinds import KINDS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "look.md"


def test_the_documentation_names_every_kind():
    page = PAGE.read_text(encoding="utf-8")
    for code, kind in KINDS.items():
        assert f"| `{code}` | {kind.title} | {kind.severity} |" in page
