"""Dataset inspection before training."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from cascade_rcnn.api.models import Opened, open_model
from cascade_rcnn.api.recipes import find_recipe
from cascade_rcnn.arguments import as_path, check_number
from cascade_rcnn.data import Annotations, dataset_splits, is_one_split, load_annotations
from cascade_rcnn.data.loader import check_loading
from cascade_rcnn.data.splits import choose, rank
from cascade_rcnn.engine.evaluate import check_classes, collect, evaluation_loader
from cascade_rcnn.engine.progress import ProgressBar
from cascade_rcnn.errors import UserError
from cascade_rcnn.files import write_json, write_text
from cascade_rcnn.images.decoding import MAX_MEGAPIXELS
from cascade_rcnn.inspection.augmented import Sample, samples
from cascade_rcnn.inspection.labels import SplitDetections, usable
from cascade_rcnn.inspection.look import Look, inspect
from cascade_rcnn.inspection.page import look_page
from cascade_rcnn.inspection.recipe_model import recipe_config
from cascade_rcnn.inspection.splits import Split, read_split, training_of
from cascade_rcnn.outputs import check_outputs, check_owned
from cascade_rcnn.recipes import Recipe
from cascade_rcnn.text import printable

OneSplit: TypeAlias = str | Path | Annotations

_NUMBERS, _PAGE = "look.json", "index.html"


def look(
    data: OneSplit | Sequence[str | Path] | Mapping[str, OneSplit],
    *,
    images: str | Path | None = None,
    splits: Sequence[str] = (),
    recipe: str | Path | Recipe | None = None,
    checkpoint: str | Path | None = None,
    augment: str | Path | Recipe | None = None,
    output: str | Path | None = None,
    batch_size: int = 1,
    workers: int = 2,
    device: str | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Look:
    """Inspect a dataset before training: its contents and its problems.

    `data` is a path in any format that `load_annotations` reads (of a folder, all splits are read), a sequence of
    paths, one per split (the training set first, unless a name identifies it), `Annotations`, or a dict of these by
    split name. `images` is the folder of the images, if the annotations do not name it. `splits` selects splits of a
    folder; default: all.

    Boxes are compared with the anchors and the image size of `recipe` (a name, a recipe.json or a `Recipe`; default:
    `augment`, or else "finetune"), or of a `checkpoint`. The checkpoint's detections, computed on `device` with
    `batch_size` images per step, are also compared with the labels. With `augment`, the page shows training images as
    augmented by that recipe.

    `output` is a folder for index.html, a self-contained page, and look.json. Images of more than `max_megapixels` are
    findings, as are all other problems; UserError is only raised if the annotations cannot be read at all.

    >>> seen = look("shapes", output="look/shapes")
    >>> seen.goes_wrong, len(seen.classes)
    (False, 4)
    """
    folder = None if output is None else as_path("output", output)
    check_loading(batch_size, workers)
    check_number("max_megapixels", max_megapixels, 0)
    shown = find_recipe(augment) if isinstance(augment, str | Path) else augment
    by = recipe if recipe is not None else augment if augment is not None else "finetune"
    chosen = find_recipe(by) if isinstance(by, str | Path) else by
    opened = None if checkpoint is None else open_model(checkpoint, device=device)
    source, named = _named(data, images, splits, None if opened is None else opened.class_names)
    if folder is not None:
        _check_output(folder, [checkpoint, recipe, augment, *(annotations.source for annotations in named.values())])
    training = _training(list(named))
    for annotations in named.values():
        if opened is not None:
            check_classes(opened.config, annotations, opened.name)
    read = _read(named, training, max_megapixels)
    if opened is not None:
        config, model = opened.config, printable(opened.name)
    else:
        config = recipe_config(chosen, read[0].annotations.categories)
        model = f"recipe {by}" if isinstance(by, str | Path) else "the recipe"
    found = [] if opened is None else _detect(opened, read, batch_size, workers)
    seen = inspect(source, read, config, model, found)
    drawn = [] if shown is None else list(samples(training_of(read) or read[0], shown))
    if folder is not None:
        _write(seen, folder, drawn, str(augment) if isinstance(augment, str | Path) else "the recipe")
    return seen


def _named(
    data: OneSplit | Sequence[str | Path] | Mapping[str, OneSplit],
    images: str | Path | None,
    splits: Sequence[str],
    classes: Sequence[str] | None,
) -> tuple[str, dict[str, Annotations]]:
    """Return the name of the data and its annotations by split, with the training set first."""
    if isinstance(data, str | Path):
        path = Path(data).expanduser()
        if not is_one_split(path) and (known := dataset_splits(path)):
            wanted = [choose(path, known, name) for name in splits] or known
            return path.resolve().name, _loaded([(name, path, name) for name in wanted], images, classes)
        data = [data]
    if splits:
        raise UserError(f"splits {', '.join(splits)}: only a folder with several splits has any to select; omit them")
    if isinstance(data, Mapping):
        named = dict(data)
    elif isinstance(data, Annotations):
        named = {"data": data}
    elif isinstance(data, Sequence) and all(isinstance(one, str | Path) for one in data):
        named = _by_file([Path(path).expanduser() for path in data])
    else:
        raise _refused(data)
    if not named:
        raise UserError("no data to inspect; give annotations, such as a COCO json, a VOC folder or a YOLO data.yaml")
    source = ", ".join(str(one) for one in named.values() if not isinstance(one, Annotations)) or "data"
    ordered = sorted(named, key=lambda name: rank(name) != 0)
    return source, _loaded([(name, named[name], None) for name in ordered], images, classes)


def _refused(given: object) -> UserError:
    return UserError(f"cannot inspect {type(given).__name__}; give paths, or cascade_rcnn.load_annotations(...)")


def _by_file(paths: Sequence[Path]) -> dict[str, Path]:
    """Return files and folders by name, with the parent folder in the name if two have the same one."""
    names = [path.resolve().stem.removeprefix("instances_") for path in paths]
    if len(set(names)) < len(names):
        names = [f"{path.resolve().parent.name}/{name}" for path, name in zip(paths, names, strict=True)]
    if len(set(names)) < len(names):
        raise UserError(f"{', '.join(map(str, paths))}: two of these have the same name; give each split once")
    return dict(zip(names, paths, strict=True))


def _loaded(
    parts: Sequence[tuple[str, OneSplit, str | None]], images: str | Path | None, classes: Sequence[str] | None
) -> dict[str, Annotations]:
    """Read splits; if the format does not name the classes, those of the first split apply."""
    read: dict[str, Annotations] = {}
    for name, given, split in parts:
        if isinstance(given, str | Path):
            given = _with_masks(given, images, split, classes)
        if not isinstance(given, Annotations):
            raise _refused(given)
        read[name] = given
        classes = classes or given.class_names
    most = max((one.categories for one in read.values()), key=len)  # any may use a class that others only declare
    return {name: one.declaring(most) for name, one in read.items()}


def _with_masks(
    path: str | Path, images: str | Path | None, split: str | None, classes: Sequence[str] | None
) -> Annotations:
    """Read annotations with their masks; of those whose masks cannot be read, the rest, with a note."""
    try:
        return load_annotations(path, images, split, classes, masks=True, bad_images="keep")
    except UserError as error:
        plain = load_annotations(path, images, split, classes, bad_images="keep")  # the same error, if not of the masks
        return replace(plain, notes=(*plain.notes, f"training a model with masks would stop: {error}"))


def _training(names: Sequence[str]) -> str | None:
    """Return the name of the training split: by name, the only one, or the first that is not val or test."""
    named = [name for name in names if rank(name) == 0] or (list(names) if len(names) == 1 else [])
    others = [name for name in names if rank(name) > rank("test")]
    return next(iter(named or others), None)


def _read(named: Mapping[str, Annotations], training: str | None, max_megapixels: float) -> list[Split]:
    total = sum(map(len, named.values()))
    with ProgressBar("look", total, shown=True) as bar:
        return [
            read_split(
                name,
                annotations,
                is_training=name == training,
                max_megapixels=max_megapixels,
                advance=lambda images: bar.advance(images, ""),
            )
            for name, annotations in named.items()
        ]


def _detect(opened: Opened, splits: Sequence[Split], batch_size: int, workers: int) -> list[SplitDetections]:
    found = []
    for split in splits:
        annotations = usable(split)
        if len(annotations):
            loader = evaluation_loader(annotations, batch_size, workers)
            found.append(SplitDetections(split, collect(opened.detect, opened.config, loader, len(annotations)).rows))
    return found


def _check_output(output: Path, inputs: Sequence[object]) -> None:
    check_outputs([output / _NUMBERS, output / _PAGE], inputs)
    check_owned(output, [_PAGE], record=_NUMBERS)


def _write(seen: Look, output: Path, drawn: Sequence[Sample], recipe: str) -> None:
    from cascade_rcnn import __version__

    page = look_page(seen, version=__version__, samples=drawn, recipe=recipe)
    write_json(output / _NUMBERS, seen.to_dict())
    write_text(output / _PAGE, page)
