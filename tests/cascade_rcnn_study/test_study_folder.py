"""The files of a study's runs."""

import pytest

from cascade_rcnn.errors import UserError
from cascade_rcnn.files import write_json
from cascade_rcnn_study.study_folder import StudyFolder


def test_a_setting_is_measured_when_both_its_files_are_there(tmp_path):
    run = StudyFolder(tmp_path).run("baseline-60", 3)
    assert run.path == tmp_path / "runs" / "baseline-60-seed3"
    write_json(run.path / "metrics" / "default.json", {})
    assert not run.has("default")
    run.detections("default").parent.mkdir()
    run.detections("default").touch()
    assert run.has("default")


def test_other_measurements_are_one_file_each(tmp_path):
    run = StudyFolder(tmp_path).run("cascade", 0)
    for name in ("localization", "samples", "speed"):
        assert not run.has(name)
        run.write(f"{name}.json", {})
        assert run.has(name)


def test_samples_are_of_as_many_images_as_asked_for_or_of_all(tmp_path):
    run = StudyFolder(tmp_path).run("cascade", 0)
    run.write("training.json", {"data": {"train": {"images": 500}}})
    assert not run.has_samples(1)
    run.write("samples.json", {"images": 304, "edges": [], "stages": []})  # whole batches
    assert run.has_samples(300)
    assert not run.has_samples(400)
    run.write("samples.json", {"images": 500, "edges": [], "stages": []})
    assert run.has_samples(1000)


def test_what_has_not_been_measured_is_none(tmp_path):
    run = StudyFolder(tmp_path).run("cascade", 0)
    assert run.read("localization.json") is run.metrics("with-truth") is run.matches("with-truth") is None


def test_seeds_are_those_that_are_trained(tmp_path):
    folder = StudyFolder(tmp_path)
    for name, seed in (("cascade", 2), ("cascade", 10), ("cascade-2", 0)):
        folder.run(name, seed).write("training.json", {})
    (folder.run("cascade", 5).path).mkdir()
    write_json(folder.runs / "cascade-seed02" / "training.json", {})  # a copy, not another seed
    assert folder.seeds("cascade") == [2, 10]
    assert [(run.name, run.seed) for run in folder.trained()] == [("cascade", 2), ("cascade", 10), ("cascade-2", 0)]
    assert StudyFolder(tmp_path / "none").trained() == []


FILES = ("localization.json", "samples.json", "speed.json", "outputs.json", "metrics/default.json")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("content", ["", '{"images": 3, "sta', "{}", "[7]", "7"])
def test_a_damaged_file_is_named_with_what_to_do(file, content, tmp_path):
    run = StudyFolder(tmp_path).run("cascade", 0)
    path = run.path / file
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(UserError, match=r"copy it again, or delete it and rerun the study") as error:
        run.metrics("default") if "metrics" in file else run.read(file)
    assert str(error.value).startswith(f"{path}: not readable (")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ap", "0.5", r"Expected `float`, got `str` - at `\$\.ap`"),
        ("ap_small", {}, r"got `object` - at `\$\.ap_small`"),
        ("precision_by_iou", [0.5], "precision_by_iou has 1 values"),
    ],
)
def test_metrics_are_numbers(name, value, said, finished, tmp_path):
    values = StudyFolder(finished).run("baseline", 0).metrics("default").to_dict()
    run = StudyFolder(tmp_path).run("baseline", 0)
    write_json(run.path / "metrics" / "default.json", values | {name: value})
    with pytest.raises(UserError, match=rf"baseline-seed0/metrics/default\.json: not readable \(.*{said}"):
        run.metrics("default")
