"""The tables and figures of the paper: the variants that each consists of, and what is measured for them."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from cascade_rcnn.errors import UserError, nearest
from cascade_rcnn_study.variants import BY_SGD, MASKS, TABLE3, Variant

MASK_TABLE = "table-masks"  # not in the paper; for data with masks
_LOCALIZATION = {"figure1", "figure7"}  # show localization curves
_SAMPLES = {"figure2", "figure4"}  # show training samples
_SPEED = {"table6"}  # shows times
_OUTPUTS = {"figure1ab"}  # shows boxes in images


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A table or figure, and the variants that it consists of."""

    name: str
    title: str
    variants: tuple[str, ...]

    @property
    def every_seed(self) -> bool:
        """Whether it uses all seeds, as tables do; figures show the first."""
        return self.name.startswith("table")


ARTIFACTS: dict[str, Artifact] = {
    name: Artifact(name=name, title=title, variants=variants)
    for name, title, variants in (
        ("table1", "Comparison with iterative BBox and integral loss", ("baseline", "integral", "cascade")),
        ("table2", "Stage performance of the cascade", ("baseline", "cascade")),
        ("table3", "Increasing IoU thresholds, regression statistics", tuple(TABLE3)),
        ("table4", "Number of stages", ("baseline", "cascade-2", "cascade", "cascade-4")),
        ("table5", "Comparison with the state of the art (published rows)", ()),
        ("table6", "Baseline detectors with and without cascade", ("baseline", "cascade")),
        (MASK_TABLE, "Boxes and masks by number of stages", tuple(MASKS.values())),
        ("figure1ab", "Boxes of the detectors of u = .5 and u = .7, in images", ("baseline", "baseline-70")),
        ("figure1", "Localization and detection by IoU threshold", ("baseline", "baseline-60", "baseline-70")),
        ("figure2", "Distribution of the regression targets by stage", ("cascade",)),
        ("figure3", "The architectures, drawn from their configs", ()),
        ("figure4", "IoU of the training samples by stage", ("cascade",)),
        ("figure5", "Detectors on other proposals", ("cascade", "baseline", "baseline-60", "baseline-70")),
        ("figure6", "Detectors of all stages on the inputs of all stages", ("cascade",)),
        ("figure7", "Iterative BBox and integral loss in detail", ("baseline", "cascade", "integral")),
    )
}


def choose(names: Iterable[str]) -> list[Artifact]:
    """Return tables and figures by name; `all` means the paper's. Raises UserError for an unknown name."""
    names = list(names)
    if not names:
        raise UserError(f"give the tables and figures to run, before all flags: {', '.join(ARTIFACTS)}, or all")
    for name in names:
        if name != "all" and name not in ARTIFACTS:
            hint = nearest(name, list(ARTIFACTS))
            raise UserError(f"there is no table or figure '{name}'{hint}; `cascade-rcnn study list` shows them")
    papers = "all" in names
    return [one for name, one in ARTIFACTS.items() if name in names or (papers and name != MASK_TABLE)]


def needed(artifact: Artifact, known: Mapping[str, Variant]) -> tuple[str, ...]:
    """Return the names of an artifact's variants in a study whose variants are `known`."""
    return tuple("cascade" if name == BY_SGD and name not in known else name for name in artifact.variants)


def measurements(variant: Variant, asked: Collection[str]) -> list[str]:
    """List the measurements of a variant that the tables and figures in `asked` need.

    These are evaluation settings, `speed`, `localization`, `samples` and `outputs`.
    """
    names = [setting.name for setting in variant.settings if setting.figure is None or setting.figure in asked]
    if not _SPEED.isdisjoint(asked):
        names.append("speed")
    if variant.localization_steps and not _LOCALIZATION.isdisjoint(asked):
        names.append("localization")
    if variant.samples and not _SAMPLES.isdisjoint(asked):
        names.append("samples")
    if variant.outputs and not _OUTPUTS.isdisjoint(asked):
        names.append("outputs")
    return names
