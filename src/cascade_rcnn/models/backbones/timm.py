"""Backbones from timm, for its networks with feature maps of several strides. Parameter names are timm's.

This needs the extra `timm`, which is imported when such a network is built.
"""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cascade_rcnn.config import TimmConfig
from cascade_rcnn.errors import UserError, nearest, reason
from cascade_rcnn.extras import needs
from cascade_rcnn.models.backbones.promise import check_promise
from cascade_rcnn.tensor_files import read

_STRIDES, _LEAST = (4, 8, 16, 32), {8, 16, 32}
_ANY_SIZE = {"dynamic_img_size": True, "strict_img_size": False}  # make networks accept any size, if they can


class Timm(nn.Module):
    """A network of timm without its classifier; `channels` and `strides` describe its maps of strides 4 to 32."""

    def __init__(self, config: TimmConfig) -> None:
        """Build the network. Raises UserError if timm has no such network, or it lacks these maps or options."""
        super().__init__()
        self.config = config
        plain = _plain(config)
        try:
            self.network = _library().create_model(config.model, **_options(plain, config))
        except (RuntimeError, AssertionError, TypeError) as error:
            raise UserError(
                f"{config.label}: timm cannot extract its feature maps ({reason(error)}); choose another network"
            ) from None
        self.channels = tuple(self.network.feature_info.channels())
        self.strides = tuple(self.network.feature_info.reduction())
        names = _names(plain, self.network)
        self._groups = _groups(plain, self.network, names)
        skipped = plain.no_weight_decay() if hasattr(plain, "no_weight_decay") else ()
        self.no_decay = {f"network.{names[name]}" for name in skipped if name in names}
        if config.norm == "frozen":
            for norm in self._norms():
                norm.requires_grad_(False)
        self.train()

    def layers(self) -> Sequence[nn.Module]:
        """Return timm's groups for layer-wise learning rate decay: mostly the stem and each block."""
        parameters = dict(self.network.named_parameters())
        return [nn.ParameterList(parameters[name] for name in group) for group in self._groups]

    def train(self, mode: bool = True) -> "Timm":
        """Set the mode; fixed statistics stay fixed, and activation checkpointing is used only in training."""
        super().train(mode)
        for norm in self._norms():
            if self.config.norm != "batch" or not norm.weight.requires_grad:  # also those of frozen layers
                norm.eval()
        if self.config.checkpointing:
            self._checkpoint(mode)
        return self

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) to maps (B, channels[l], H / strides[l], W / strides[l])."""
        if self.config.checkpointing and torch.is_grad_enabled() and any(norm.training for norm in self._norms()):
            # The second forward pass of a block would update the running statistics once more.
            raise UserError(
                f"checkpointing=True: {self.config.label} trains its batch normalisation; leave it out, or choose "
                "backbone_norm='frozen' or 'affine'"
            )
        maps = self.network(x)  # type: ignore[operator]
        channels_last = str(getattr(self.network, "output_fmt", "NCHW")).endswith("NHWC")
        return [x.permute(0, 3, 1, 2) if channels_last else x for x in maps]

    def _norms(self) -> Iterable[_BatchNorm]:
        return (module for module in self.network.modules() if isinstance(module, _BatchNorm))

    def _checkpoint(self, enable: bool) -> None:
        network = self.network if hasattr(self.network, "set_grad_checkpointing") else self.network.model
        try:
            network.set_grad_checkpointing(enable)  # type: ignore[operator]
        except (AssertionError, AttributeError):
            raise UserError(f"checkpointing=True: {self.config.label} has no such option; leave it out") from None


@cache  # a network on the meta device takes timm longer to initialise than a real one
def examine(config: TimmConfig) -> dict[str, tuple[float, ...]]:
    """Return the mean and std (0..1) that a network expects. Raises UserError if it cannot be a backbone."""
    with torch.device("meta"):
        backbone = Timm(config)
    check_promise(backbone, config.label)
    cfg: Any = backbone.network.pretrained_cfg
    return {name: tuple(cfg[name]) for name in ("mean", "std")}


def load_weights(backbone: Timm, source: str | Path) -> None:
    """Load into a network the weights that timm has for its name ("imagenet"), or those of a file.

    The file may be in any format that timm converts. Raises UserError if weights cannot be downloaded or do not fit.
    """
    config, overlay = backbone.config, {}
    if str(source) != "imagenet":
        overlay = {"state_dict": read(Path(source)).state}
    timm, options = _library(), _options(_plain(config), config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = timm.create_model(config.model, **options)
        torch.manual_seed(0)
        try:
            filled = timm.create_model(config.model, pretrained=True, pretrained_cfg_overlay=overlay, **options)
        except Exception as error:  # noqa: BLE001  (the HTTP client of the Hub's library varies)
            raise _unusable(config, source, error) from None
    left = _same(fresh.state_dict(), filled.state_dict())
    if left:
        raise UserError(
            f"{source}: these are not weights of {config.label}: '{left[0]}' is missing"
            + (f" (and {len(left) - 1} more)" if len(left) > 1 else "")
        )
    backbone.network.load_state_dict(filled.state_dict())


def _same(fresh: Mapping[str, Tensor], filled: Mapping[str, Tensor]) -> list[str]:
    """List the tensors that loading left at their initial values: timm does not report those that a file lacks."""
    return [name for name, value in filled.items() if value.ndim > 1 and torch.equal(value, fresh[name])]


def _unusable(config: TimmConfig, source: str | Path, error: Exception) -> UserError:
    if str(source) != "imagenet":
        lines = str(error).splitlines() or [""]  # the first one says only that there are errors
        what = f"{error} is missing" if isinstance(error, KeyError) else lines[min(1, len(lines) - 1)].strip()
        return UserError(f"{source}: these are not weights of {config.label}: {what}")
    cfg = _library().get_pretrained_cfg(config.model)
    if cfg is None or not cfg.has_weights:
        known = _library().list_pretrained(f"{config.model.split('.')[0]}.*")
        others = f"it has some for {', '.join(known)}" if known else "give a file, or weights_backbone=None"
        return UserError(f"timm has no weights for {config.label}; {others}")
    place = f"https://huggingface.co/{cfg.hf_hub_id}/resolve/main/model.safetensors" if cfg.hf_hub_id else cfg.url
    return UserError(
        f"the weights of {config.label} could not be downloaded ({reason(error)}); download {place} on a machine with "
        "network access and pass the file as weights_backbone=PATH (--weights-backbone PATH)"
    )


def _library() -> ModuleType:
    needs("a backbone from timm", "timm", "timm")
    import timm

    return timm


@cache
def _plain(config: TimmConfig) -> Any:
    """Make timm's network on the meta device. Raises UserError with the nearest name if it does not exist."""
    timm, name = _library(), config.model
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise UserError(f"timm has no network '{name}'{nearest(name, timm.list_models())}; see timm.list_models()")
    tagged = timm.list_pretrained(f"{architecture}.*")
    if tag and name not in tagged:
        known = f"; known: {', '.join(tagged)}" if tagged else f"; it has no weights for {architecture}"
        hint = nearest(name, tagged) or known
        raise UserError(f"timm has no network '{name}'{hint}")
    with torch.device("meta"):
        return timm.create_model(name)


