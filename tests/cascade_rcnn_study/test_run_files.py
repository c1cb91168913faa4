"""Files of runs, and what is said of damaged ones."""

import pytest

from cascade_rcnn.errors import UserError
from cascade_rcnn_study.run_files import read_file


def test_a_file_is_read_if_it_has_its_fields(tmp_path):
    path = tmp_path / "speed.json"
    path.write_text('{"a": 1, "b": 2}')
    assert read_file(path, ("a", "b")) == {"a": 1, "b": 2}
    with pytest.raises(UserError) as error:
        read_file(path, ("a", "c"))
    assert str(error.value) == f"{path}: not readable (no c); copy it again, or delete it and rerun the study"
    path.write_text('{"a": 1, "b')
    with pytest.raises(UserError, match=r"not readable \(not a JSON file .*\); copy it again"):
        read_file(path)
