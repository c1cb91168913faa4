"""A study as the user requests it, and the runs that it needs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cascade_rcnn.arguments import check_number
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.architectures import has_sibling
from cascade_rcnn.recipes import Recipe
from cascade_rcnn_study.artifacts import MASK_TABLE, Artifact, measurements, needed
from cascade_rcnn_study.evaluation_settings import EvaluationSetting
from cascade_rcnn_study.study_folder import RunFolder, StudyFolder
from cascade_rcnn_study.variants import Variant, family_of, variants


@dataclass(frozen=True, kw_only=True)
class Study:
    """The tables and figures to make, and the recipe that their models share."""

    # recipe of the cascade; `output` is the folder of the study and `seed` the first seed, and each of the `devices`
    # trains a different model
    base: Recipe
    artifacts: Sequence[Artifact]
    seeds: int = 1
    families: dict[str, str | None] | None = None  # further recipes for Table 6, with their backbone weights
    sample_images: int = 300  # training images measured for Figures 2 and 4

    @property
    def folder(self) -> StudyFolder:
        """The runs of the study."""
        return StudyFolder(Path(self.base.output))


@dataclass(frozen=True)
class PlannedRun:
    """A run that a study needs, with the measurements that are still missing."""

    folder: RunFolder
    variant: Variant
    recipe: Recipe
    missing: list[str]  # settings, `localization`, `samples`, `speed`, `outputs`

    @property
    def settings(self) -> list[EvaluationSetting]:
        """The settings still to evaluate."""
        return [setting for setting in self.variant.settings if setting.name in self.missing]

    @property
    def localization_steps(self) -> int:
        """How often to apply the regressors for the localization curves; 0 if they are not missing."""
        return self.variant.localization_steps if "localization" in self.missing else 0

    @property
    def needs_cascade(self) -> bool:
        """Whether it is evaluated on the boxes of the cascade with the same seed, which must then be trained first."""
        return any(setting.of_cascade for setting in self.settings)

    @property
    def is_done(self) -> bool:
        """Whether the run is trained and nothing is missing."""
        return self.folder.is_trained and not self.missing


def planned_runs(study: Study) -> list[PlannedRun]:
    """List the runs that the tables and figures need, each once, with cascades before the runs that use their boxes."""
    _check(study)
    known = variants(study.base, study.families)
    found = []
    for name, variant in known.items():
        users = [a for a in study.artifacts if name in needed(a, known) or (a.name == "table6" and family_of(name))]
        count = max((study.seeds if a.every_seed else 1 for a in users), default=0)
        for seed in range(study.base.seed, study.base.seed + count):
            run = study.folder.run(name, seed)
            asked = {a.name for a in users if a.every_seed or seed == study.base.seed}
            # No evaluation while training: the study evaluates the last checkpoint in every setting.
            recipe = replace(variant.recipe, seed=seed, output=str(run.training), evaluate_every=0, devices=1)
            missing = [one for one in measurements(variant, asked) if not _has(run, one, study)]
            found.append(PlannedRun(run, variant, recipe, missing))
    return sorted(found, key=lambda planned: planned.folder.seed)  # complete all tables with one seed first


def _has(run: RunFolder, measurement: str, study: Study) -> bool:
    return run.has_samples(study.sample_images) if measurement == "samples" else run.has(measurement)


def _check(study: Study) -> None:
    check_number("seeds", study.seeds, 1, whole=True)
    check_number("sample-images", study.sample_images, 1, whole=True)
    check_number("devices", study.base.devices, 1, whole=True)
    if study.families and all(a.name != "table6" for a in study.artifacts):
        raise UserError(f"the families {', '.join(study.families)} appear only in Table 6; add table6")
    if not has_sibling(study.base.model, "mask_rcnn") and any(a.name == MASK_TABLE for a in study.artifacts):
        raise UserError(
            f"{MASK_TABLE}: masks need a feature pyramid, which {study.base.model} does not have; choose another model"
        )
