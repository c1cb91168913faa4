"""`create_model`: build a detector from a name or from a checkpoint."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from cascade_rcnn.arguments import as_list, check_number, known_options, typed
from cascade_rcnn.config import Category, ModelOptions
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.backbones.pretrained import load_pretrained
from cascade_rcnn.models.build import build
from cascade_rcnn.models.checkpoint import read_config
from cascade_rcnn.models.configure import model_config
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.models.fine_tuning import start_from
from cascade_rcnn.models.options import CreateOptions
from cascade_rcnn.protocols import Backbone


@known_options
def create_model(
    name: str | None = None,
    num_classes: int | None = None,
    *,
    categories: Sequence[Category | str] | None = None,
    weights: str | Path | None = None,
    weights_backbone: str | Path | None = None,
    backbone: str | Backbone | None = None,
    **options: Unpack[CreateOptions],
) -> Detector:
    """Build a detector for M = `num_classes` classes, not counting background (timm's convention).

    `categories` (names, or `Category` with the dataset's ids) may be given instead of `num_classes`. `weights_backbone`
    is None (random weights, batch norm trained), "imagenet" (torchvision's IMAGENET1K_V1 weights, or timm's) or a local
    file; pretrained weights come with frozen batch norm and, for ResNet and VGG, a frozen stem and first layer.
    `options` are the fields of `ModelOptions`. Raises UserError for an unknown name or option, suggesting the nearest.

    `backbone` replaces the one in the name, which may then omit it ("cascade_rcnn_fpn"). It is a name, "timm/NAME" for
    a network from timm, or your own module that implements `protocols.Backbone`.

    `weights` is a detector to fine-tune instead: a checkpoint or a name, as for `load`. It determines the architecture
    (`name` may be omitted) and provides all weights that fit the given classes, by default its own classes. The options
    are then those of `load`, such as `min_size`, and those of anchors and of training the backbone, such as
    `trainable_layers`.

    >>> model = create_model("cascade_rcnn_resnet18_fpn", num_classes=3, min_size=64)
    >>> target = {"boxes": torch.tensor([[8.0, 8, 40, 40]]), "labels": torch.tensor([2])}
    >>> losses = model([torch.rand(3, 64, 64)], [target])
    >>> len(losses)  # the RPN's two, and two of each of three stages
    8
    >>> create_model("cascade_rcnn_fpn", 3, backbone="resnet18", head_width=256).config.name
    'cascade_rcnn_resnet18_fpn'
    >>> create_model(weights="starter", categories=["bolt", "nut"]).class_names
    ['bolt', 'nut']
    """
    if weights is not None:
        if weights_backbone is not None:
            raise UserError(
                f"weights_backbone={weights_backbone}: {weights} already has a trained backbone; leave out one of them"
            )
        return _from_checkpoint(name, num_classes, categories, weights, backbone, options)
    if name is None:
        raise UserError("create_model needs a name (see cascade_rcnn.list_models()) or weights, such as 'starter'")
    classes, pretrained = as_categories(num_classes, categories), weights_backbone is not None
    named = backbone if isinstance(backbone, str) else None
    own = None if isinstance(backbone, str) else backbone
    config = model_config(name, classes, ModelOptions(backbone=named, **options), pretrained=pretrained, own=own)
    model = build(config, own)
    if weights_backbone is not None:
        load_pretrained(model.backbone, config.backbone, weights_backbone)
    return model


def as_categories(number: int | None, given: Sequence[Category | str] | None) -> tuple[Category, ...]:
    """Return the categories for names or categories, or for their number."""
    if given is None:
        check_number("num_classes", number, 1, whole=True)  # without background
        return tuple(Category(id=k, name=f"class {k}") for k in range(1, (number or 0) + 1))
    entries = as_list("categories", given)
    for entry in entries:
        if not isinstance(entry, str | Category):
            raise UserError(f"categories has {entry!r}; give names, or objects of type Category")
        if isinstance(entry, str) and entries.count(entry) > 1:
            raise UserError(f"categories has {entry!r} {entries.count(entry)} times; give each class its own name")
    categories = tuple(
        c if isinstance(c, Category) else Category(id=k, name=str(c)) for k, c in enumerate(entries, start=1)
    )
    ids = [category.id for category in categories]
    if len(set(ids)) < len(ids):
        twice, number = Counter(ids).most_common(1)[0]
        raise UserError(f"categories has {number} classes with the id {twice}; give each its own")
    if number is not None and number != len(categories):
        raise UserError(f"num_classes={number}, but {len(categories)} categories are given; leave one of them out")
    return categories


def _from_checkpoint(
    name: str | None,
    num_classes: int | None,
    categories: Sequence[Category | str] | None,
    weights: str | Path,
    backbone: str | Backbone | None,
    options: Mapping[str, Any],
) -> Detector:
    config = read_config(weights)
    if name not in (None, config.name):
        raise UserError(f"{weights} is a {config.name}, not a {name}; leave out the name, or give other weights")
    if isinstance(backbone, str):
        raise UserError(f"backbone={backbone}: {weights} already has a backbone; leave out one of them")
    keeps = num_classes is None and categories is None
    classes = config.categories if keeps else as_categories(num_classes, categories)
    return start_from(weights, classes, backbone, **typed(options, CreateOptions))[0]
