"""The Optuna search: three short training runs, one of them pruned."""

import importlib.util
from pathlib import Path

import pytest

from cascade_rcnn.data.shapes import write_shapes

pytest.importorskip("optuna")
pytestmark = pytest.mark.slow
EXAMPLE = Path(__file__).parents[2] / "examples" / "tune.py"
SETTINGS = {"accelerator": "cpu", "workers": 0, "options": {"min_size": 64, "max_size": 64}}


@pytest.fixture
def tune():
    spec = importlib.util.spec_from_file_location("tune", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore")  # from a library's database
def test_a_trial_that_does_not_learn_is_pruned_and_the_search_goes_on(tune, tmp_path):
    write_shapes(tmp_path / "shapes", train=8, val=3, size=64, seed=0)

    def search(trials: int) -> list:
        study = tune.make_study(tmp_path / "runs", startup=1)
        if not study.trials:
            for rate in (2e-3, 1e-6):
                study.enqueue_trial({"lr": rate, "augmentation": "horizontal_flip"})
        data, output = str(tmp_path / "shapes"), tmp_path / "runs"
        tune.tune(tune.Options(data=data, output=output, trials=trials, epochs=3, settings=SETTINGS), study)
        return study.trials

    assert len(search(2)) == 2
    good, bad, other = search(3)  # the first two are remembered
    assert (good.state.name, bad.state.name) == ("COMPLETE", "PRUNED")
    assert list(good.intermediate_values) == [1, 2, 3]
    assert good.value == max(good.intermediate_values.values()) > 0
    last = max(bad.intermediate_values)
    assert last < 3
    assert bad.intermediate_values[last] < good.intermediate_values[last]
    rows = (tmp_path / "runs" / "trial_1" / "evaluation.csv").read_text().splitlines()
    assert len(rows) == 1 + last  # it really stopped there
    assert other.params.keys() == {"lr", "augmentation"}


@pytest.mark.filterwarnings("ignore")  # from a library's database
def test_without_validation_data_the_search_ends_with_one_line(tune, tmp_path):
    write_shapes(tmp_path / "shapes", train=4, val=1, size=64, seed=0)
    options = tune.Options(data=str(tmp_path / "shapes/train.json"), output=tmp_path, epochs=2, settings=SETTINGS)
    with pytest.raises(SystemExit, match="error: no validation data to compare trials on"):
        tune.tune(options, tune.make_study(tmp_path))
