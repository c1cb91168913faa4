"""Tune the learning rate and augmentation with Optuna, which stops unpromising training runs early.

    pip install optuna
    python examples/tune.py --data FOLDER --output runs/tune --trials 20 --epochs 6

Each trial is a training run that reports its AP after each epoch, and is pruned if its best AP so far is below the
median of the other trials at that epoch. Finished trials are stored in `tune.db`; the same command continues an
interrupted search.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import tyro

import cascade_rcnn


class Report(cascade_rcnn.Callback):
    """Reports the AP of each epoch to a trial, and stops training if the pruner says so. Exits without an AP."""

    def __init__(self, trial: optuna.Trial) -> None:
        self.trial, self.pruned = trial, False

    def on_epoch_end(self, epoch: cascade_rcnn.EpochEnd) -> bool:
        if epoch.metrics is None:
            sys.exit("error: no validation data to compare trials on; give a folder with a validation split")
        self.trial.report(epoch.metrics.ap, epoch.epoch)
        self.pruned = self.trial.should_prune()
        return self.pruned


@dataclass(frozen=True, kw_only=True)
class Options:
    data: str
    output: Path
    recipe: str = "quickstart"
    trials: int = 20
    epochs: int = 6
    settings: Mapping[str, Any] = field(default_factory=dict)  # recipe settings, the same in all trials


def tune(options: Options, study: optuna.Study) -> None:
    """Run the remaining trials."""

    def objective(trial: optuna.Trial) -> float:
        report = Report(trial)
        result = cascade_rcnn.train(
            options.recipe,
            data=options.data,
            optimizer={"lr": trial.suggest_float("lr", 1e-6, 1e-2, log=True)},
            augmentation=trial.suggest_categorical("augmentation", ["horizontal_flip", "natural"]),
            epochs=options.epochs,
            evaluate_every=1,
            callbacks=[report],
            output=str(options.output / f"trial_{trial.number}"),
            **options.settings,
        )
        if report.pruned:
            raise optuna.TrialPruned
        assert result.metrics is not None
        return result.metrics.ap

    done = sum(trial.state.is_finished() for trial in study.trials)
    study.optimize(objective, n_trials=max(0, options.trials - done))


def make_study(output: Path, *, startup: int = 5) -> optuna.Study:
    """Create or reopen the study in `output`; the first `startup` trials are not pruned."""
    output.mkdir(parents=True, exist_ok=True)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=startup)
    storage = f"sqlite:///{output / 'tune.db'}"
    return optuna.create_study(
        storage=storage, study_name="tune", direction="maximize", pruner=pruner, load_if_exists=True
    )


if __name__ == "__main__":
    options = tyro.cli(Options)
    study = make_study(options.output)
    tune(options, study)
    print(f"best: trial {study.best_trial.number}, AP {study.best_value:.3f}, {study.best_params}")