def _indices(plain: nn.Module, label: str) -> list[int]:
    """Return the index of the last map of each stride that a pyramid uses."""
    found = {info["reduction"]: k for k, info in enumerate(getattr(plain, "feature_info", ()))}
    if not found.keys() >= _LEAST:
        strides = ", ".join(map(str, found)) or "none"
        raise UserError(
            f"{label}: its maps have strides {strides}; a pyramid needs 8, 16 and 32, and preferably 4: choose another "
            "network"
        )
    return [found[stride] for stride in _STRIDES if stride in found]


def _options(plain: nn.Module, config: TimmConfig) -> dict[str, Any]:
    """Return the options for feature extraction from images of any size, as far as the network supports it."""
    takes = inspect.signature(type(plain).__init__).parameters
    options: dict[str, Any] = {"features_only": True, "out_indices": _indices(plain, config.label)}
    options |= {name: value for name, value in _ANY_SIZE.items() if name in takes}
    if config.drop_path > 0:
        if "drop_path_rate" not in takes:
            raise UserError(f"drop_path={config.drop_path}: {config.label} has no such option; leave it out")
        options["drop_path_rate"] = config.drop_path
    return options


def _names(plain: nn.Module, network: nn.Module) -> dict[str, str]:
    """Map the names of the whole network's parameters to those in the feature extractor."""
    there = {name for name, _ in network.named_parameters()}
    return {
        name: called
        for name, _ in plain.named_parameters()
        for called in (name, name.replace(".", "_", 1), f"model.{name}", f"body.{name}")
        if called in there
    }


def _groups(plain: Any, network: nn.Module, names: Mapping[str, str]) -> list[list[str]]:
    """Group parameters by layer, starting at the pixels: as timm does, or else by top-level module."""
    parameters = [name for name, _ in network.named_parameters()]
    of: dict[str, Any] = {}
    if hasattr(plain, "group_matcher"):
        matched = _library().models.group_parameters(plain, plain.group_matcher(coarse=False), reverse=True)
        of = {names[name]: group for name, group in matched.items() if name in names}
    if not of.keys() >= set(parameters):
        depth = 1 + all(name.startswith(("model.", "body.")) for name in parameters)
        parts = {".".join(name.split(".")[:depth]): None for name in parameters}
        of = {name: list(parts).index(".".join(name.split(".")[:depth])) for name in parameters}
    groups: dict[Any, list[str]] = {}
    for name in parameters:
        groups.setdefault(of[name], []).append(name)
    return [groups[key] for key in sorted(groups)]
