"""The settings in which the checkpoints of a study are evaluated. Stages are counted from 1."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class EvaluationSetting:
    """A way to evaluate a checkpoint: inference options, and the boxes that its heads start from."""

    name: str
    inference: Mapping[str, Any] = field(default_factory=dict)  # options of `cascade_rcnn.load`
    inputs: int = 1  # start from the inputs of this stage; 1: the RPN's proposals
    first: int = 1  # the stage of this model that receives them
    of_cascade: bool = False  # the boxes come from the run `cascade` of the same seed, not from the model itself
    with_truth: bool = False  # append the ground truth to the boxes
    figure: str | None = None  # the only figure that needs the setting; None: tables need it


def ensemble(stage: int) -> EvaluationSetting:
    """Average the classifiers of stages 1 to `stage` on the inputs of stage `stage` (1~t in Table 2)."""
    return EvaluationSetting(
        name=f"stages1-{stage}", inference={"test_stage": stage, "ensemble": True, "ensemble_rois": "last"}
    )


def single_stage(stage: int) -> EvaluationSetting:
    """Use one stage, or one classifier of the integral loss, without the others."""
    return EvaluationSetting(name=f"stage{stage}", inference={"test_stage": stage, "ensemble": False})


DEFAULT = EvaluationSetting(name="default")
ITERATIVE = EvaluationSetting(name="iterations3", inference={"iterations": 3})
WITH_TRUTH = EvaluationSetting(name="with-truth", with_truth=True, figure="figure5")


def stage_on_inputs(detector: int, inputs: int) -> EvaluationSetting:
    """Apply the detector of one stage to the inputs of another (Figure 6)."""
    if detector == inputs:
        return single_stage(detector)
    return EvaluationSetting(
        name=f"stage{detector}-on-inputs{inputs}",
        inference=single_stage(detector).inference,
        inputs=inputs,
        first=detector,
        figure="figure6",
    )


def on_cascade_inputs(stage: int) -> EvaluationSetting:
    """Apply a detector to the inputs of a stage of the cascade (Figure 5 (a), dashed)."""
    return EvaluationSetting(name=f"on-cascade-inputs{stage}", inputs=stage, of_cascade=True, figure="figure5")
