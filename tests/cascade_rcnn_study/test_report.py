"""The report of `study run all` contains every table and figure."""

import json
import math
import re
import shutil

import PIL.Image
import pytest

from cascade_rcnn.errors import UserError
from cascade_rcnn.files import read_json, write_json
from cascade_rcnn_study.artifacts import choose
from cascade_rcnn_study.figures import FIGURES
from cascade_rcnn_study.report import check_report, render


@pytest.fixture(scope="module")
def report(finished):
    return render(finished, [artifact.name for artifact in choose(["all"])], resamples=5).parent


def numbers(value) -> list[float]:
    if isinstance(value, dict):
        return [x for one in value.values() for x in numbers(one)]
    if isinstance(value, list):
        return [x for one in value for x in numbers(one)]
    return [value] if isinstance(value, float) else []


def test_every_table_and_figure_is_in_every_form(report):
    values = read_json(report / "report.json")
    assert [table["name"] for table in values["tables"]] == [f"table{k}" for k in range(1, 7)]
    figures = ["figure1", "figure1ab", *(f"figure{k}" for k in range(2, 8))]
    assert [figure["name"] for figure in values["figures"]] == figures
    assert len(values["runs"]) == 13
    assert "NaN" not in (report / "report.json").read_text()  # which JSON does not have
    for text in ((report / "report.md").read_text(), (report / "report.html").read_text()):
        assert all(f"Table {k}: " in text for k in range(1, 7))
        assert all(f"Figure {k}" in text for k in range(1, 8))
        assert "missing" not in text.lower().replace("td.missing", "").replace("p.missing", "")


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_a_picture_a_drawing_and_numbers(name, report):
    values = read_json(report / "figures" / f"{name}.json")
    assert values["missing"] == []
    assert "ection" in values["definition"]
    found = numbers(values)
    assert found
    assert all(math.isfinite(x) for x in found)
    with PIL.Image.open(report / "figures" / f"{name}.png") as picture:
        assert min(picture.size) > 400
    assert (report / "figures" / f"{name}.svg").read_text().rstrip().endswith("</svg>")


def test_the_page_needs_no_other_file(report):
    page = (report / "report.html").read_text()
    assert page.count("data:image/svg+xml;base64,") == 8
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert page.count("<table>") == page.count("</table>") == 6 + 5 + 1  # tables, differences, runs
    record = read_json(report / "report.json")["runs"][0]
    for fact in (
        "train.json: 4 images",
        "1 epoch, batch size 2",
        record["machine"]["torch"],
        "paper",
        "32-true",
        "0, 1",
    ):
        assert re.search(f"<(td|dd|li)[^>]*>[^<]*{re.escape(fact)}", page)


def test_every_json_is_strict(report):
    files = list(report.rglob("*.json"))
    assert len(files) == 9
    for path in files:
        json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} in a report's JSON"))


@pytest.mark.usefixtures("undrawn")
def test_a_report_of_one_table(finished, tmp_path):
    """Of runs copied without checkpoints, only the requested table is reported, with missing values marked as such."""
    source = finished / "runs" / "baseline-seed0"
    shutil.copytree(source, tmp_path / "runs" / source.name, ignore=shutil.ignore_patterns("training"))
    folder = render(tmp_path, ["table1", "figure2"], resamples=2).parent
    text = (folder / "report.md").read_text()
    assert "| Cascade R-CNN | ours | missing |" in text
    assert "Missing: integral, cascade." in text
    assert "Missing: cascade: samples." in text
    assert "## Table 3" not in text
    assert not (folder / "figures" / "figure2.svg").exists()
    assert (folder / "figures" / "figure2.json").exists()
    assert not (folder / "figures" / "figure1.json").exists()  # not requested, and two of its three curves are missing


def test_a_report_that_cannot_be_written_is_known_before_the_runs(tmp_path):
    (tmp_path / "report" / "report.md").mkdir(parents=True)
    with pytest.raises(UserError, match=r"report\.md: cannot be written"):
        check_report(tmp_path)
    check_report(tmp_path / "another")


def test_what_cannot_stand_in_one_report(finished, tmp_path):
    with pytest.raises(UserError, match="no finished runs"):
        render(tmp_path)
    for name, epochs in (("baseline", 1), ("cascade", 2)):
        record = read_json(finished / "runs" / f"{name}-seed0" / "training.json")
        record["settings"]["epochs"] = epochs
        write_json(tmp_path / "runs" / f"{name}-seed0" / "training.json", record)
    with pytest.raises(UserError, match="baseline-seed0 and cascade-seed0 differ in epochs"):
        render(tmp_path)


@pytest.mark.usefixtures("undrawn")
def test_a_figure_of_nothing_measured_is_numbers_alone(finished, tmp_path):
    shutil.copytree(finished / "runs" / "baseline-seed0", tmp_path / "runs" / "baseline-seed0")
    values = read_json(render(tmp_path, ["figure4"], resamples=1).parent / "report.json")
    architectures, samples = values["figures"]  # the first needs no measurement
    assert (architectures["name"], architectures["missing"], architectures["drawn"]) == ("figure3", [], True)
    assert (samples["name"], samples["missing"], samples["drawn"]) == ("figure4", ["cascade: samples"], False)
