"""Weights & Biases and MLflow, by their own packages.

Their environment variables choose server, project and mode, such as WANDB_MODE=offline or MLFLOW_TRACKING_URI. The ids
of their runs are kept in the output folder, so that a resumed training continues them.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from lightning_fabric.loggers.logger import Logger

from cascade_rcnn.errors import UserError, reason
from cascade_rcnn.extras import needs
from cascade_rcnn.files import read_json, write_json
from cascade_rcnn.recipes import flattened
from cascade_rcnn.text import printable

LoggerName: TypeAlias = Literal["wandb", "mlflow"]
PROJECT = "cascade-rcnn"
_IDS = "loggers.json"
_MOST = 100  # parameters in a request to MLflow


_METHODS = ("log_hyperparams", "log_metrics", "finalize")  # of Lightning's loggers


def as_logger(given: Logger | str) -> Logger:
    """Return the logger of a name, or the given object. Raises UserError for other names and missing packages."""
    if not isinstance(given, str) and all(callable(getattr(given, name, None)) for name in _METHODS):
        return given
    if given not in get_args(LoggerName):
        raise UserError(f"there is no logger {given!r}; give wandb, mlflow, or an object with {', '.join(_METHODS)}")
    return WandbLogger() if given == "wandb" else MLflowLogger()


class _RunLogger(Logger):
    """A logger whose run is begun, or continued, when training gives its settings."""

    kind: LoggerName

    def __init__(self) -> None:
        self.id: str | None = None

    @property
    def name(self) -> str:
        """The logger's name."""
        return self.kind

    @property
    def version(self) -> str | None:
        """The id of the run, once begun."""
        return self.id

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Begin a run with a training's settings, or continue the one that its output folder names."""
        output = Path(params["output"])
        ids = read_json(output / _IDS) if (output / _IDS).is_file() else {}
        self.id = self._begin(output, params, ids.get(self.kind))
        write_json(output / _IDS, ids | {self.kind: self.id})

    def _begin(self, output: Path, settings: dict[str, Any], known: str | None) -> str:
        raise NotImplementedError


class WandbLogger(_RunLogger):
    """Weights & Biases; WANDB_PROJECT names the project, otherwise "cascade-rcnn"."""

    kind = "wandb"

    def __init__(self) -> None:
        super().__init__()
        needs("logger wandb", "wandb", "wandb")

    def _begin(self, output: Path, settings: dict[str, Any], known: str | None) -> str:
        import wandb

        try:
            self.run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                name=output.resolve().name,
                dir=output,
                config=settings,
                id=known,
                resume=None if known is None else "allow",
            )
        except wandb.Error as error:
            said = reason(error).rstrip(".")
            raise UserError(f"wandb: {said}; set WANDB_MODE=offline to log without an account") from None
        return self.run.id

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log numbers at an update."""
        self.run.log(metrics, step=step)

    def finalize(self, status: str) -> None:
        """End the run."""
        self.run.finish(exit_code=0 if status == "success" else 1)


class MLflowLogger(_RunLogger):
    """MLflow; MLFLOW_EXPERIMENT_NAME names the experiment, otherwise "cascade-rcnn"."""

    kind = "mlflow"

    def __init__(self) -> None:
        super().__init__()
        needs("logger mlflow", "mlflow", "mlflow", "sqlalchemy", "alembic")
        self.failed = False

    def _begin(self, output: Path, settings: dict[str, Any], known: str | None) -> str:
        from mlflow import MlflowClient, MlflowException
        from mlflow.entities import Param
        from sqlalchemy.exc import SQLAlchemyError

        try:
            self.client = MlflowClient()
            if known is not None:
                self.client.update_run(known, status="RUNNING")
                return known
            experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
            found = self.client.get_experiment_by_name(experiment)
            place = self.client.create_experiment(experiment) if found is None else found.experiment_id
            run = self.client.create_run(place, run_name=output.resolve().name).info.run_id
            rows = [Param(name, str(value)) for name, value in flattened(settings).items()]
            for start in range(0, len(rows), _MOST):
                self.client.log_batch(run, params=rows[start : start + _MOST])
            return run
        except (MlflowException, SQLAlchemyError, ImportError) as error:  # the last: a missing driver of a database
            raise UserError(f"mlflow: {reason(error).rstrip('.')}; check MLFLOW_TRACKING_URI") from None

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log numbers at an update. A server that fails is noted once, as a training should survive it."""
        from mlflow import MlflowException
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        try:
            assert self.id is not None
            self.client.log_batch(self.id, [Metric(name, value, now, step or 0) for name, value in metrics.items()])
        except MlflowException as error:
            if not self.failed:
                print(
                    f"note: mlflow: {printable(reason(error).rstrip('.'))}; train.csv has what it lacks",
                    file=sys.stderr,
                )
            self.failed = True

    def finalize(self, status: str) -> None:
        """End the run."""
        from mlflow import MlflowException

        try:
            assert self.id is not None
            self.client.set_terminated(self.id, "FINISHED" if status == "success" else "FAILED")
        except MlflowException:
            self.failed = True
