"""Named lists of augmentations, and the syntax for lists on the command line.

A word is the name of a list or of an augmentation, optionally with settings: `natural`, `rotate90`,
`mosaic:probability=0.3,scale=0.5..1.5`. Words are concatenated to one list; `none` is the empty list.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, get_args

import msgspec

from cascade_rcnn.arguments import as_list
from cascade_rcnn.config.augmentation import (
    AugmentationConfig,
    BlurConfig,
    ColorConfig,
    HorizontalFlipConfig,
    JPEGConfig,
    NoiseConfig,
    Rotate90Config,
    ScaleJitterConfig,
    VerticalFlipConfig,
)
from cascade_rcnn.errors import UserError, nearest

Augmentations: TypeAlias = tuple[AugmentationConfig, ...]

_ANY_WAY_UP = (HorizontalFlipConfig(), VerticalFlipConfig(), Rotate90Config())
LISTS: dict[str, Augmentations] = {
    "none": (),
    # everyday photographs: upright, in any light
    "natural": (HorizontalFlipConfig(), ColorConfig()),
    # any orientation; haze and the sun's height change brightness and contrast more than hue
    "aerial": (*_ANY_WAY_UP, ColorConfig(saturation=(0.7, 1.3), hue=0.03)),
    # any orientation; the hue of a stain distinguishes classes and should hardly change, but focus varies
    "microscope": (*_ANY_WAY_UP, ColorConfig(brightness=16, contrast=(0.75, 1.25), hue=0.02), BlurConfig()),
    # never flipped or rotated; scanned, photographed, compressed
    "documents": (ColorConfig(hue=0.0), JPEGConfig(), BlurConfig(sigma=(0.1, 1.0)), NoiseConfig()),
}
KINDS: dict[str, type[Any]] = {str(kind.__struct_config__.tag): kind for kind in get_args(AugmentationConfig)}


def parse(given: str | Sequence[str | AugmentationConfig | Mapping[str, Any]]) -> Augmentations:
    """Parse words, configs or JSON objects to a list. Raises UserError naming what is unknown or out of range.

    >>> [config.__struct_config__.tag for config in parse(["aerial", "mosaic:probability=0.3"])]
    ['horizontal_flip', 'vertical_flip', 'rotate90', 'color', 'mosaic']
    """
    parts: list[AugmentationConfig] = []
    for part in given.split() if isinstance(given, str) else as_list("augmentation", given):
        if isinstance(part, str):
            parts += _of_word(part)
        elif isinstance(part, Mapping):
            parts.append(_converted(dict(part), strict=True))
        elif type(part) in KINDS.values():
            parts.append(part)
        else:
            raise UserError(
                f"augmentation has {part!r}; give names or configs here, and your own transforms as `transforms`"
            )
    return tuple(parts)


def words(augmentations: Augmentations) -> list[str]:
    """Return the words that `parse` turns into this list, without settings that have their default value.

    >>> words((HorizontalFlipConfig(), ColorConfig(contrast=(0.5, 2.0))))
    ['horizontal_flip', 'color:contrast=0.5..2']
    """
    return [_word(config) for config in augmentations] or ["none"]


def _of_word(word: str) -> Augmentations:
    name, _, settings = word.partition(":")
    if name in LISTS and not settings:
        return LISTS[name]
    if name not in KINDS:
        known = [*LISTS, *KINDS]
        raise UserError(f"there is no augmentation '{name}'{nearest(name, known)}; known: {', '.join(known)}")
    values: dict[str, Any] = {"type": name}
    for setting in filter(None, settings.split(",")):
        field, equals, value = setting.partition("=")
        if not equals:
            raise UserError(f"augmentation {word}: '{setting}' is not a setting; write NAME:SETTING=VALUE")
        numbers = [f"0{number}" if number.startswith(".") else number for number in value.split("..")]  # .5 is 0.5
        values[field] = numbers if ".." in value else numbers[0]
    return (_converted(values, strict=False),)


def _converted(values: dict[str, Any], *, strict: bool) -> AugmentationConfig:
    try:
        return msgspec.convert(values, AugmentationConfig, strict=strict)  # type: ignore[arg-type]
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, UserError):  # of a value out of its range, which names the augmentation
            raise error.__cause__ from None
        kind = KINDS.get(str(values.get("type")))
        has = f"; its settings: {', '.join(kind.__struct_fields__)}" if kind else ""
        raise UserError(f"augmentation {values.get('type')}: {error}{has}") from None


def _word(config: AugmentationConfig) -> str:
    default = type(config)()
    changed = {
        name: value for name in config.__struct_fields__ if (value := getattr(config, name)) != getattr(default, name)
    }
    settings = ",".join(f"{name}={_text(value)}" for name, value in changed.items())
    return f"{config.__struct_config__.tag}:{settings}" if settings else str(config.__struct_config__.tag)


def _text(value: Any) -> str:
    return "..".join(f"{one:.12g}" for one in value) if isinstance(value, tuple) else f"{value:.12g}"


def with_short_forms(
    augmentations: Augmentations, flip: float | None, photometric: float | None, scale_jitter: ScaleJitterConfig | None
) -> Augmentations:
    """Set the probabilities of flip and colour and the jitter in a list: replace or add (None: keep; 0: remove)."""
    found = list(augmentations)
    wanted: list[tuple[type, AugmentationConfig | None]] = []
    if flip is not None:
        wanted.append((HorizontalFlipConfig, HorizontalFlipConfig(probability=flip) if flip != 0 else None))
    if photometric is not None:
        wanted.append((ColorConfig, ColorConfig(probability=photometric) if photometric != 0 else None))
    if scale_jitter is not None:
        wanted.append((ScaleJitterConfig, scale_jitter))
    for kind, config in wanted:
        places = [k for k, one in enumerate(found) if isinstance(one, kind)]
        place = places[0] if places else (0 if kind is HorizontalFlipConfig else len(found))
        found = [one for one in found if not isinstance(one, kind)]
        if config is not None:
            found.insert(place, config)
    return tuple(found)
