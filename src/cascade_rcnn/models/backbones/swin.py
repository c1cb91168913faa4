"""Swin transformer backbones, with maps of strides 4, 8, 16 and 32. Parameter names are torchvision's.

Internally, maps are (B, H, W, C). As in the authors' detector, mmdetection and detectron2, every other block shifts its
windows even if the map is no larger than a window; torchvision's does not, and is otherwise equivalent.

B images · C channels · N tokens per window · R rows and L columns of windows
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cascade_rcnn.config import SwinConfig
from cascade_rcnn.layers.blocks import DropPath, ToNHWC, count_windows, drop_rates, run
from cascade_rcnn.layers.convolution import Conv2d

_APART = -100.0  # attention bias between tokens that are in the same window only because of the shift


class _WindowAttention(nn.Module):
    """Self-attention within windows, shifted or not, with a learned bias for each relative position."""

    relative_position_index: Tensor

    def __init__(self, channels: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        nn.init.normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("relative_position_index", _relative_positions(window), persistent=False)

    def forward(self, x: Tensor, apart: Tensor) -> Tensor:
        """Attend within windows: (B, H, W, C), apart (R * L, 1, N, N) -> (B, H, W, C).

        The map is padded with zeros, which take part in the attention.
        """
        batch, height, width, channels = x.shape
        rows, columns = (count_windows(side, self.window) for side in (height, width))
        x = F.pad(x, (0, 0, 0, columns * self.window - width, 0, rows * self.window - height))
        if self.shift:
            x = x.roll((-self.shift, -self.shift), dims=(1, 2))
        x = x.unflatten(1, (rows, self.window)).unflatten(3, (columns, self.window)).transpose(2, 3)
        tokens = x.reshape(-1, self.window**2, channels)  # (B * R * L, N, C)
        tokens = self.proj(self._attend(self.qkv(tokens), apart, batch))
        x = tokens.view(batch, rows, columns, self.window, self.window, channels).transpose(2, 3)
        x = x.reshape(batch, rows * self.window, columns * self.window, channels)
        if self.shift:
            x = x.roll((self.shift, self.shift), dims=(1, 2))
        return x[:, :height, :width]

    def _attend(self, qkv: Tensor, apart: Tensor, batch: int) -> Tensor:
        """Attend to queries, keys and values: (B * R * L, N, 3 * C) -> (B * R * L, N, C)."""
        number = self.window**2
        query, key, value = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.relative_position_index]
        bias = bias.view(number, number, self.heads).permute(2, 0, 1)[None].contiguous()  # (1, heads, N, N)
        if self.shift:
            bias = bias + apart.to(bias.dtype)
            bias = bias.expand(batch, *bias.shape).flatten(0, 1)
        found = F.scaled_dot_product_attention(query, key, value, bias)
        return found.transpose(1, 2).flatten(2)


def _relative_positions(window: int) -> Tensor:
    """Return the bias table's row for each pair of tokens in a window, (N * N,)."""
    place = torch.arange(window)
    rows, columns = (x.flatten() for x in torch.meshgrid(place, place, indexing="ij"))
    down, right = (x[:, None] - x[None] + window - 1 for x in (rows, columns))
    return (down * (2 * window - 1) + right).flatten()


def _apart(height: int, width: int, window: int, shift: int, device: torch.device) -> Tensor:
    """Make the attention mask (R * L, 1, N, N) that separates tokens brought together by the shift.

    The shift moves the map's first `shift` rows and columns to its end, into the last windows.
    """
    rows, columns = (count_windows(side, window) for side in (height, width))
    moved = torch.arange(window, device=device) >= window - shift
    differ = moved[:, None] != moved  # (window, window)
    by_row = differ.repeat_interleave(window, 0).repeat_interleave(window, 1)  # (N, N)
    by_column = differ.repeat(window, window)
    last_row = (torch.arange(rows, device=device) == rows - 1)[:, None, None, None]
    last_column = (torch.arange(columns, device=device) == columns - 1)[None, :, None, None]
    return (((last_row & by_row) | (last_column & by_column)) * _APART).flatten(0, 1)[:, None]


class _Block(nn.Module):
    """Attention and a two-layer perceptron, both residual and pre-normalised."""

    def __init__(self, channels: int, heads: int, window: int, shift: int, drop: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = _WindowAttention(channels, heads, window, shift)
        self.drop_path = DropPath(drop)
        self.norm2 = nn.LayerNorm(channels)
        # numbered as in torchvision, which has activation and dropout modules in between
        self.mlp = nn.ModuleDict({"0": nn.Linear(channels, 4 * channels), "3": nn.Linear(4 * channels, channels)})

    def forward(self, x: Tensor, apart: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), apart))
        return x + self.drop_path(self.mlp["3"](F.gelu(self.mlp["0"](self.norm2(x)))))


class _PatchMerging(nn.Module):
    """Merge each group of 2x2 tokens into one with twice as many channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H / 2, W / 2, 2 * C); an odd side is padded with zeros."""
        batch, height, width, channels = x.shape
        rows, columns = (count_windows(side, 2) for side in (height, width))
        x = F.pad(x, (0, 0, 0, columns * 2 - width, 0, rows * 2 - height))
        x = x.unflatten(1, (rows, 2)).unflatten(3, (columns, 2)).permute(0, 1, 3, 4, 2, 5)
        return self.reduction(self.norm(x.reshape(batch, rows, columns, 4 * channels)))


class Swin(nn.Module):
    """Swin transformer (Liu et al. 2021) without the classifier, with normalised output maps, as in its detectors."""

    strides = (4, 8, 16, 32)

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        self.config = config
        self.channels = tuple(config.width * 2**k for k in range(4))
        self.features = nn.ModuleList(
            [nn.Sequential(Conv2d(3, config.width, 4, 4), ToNHWC(), nn.LayerNorm(config.width))]
        )
        for k, rates in enumerate(drop_rates(config.drop_path, config.depths)):
            if k:
                self.features.append(_PatchMerging(self.channels[k - 1]))
            shifts = [config.window // 2 if block % 2 else 0 for block in range(len(rates))]
            self.features.append(
                nn.ModuleList(
                    _Block(self.channels[k], config.heads * 2**k, config.window, shift, rate)
                    for shift, rate in zip(shifts, rates, strict=True)
                )
            )
        self.output_norm = nn.ModuleList(nn.LayerNorm(channels) for channels in self.channels)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.no_decay = {name for name, _ in self.named_parameters() if name.endswith("relative_position_bias_table")}

    def layers(self) -> Sequence[nn.Module]:
        """Return the patch embedding and the four stages, each with its patch merging and output normalisation."""
        stages = [self.features[1], *(nn.ModuleList(self.features[k : k + 2]) for k in (2, 4, 6))]
        ends = zip(stages, self.output_norm, strict=True)
        return [self.features[0], *(nn.ModuleList([stage, norm]) for stage, norm in ends)]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) to four maps (B, channels[l], H / strides[l], W / strides[l])."""
        x, maps, again = self.features[0](x), [], self.config.checkpointing and self.training
        for k, norm in enumerate(self.output_norm):
            x = self.features[2 * k](x) if k else x
            apart = _apart(x.shape[1], x.shape[2], self.config.window, self.config.window // 2, x.device)
            for block in self.features[2 * k + 1]:  # type: ignore[attr-defined]
                x = run(block, x, apart, again=again)
            maps.append(norm(x).permute(0, 3, 1, 2))
        return maps
