"""MViTv2 backbones, with maps of strides 4, 8, 16 and 32. Parameter names are the authors'.

B images · H, W size of the map in tokens · C channels · d channels per head · N tokens per window · n maps of one head
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cascade_rcnn.config import MViTConfig
from cascade_rcnn.layers.attention import attend
from cascade_rcnn.layers.blocks import DropPath, count_windows, drop_rates, run
from cascade_rcnn.layers.convolution import Conv2d

_EPS = 1e-6


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What tells a block from the others."""

    inputs: int  # channels
    width: int
    heads: int
    q_stride: int  # of the map after it
    kv_stride: int
    window: int | None  # tokens a side before pooling; None: all attend to one another
    grid: int  # tokens a side before pooling
    drop_path: float


def _plans(config: MViTConfig) -> Iterator[_Plan]:
    """Yield the blocks. The first of a stage still has the windows of the stage before; the last ones see all."""
    inputs, rates = config.width, drop_rates(config.drop_path, config.depths)
    for stage, depth in enumerate(config.depths):
        for number in range(depth):
            last = stage > 0 and number == depth - 1
            before = stage - 1 if stage and number == 0 else stage  # the stage whose map it is given
            yield _Plan(
                inputs=inputs,
                width=config.width << stage,
                heads=config.heads << stage,
                q_stride=2 if before < stage else 1,
                kv_stride=max(1, config.kv_stride >> stage) * (2 if last and stage < 3 else 1),
                window=None if last else config.window >> before,
                grid=config.grid >> before,
                drop_path=rates[stage][number],
            )
            inputs = config.width << stage


class MViT(nn.Module):
    """The multiscale vision transformer (Li et al. 2022) without the classifier, with normalised output maps."""

    strides = (4, 8, 16, 32)

    def __init__(self, config: MViTConfig) -> None:
        super().__init__()
        self.config = config
        self.channels = tuple(config.width << stage for stage in range(4))
        self.patch_embed = nn.ModuleDict({"proj": Conv2d(3, config.width, 7, 4, 3)})
        self.blocks = nn.ModuleList(_Block(plan) for plan in _plans(config))
        self.output_norm = nn.ModuleList(nn.LayerNorm(channels, eps=_EPS) for channels in self.channels)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        self.no_decay = {name for name, _ in self.named_parameters() if name.endswith(("rel_pos_h", "rel_pos_w"))}

    def _stages(self) -> Iterator[tuple[Sequence[nn.Module], nn.Module]]:
        """Yield the blocks and the output normalisation of each stage."""
        blocks = iter(self.blocks)
        for depth, norm in zip(self.config.depths, self.output_norm, strict=True):
            yield [next(blocks) for _ in range(depth)], norm

    def layers(self) -> Sequence[nn.Module]:
        """Return the patch embedding, then each block, the last of a stage with its output normalisation."""
        stages = ([*blocks[:-1], nn.ModuleList([blocks[-1], norm])] for blocks, norm in self._stages())
        return [self.patch_embed, *(layer for stage in stages for layer in stage)]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) to four maps (B, channels[l], H / strides[l], W / strides[l])."""
        x, maps = self.patch_embed["proj"](x).permute(0, 2, 3, 1), []
        for blocks, norm in self._stages():
            for block in blocks:
                x = run(block, x, again=self.config.checkpointing and self.training)
            maps.append(norm(x).permute(0, 3, 1, 2))
        return maps


class _Block(nn.Module):
    """Pooling attention and a two-layer perceptron, both residual and pre-normalised."""

    def __init__(self, plan: _Plan) -> None:
        super().__init__()
        width = plan.width
        self.stride = plan.q_stride
        self.norm1 = nn.LayerNorm(plan.inputs, eps=_EPS)
        self.attn = _PoolingAttention(plan)
        self.proj = nn.Linear(plan.inputs, width) if plan.inputs != width else None
        self.norm2 = nn.LayerNorm(width, eps=_EPS)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})
        self.drop_path = DropPath(plan.drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, inputs) -> (B, H / stride, W / stride, width)."""
        normalised = self.norm1(x)
        x = x if self.proj is None else self.proj(normalised)
        if self.stride > 1:
            x = F.max_pool2d(x.permute(0, 3, 1, 2), self.stride + 1, self.stride, self.stride // 2).permute(0, 2, 3, 1)
        x = x + self.drop_path(self.attn(normalised))
        return x + self.drop_path(self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x)))))


