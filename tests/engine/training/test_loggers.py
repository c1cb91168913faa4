"""Weights & Biases and MLflow: what they write offline is read back with their own tools."""

import csv
import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from lightning_fabric.loggers import CSVLogger

from cascade_rcnn import extras
from cascade_rcnn.engine.training import loggers
from cascade_rcnn.engine.training.callbacks import Hooks
from cascade_rcnn.engine.training.loggers import as_logger
from cascade_rcnn.engine.training.train import train
from cascade_rcnn.errors import UserError


def _values(path: Path, name: str) -> list[float]:
    with path.open() as file:
        return [float(row[name]) for row in csv.DictReader(file)]


def test_names_and_objects(tmp_path):
    given = CSVLogger(tmp_path)
    assert as_logger(given) is given
    with pytest.raises(UserError, match="there is no logger 'tensorbord'; give wandb, mlflow"):
        as_logger("tensorbord")


@pytest.mark.parametrize(("name", "module"), [("wandb", "wandb"), ("mlflow", "alembic")])
def test_a_missing_package_is_named(monkeypatch, name, module):
    monkeypatch.setattr(extras, "find_spec", lambda asked: None if asked == module else find_spec("sys"))
    with pytest.raises(UserError, match=rf"^logger {name} needs {module}; pip install 'cascade-rcnn\[{name}\]'$"):
        as_logger(name)


@pytest.fixture
def mlflow_server(monkeypatch, tmp_path):
    """Point MLflow to a database in a file."""
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    pytest.importorskip("alembic")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "shapes")
    return mlflow


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mlflow(recipe, mlflow_server):
    logger = as_logger("mlflow")
    output = train(recipe, hooks=Hooks(loggers=[logger]))
    client = mlflow_server.MlflowClient()
    run = client.get_run(logger.version)
    assert run.info.status == "FINISHED"
    assert client.get_experiment(run.info.experiment_id).name == "shapes"
    assert run.info.run_name == output.name
    losses = [one.value for one in client.get_metric_history(logger.version, "train/loss")]
    assert losses == pytest.approx(_values(output / "train.csv", "loss"), rel=1e-5)
    scores = client.get_metric_history(logger.version, "evaluation/ap50")
    assert [one.value for one in scores] == pytest.approx(_values(output / "evaluation.csv", "ap50"), abs=1e-6)
    assert [one.step for one in scores] == _values(output / "evaluation.csv", "step")
    assert (run.data.params["epochs"], run.data.params["optimizer.lr"]) == ("2", "0.001")
    again = as_logger("mlflow")  # a resumed training run continues the same MLflow run, with nothing left to do
    train(recipe, resume=True, hooks=Hooks(loggers=[again]))
    assert again.version == logger.version
    assert len(client.search_runs([run.info.experiment_id])) == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_database_that_fails_does_not_end_a_training(recipe, mlflow_server, monkeypatch, capsys):
    def fail(*_: object, **__: object) -> None:
        raise mlflow_server.MlflowException("the server is away.\nmore")

    logger = as_logger("mlflow")
    begin = loggers.MLflowLogger._begin

    def begin_and_lose(self, *given):
        found = begin(self, *given)
        monkeypatch.setattr(self.client, "log_batch", fail)
        return found

    monkeypatch.setattr(loggers.MLflowLogger, "_begin", begin_and_lose)
    output = train(replace(recipe, epochs=1), hooks=Hooks(loggers=[logger]))
    assert (output / "results.json").is_file()
    assert capsys.readouterr().err.count("note: mlflow: the server is away; train.csv has what it lacks") == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("address", ["unknown://place", "postgresql+psycopg9://host/db"])
def test_an_address_that_cannot_be_opened_is_one_line(mlflow_server, monkeypatch, tmp_path, address):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(UserError, match=r"^mlflow: .*; check MLFLOW_TRACKING_URI$"):
        as_logger("mlflow").log_hyperparams({"output": str(tmp_path)})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_lost_run_of_mlflow_is_one_line(recipe, mlflow_server):
    train(replace(recipe, epochs=1), hooks=Hooks(loggers=[]))
    (Path(recipe.output) / "loggers.json").write_text(json.dumps({"mlflow": "0" * 32}))
    with pytest.raises(UserError, match=r"^mlflow: .*0000.*; check MLFLOW_TRACKING_URI$"):
        train(replace(recipe, epochs=1), resume=True, hooks=Hooks(loggers=[as_logger("mlflow")]))


def _records(path: Path) -> Iterator[Any]:
    """Read a file of Weights & Biases: a LevelDB log in blocks of 32 KiB, after a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, parts = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:  # padding, too short for another header
            place += 32768 - place % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a complete record, or the last part of one
            yield Record.FromString(parts)
            parts = b""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_wandb_offline(recipe, monkeypatch):
    pytest.importorskip("wandb")
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_PROJECT": "shapes"}.items():
        monkeypatch.setenv(name, value)
    logger = as_logger("wandb")
    output = train(recipe, hooks=Hooks(loggers=[logger]))
    (path,) = output.glob(f"wandb/offline-run-*/run-{logger.version}.wandb")
    assert json.loads((output / "loggers.json").read_text()) == {"wandb": logger.version}
    rows, settings, name = [], {}, None
    for record in _records(path):
        if record.HasField("run"):
            settings |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            name = (record.run.project, record.run.display_name)
        if record.HasField("history"):
            rows.append({"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item})
    assert name == ("shapes", output.name)
    assert (settings["epochs"], settings["optimizer"]["lr"]) == (2, 1e-3)
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert losses == pytest.approx(_values(output / "train.csv", "loss"), rel=1e-5)
    scores = [row["evaluation/ap50"] for row in rows if "evaluation/ap50" in row]
    assert scores == pytest.approx(_values(output / "evaluation.csv", "ap50"), abs=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_wandb_without_an_account_is_one_line(recipe, monkeypatch):
    wandb = pytest.importorskip("wandb")

    def init(**_: object) -> None:
        raise wandb.errors.UsageError("No API key configured.\nUse `wandb login` to log in.")

    monkeypatch.setattr(wandb, "init", init)
    expected = r"^wandb: No API key configured; set WANDB_MODE=offline to log without an account$"
    with pytest.raises(UserError, match=expected):
        train(recipe, hooks=Hooks(loggers=[as_logger("wandb")]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_logger_of_lightning(recipe, mlflow_server):
    lightning = pytest.importorskip("lightning.pytorch.loggers")
    logger = lightning.MLFlowLogger("lightning", tracking_uri=mlflow_server.get_tracking_uri())
    output = train(replace(recipe, epochs=1), hooks=Hooks(loggers=[logger]))
    losses = mlflow_server.MlflowClient().get_metric_history(logger.run_id, "train/loss")
    assert [one.value for one in losses] == pytest.approx(_values(output / "train.csv", "loss"), rel=1e-5)
