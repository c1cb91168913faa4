"""Files of runs, and what is said of damaged ones."""

import pytest

from cascade_rcnn.errors import UserError
from cascade_rcnn.files import write_json
from cascade_rcnn_study.run_files import Samples, Speed, read_file


def test_a_file_is_read_if_it_has_what_is_used(tmp_path):
    path, speed = tmp_path / "speed.json", {"training_seconds_per_image": 1, "test_seconds_per_image": 2.5}
    write_json(path, speed | {"device": "cpu"})
    assert read_file(path, Speed) == speed | {"device": "cpu"}
    for wrong, said in (
        ({"training_seconds_per_image": 1}, "Object missing required field `test_seconds_per_image`"),
        (speed | {"test_seconds_per_image": "2 s"}, r"Expected `float`, got `str` - at `$.test_seconds_per_image`"),
    ):
        write_json(path, wrong)
        with pytest.raises(UserError) as error:
            read_file(path, Speed)
        assert str(error.value) == f"{path}: not readable ({said}); copy it again, or delete it and rerun the study"
    path.write_text('{"a": 1, "b')
    with pytest.raises(UserError, match=r"not readable \(not a JSON file .*\); copy it again"):
        read_file(path)


def test_what_is_inside_is_read_as_well(finished, tmp_path):
    samples = read_file(finished / "runs" / "cascade-seed0" / "samples.json", Samples)
    del samples["stages"][1]["scatter"]
    write_json(tmp_path / "samples.json", samples)
    with pytest.raises(UserError, match=r"missing required field `scatter` - at `\$\.stages\[1\]`"):
        read_file(tmp_path / "samples.json", Samples)