class _PoolingAttention(nn.Module):
    """Self-attention among pooled maps of queries, keys and values, within windows or over the whole map."""

    def __init__(self, plan: _Plan) -> None:
        super().__init__()
        self.plan = plan
        channels = plan.width // plan.heads
        self.qkv, self.proj = nn.Linear(plan.inputs, 3 * plan.width), nn.Linear(plan.width, plan.width)
        for name, stride in (("q", plan.q_stride), ("k", plan.kv_stride), ("v", plan.kv_stride)):
            self.add_module(f"pool_{name}", Conv2d(channels, channels, 3, stride, 1, 1, channels, bias=False))
            self.add_module(f"norm_{name}", nn.LayerNorm(channels, eps=_EPS))
        longest = plan.grid // min(plan.q_stride, plan.kv_stride)
        self.rel_pos_h, self.rel_pos_w = (nn.Parameter(torch.zeros(2 * longest - 1, channels)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, inputs) -> (B, H / q_stride, W / q_stride, width)."""
        plan = self.plan
        maps = self.qkv(x).unflatten(-1, (3, plan.heads, -1)).permute(3, 0, 4, 1, 2, 5).flatten(1, 2)
        q, k, v = (self._pooled(name, maps[number]) for number, name in enumerate("qkv"))  # (n, H, W, d) each
        height, width = q.shape[1:3]
        if plan.window is None:
            found = self._attend(q, k, v)
        else:
            of_q, of_kv = plan.window // plan.q_stride, plan.window // plan.kv_stride
            found = self._attend(_windows(q, of_q), _windows(k, of_kv), _windows(v, of_kv))
            found = _joined(found, height, width)
        return self.proj((found + q).unflatten(0, (-1, plan.heads)).permute(0, 2, 3, 1, 4).flatten(3))

    def _pooled(self, name: str, x: Tensor) -> Tensor:
        """Pool a map per head by a strided convolution: (n, H, W, d) -> (n, H / stride, W / stride, d)."""
        pool, norm = self.get_submodule(f"pool_{name}"), self.get_submodule(f"norm_{name}")
        return norm(pool(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend among maps or windows (n, H, W, d), with biases for the key's row and column."""
        finer = q if self.plan.q_stride <= self.plan.kv_stride else k
        rows, columns = (
            relative_positions(table, q.shape[side], k.shape[side], finer.shape[side])
            for side, table in ((1, self.rel_pos_h), (2, self.rel_pos_w))
        )
        of_rows = torch.einsum("nhwd,hkd->nhwk", q, rows).flatten(1, 2)
        of_columns = torch.einsum("nhwd,wkd->nhwk", q, columns).flatten(1, 2)
        flat = (q.flatten(1, 2), k.flatten(1, 2), v.flatten(1, 2), of_rows, of_columns)
        tokens, keys, values, *biases = (x[:, None] for x in flat)  # one head each: (n, 1, N, d)
        return attend(tokens, keys, values, biases[0], biases[1])[:, 0].unflatten(1, q.shape[1:3])


def relative_positions(table: Tensor, queries: int, keys: int, longest: int) -> Tensor:
    """Interpolate the embeddings (L, d) of distances to a line of queries and one of keys: (queries, keys, d).

    Both lines cover the same pixels; `longest` is the larger of the two numbers, in whose steps distances are counted.
    """
    resized = F.interpolate(table.t()[None], size=2 * longest - 1, mode="linear", align_corners=False)[0].t()
    query, key = torch.arange(queries, device=table.device), torch.arange(keys, device=table.device)
    distance = longest * (query[:, None] * keys + (keys - 1 - key) * queries) // (queries * keys)
    return resized[distance]


def _windows(x: Tensor, side: int) -> Tensor:
    """Split maps into windows, zero-padded at the border: (n, H, W, d) -> (n * windows, side, side, d)."""
    height, width = x.shape[1:3]
    right, below = (count_windows(length, side) * side - length for length in (width, height))
    x = F.pad(x, (0, 0, 0, right, 0, below))
    x = x.unflatten(1, (-1, side)).unflatten(3, (-1, side)).transpose(2, 3)
    return x.flatten(0, 2)


def _joined(x: Tensor, height: int, width: int) -> Tensor:
    """Invert `_windows`: (n * windows, side, side, d) -> (n, H, W, d)."""
    side = x.shape[1]
    x = x.unflatten(0, (-1, count_windows(height, side), count_windows(width, side))).transpose(2, 3)
    return x.flatten(3, 4).flatten(1, 2)[:, :height, :width]
