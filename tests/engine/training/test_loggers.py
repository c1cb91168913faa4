"""Other tools' loggers: what they have written, offline, is read back by their own means."""

import csv

import pytest

from cascade_rcnn.engine.training.callbacks import Hooks
from cascade_rcnn.engine.training.train import train

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def _values(path) -> list[float]:
    with path.open() as file:
        return [float(row["ap50"] if "ap50" in row else row["loss"]) for row in csv.DictReader(file)]


def test_mlflow(recipe, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    loggers = pytest.importorskip("lightning.pytorch.loggers")
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    logger = loggers.MLFlowLogger("shapes", tracking_uri=address)
    output = train(recipe, hooks=Hooks(loggers=[logger]))
    client = mlflow.tracking.MlflowClient(address)
    run = client.get_run(logger.run_id)
    assert run.info.status == "FINISHED"
    losses = [one.value for one in client.get_metric_history(logger.run_id, "train/loss")]
    assert losses == pytest.approx(_values(output / "train.csv"), rel=1e-5)
    scores = [one.value for one in client.get_metric_history(logger.run_id, "evaluation/ap50")]
    assert scores == pytest.approx(_values(output / "evaluation.csv"), rel=1e-5, abs=1e-9)
    assert run.data.params["epochs"] == "2"
