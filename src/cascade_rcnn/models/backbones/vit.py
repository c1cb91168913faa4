"""ViT backbones, with one map of stride 16. Parameter names are timm's.

B images · H, W size of the map in patches · C channels · d channels per head · N tokens per window
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cascade_rcnn.config import ViTConfig
from cascade_rcnn.layers.attention import attend
from cascade_rcnn.layers.blocks import DropPath, count_windows, drop_rates, run
from cascade_rcnn.layers.convolution import Conv2d

_PATCH = 16  # side in pixels
_EPS = 1e-6


class ViT(nn.Module):
    """The plain vision transformer of ViTDet (Li et al. 2022): window attention, with a few global blocks."""

    strides = (_PATCH,)
    no_decay = frozenset({"pos_embed"})

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config, self.channels = config, (config.width,)
        self.pos_embed = nn.Parameter(torch.zeros(1, config.pretrained_grid**2, config.width))
        self.patch_embed = nn.ModuleDict({"proj": Conv2d(3, config.width, _PATCH, _PATCH)})
        (rates,) = drop_rates(config.drop_path, (config.depth,))
        self.blocks = nn.ModuleList(_Block(config, k in config.global_blocks, rate) for k, rate in enumerate(rates))
        nn.init.normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def layers(self) -> Sequence[nn.Module]:
        """Return the patch and position embeddings, then each block."""
        first = nn.Module()
        first.pos_embed, first.patch_embed = self.pos_embed, self.patch_embed
        return [first, *self.blocks]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) to [(B, C, H / 16, W / 16)]."""
        x = self.patch_embed["proj"](x).permute(0, 2, 3, 1)
        x = x + self._positions(x.shape[1], x.shape[2])
        for block in self.blocks:
            x = run(block, x, again=self.config.checkpointing and self.training)
        return [x.permute(0, 3, 1, 2)]

    def _positions(self, height: int, width: int) -> Tensor:
        """Interpolate the absolute position embedding from the pretraining grid: (1, H, W, C)."""
        table = self.pos_embed.unflatten(1, (self.config.pretrained_grid, -1)).permute(0, 3, 1, 2)
        resized = F.interpolate(table, size=(height, width), mode="bicubic", align_corners=False)
        return resized.permute(0, 2, 3, 1)


class _Block(nn.Module):
    def __init__(self, config: ViTConfig, is_global: bool, drop_path: float) -> None:
        super().__init__()
        width = config.width
        self.norm1 = nn.LayerNorm(width, eps=_EPS)
        self.attn = _Attention(width, config.heads, config.grid, None if is_global else config.window)
        self.norm2 = nn.LayerNorm(width, eps=_EPS)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x)))))


class _Attention(nn.Module):
    """Self-attention within windows or, if `window` is None, over the whole map."""

    def __init__(self, width: int, heads: int, grid: int, window: int | None) -> None:
        """`grid` is the side, in patches, of the map for which global attention learns relative positions."""
        super().__init__()
        self.heads, self.window = heads, window
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.rel_pos_h, self.rel_pos_w = (
            nn.Parameter(torch.zeros(2 * (window or grid) - 1, width // heads)) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        height, width = x.shape[1:3]
        side = (self.window, self.window) if self.window else (height, width)
        windows = self._windows(self.qkv(x)) if self.window else self.qkv(x).flatten(1, 2)
        q, k, v = windows.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, N, d) each
        grid = q.unflatten(2, side)
        of_rows = torch.einsum("bnhwd,hkd->bnhwk", grid, relative_positions(self.rel_pos_h, side[0]))
        of_columns = torch.einsum("bnhwd,wkd->bnhwk", grid, relative_positions(self.rel_pos_w, side[1]))
        biases = of_rows.flatten(2, 3), of_columns.flatten(2, 3)
        found = attend(q, k, v, *biases, by_head=self.window is None)
        found = found.transpose(1, 2).flatten(2)  # (B, N, C)
        return self.proj(self._joined(found, height, width) if self.window else found.unflatten(1, side))

    def _windows(self, x: Tensor) -> Tensor:
        """Split the qkv map into windows: (B, H, W, 3 C) -> (B * windows, N, 3 C).

        The input of `qkv` is zero-padded at the border, so its output is padded with the bias.
        """
        assert self.window is not None
        batch, height, width, channels = x.shape
        beyond, more = self.qkv.bias.to(x.dtype), self.window - 1  # the maximum padding, a constant for exporters
        rows, columns = (count_windows(length, self.window) * self.window for length in (height, width))
        x = torch.cat([x, beyond.expand(batch, height, more, channels)], dim=2)[:, :, :columns]
        x = torch.cat([x, beyond.expand(batch, more, columns, channels)], dim=1)[:, :rows]
        x = x.unflatten(1, (-1, self.window)).unflatten(3, (-1, self.window))
        return x.transpose(2, 3).reshape(-1, self.window**2, channels)

    def _joined(self, x: Tensor, height: int, width: int) -> Tensor:
        """Invert `_windows`: (B * windows, N, C) -> (B, H, W, C)."""
        assert self.window is not None
        rows, columns = (count_windows(length, self.window) for length in (height, width))
        x = x.unflatten(1, (self.window, self.window)).unflatten(0, (-1, rows, columns))
        return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)[:, :height, :width]


def relative_positions(table: Tensor, length: int) -> Tensor:
    """Interpolate the embeddings (2 L - 1, d) of distances to another length: (length, length, d), by query and key."""
    resized = F.interpolate(table.t()[None], size=2 * length - 1, mode="linear", align_corners=False)[0].t()
    place = torch.arange(length, device=table.device)
    return resized[place[:, None] - place[None, :] + length - 1]
