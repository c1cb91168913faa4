"""Only what a kill has left incomplete is removed from a folder of results."""

from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("ray")

import pyarrow as pa
import pyarrow.parquet as pq

from cascade_rcnn import UserError
from cascade_rcnn.ray import PredictionSummary
from cascade_rcnn.ray.results import read_results
from cascade_rcnn.ray.storage import Place


@pytest.fixture
def results(tmp_path) -> Path:
    """Return a folder with the rows of three images, one of which could not be used."""
    errors = pa.array([None, "cannot be opened", None], pa.string())
    pq.write_table(pa.table({"path": ["a", "b", "c"], "error": errors}), tmp_path / "1.parquet")
    return tmp_path


def test_files_cut_off_are_removed(results):
    content = (results / "1.parquet").read_bytes()
    (results / "2.parquet").write_bytes(content[:-10])
    (results / "3.parquet").touch()
    assert read_results(Place(results)) == (Counter("abc"), 1)
    assert [path.name for path in results.iterdir()] == ["1.parquet"]


def test_other_files_are_refused_and_kept(results):
    other = results / "summary.parquet"
    pq.write_table(pa.table({"total": [3]}), other)
    with pytest.raises(UserError, match=r"summary\.parquet cannot be read as one of these results"):
        read_results(Place(results))
    content = (results / "1.parquet").read_bytes()
    other.write_bytes(content[:10] + bytes(len(content) - 14) + b"PAR1")
    with pytest.raises(UserError, match="move it elsewhere"):
        read_results(Place(results))
    assert other.exists()


def test_rows_that_cannot_be_told_apart_are_counted(results):
    pq.write_table(pa.table({"path": ["a", "d"], "error": pa.nulls(2, pa.string())}), results / "2.parquet")
    found, failed = read_results(Place(results))
    assert (found["a"], found.total(), failed) == (2, 5, 1)
    (note,) = PredictionSummary(5, 0, failed, "found", found.total() - len(found)).notes
    assert note.startswith("1 row of images with the name of another one: ")
    assert PredictionSummary(5, 0, failed, "found").notes == []
