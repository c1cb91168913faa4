"""Train on a Ray cluster: python examples/ray_train.py finetune --data /shared/photos --output /shared/runs/mine.

Ray starts one process per GPU (or per worker, with --cpu) and restarts all of them after a failure; training then
continues from its last saved state. Data and output must be on a file system that all machines share.
"""

import argparse
from pathlib import Path
from typing import Any

import ray.train
from ray.train.torch import TorchTrainer

import cascade_rcnn


def work(settings: dict[str, Any]) -> None:
    """Train in one worker; `train` reads its rank and the address from the environment that Ray sets up."""
    result = cascade_rcnn.train(settings.pop("recipe"), resume="auto", **settings)
    if ray.train.get_context().get_world_rank() == 0:
        print(f"weights: {result.weights}", flush=True)


def main() -> None:
    """Parse the command line and run the trainer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cpu", action="store_true")
    given = parser.parse_args()
    settings: dict[str, Any] = {
        "recipe": given.recipe if not given.recipe.endswith(".json") else str(Path(given.recipe).absolute()),
        "data": str(given.data.absolute()),
        "output": str(given.output.absolute()),
        "epochs": given.epochs,
    }
    if given.cpu:
        settings["accelerator"] = "cpu"
    trainer = TorchTrainer(
        work,
        train_loop_config=settings,
        scaling_config=ray.train.ScalingConfig(num_workers=given.workers, use_gpu=not given.cpu),
        run_config=ray.train.RunConfig(
            name=given.output.name,
            storage_path=str(given.output.absolute().parent / "ray"),
            failure_config=ray.train.FailureConfig(max_failures=3),
        ),
    )
    trainer.fit()


if __name__ == "__main__":
    main()
