"""Fast-iTPN (Tian et al. 2024) as RELO's one-stream encoder: presets t256, b256 and l256.

A convolution-like stem reads each crop apart at strides 4, 8 and 16; the attention blocks read the
rows of all crops together. Written from the facts of SEMANTICS section 1; names and shapes of the
official state dict are the business of `agents.network.official`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, linear, silu

from agents.network.encoder import Encoder, attend, import_timm
from agents.network.temporal import Block, TemporalConfig
from relo_env.config import CropConfig
from relo_env.errors import CheckpointError, ConfigError

HEAD_WIDTH = 64
"""Channels of an attention head."""

STRIDE = 16
"""[px] side of a cell."""


@dataclass(frozen=True)
class FastITPNConfig:
    """Measures of a Fast-iTPN.

    Attributes:
        width: channels of the attention blocks; the stem has a quarter and a half of them.
        stem_blocks: blocks at stride 4 and at stride 8.
        depth: attention blocks.
        drop_path: rate of stochastic depth in the last block; it grows linearly from 0.
    """

    width: int
    stem_blocks: tuple[int, int]
    depth: int
    drop_path: float = 0.1

    def build(self, crop: CropConfig, temporal: TemporalConfig) -> FastITPN:
        """The encoder with random weights."""
        return FastITPN(self, crop, temporal)


class FastITPN(Encoder):
    """The encoder; attention blocks are the joint blocks.

    Raises:
        ConfigError: the stride is not 16.
    """

    def __init__(self, config: FastITPNConfig, crop: CropConfig, temporal: TemporalConfig) -> None:
        if crop.stride != STRIDE:
            raise ConfigError(f"stride is {crop.stride}; Fast-iTPN has a stride of {STRIDE}.")
        super().__init__(config.width, config.depth, crop, temporal)
        total = sum(config.stem_blocks) + config.depth
        rates = [config.drop_path * i / (total - 1) for i in range(total)]
        self.stem = Stem(config.width, config.stem_blocks, rates)
        positions = crop.num_positions + (crop.template_size // STRIDE) ** 2
        self.position = nn.Parameter(torch.empty(1, positions, config.width))
        nn.init.trunc_normal_(self.position, std=0.02)
        self.blocks = nn.ModuleList(
            AttentionBlock(config.width, rate) for rate in rates[-config.depth :]
        )
        self.norm = nn.LayerNorm(config.width, eps=1e-6)

    def embed_search(self, crops: Tensor) -> Tensor:
        """See `Encoder.embed_search`."""
        return self.stem(crops) + self.position[:, : self.crop.num_positions]

    def embed_template(self, crops: Tensor) -> Tensor:
        """See `Encoder.embed_template`."""
        return self.stem(crops) + self.position[:, self.crop.num_positions :]

    def joint_blocks(self) -> Sequence[Block]:
        """See `Encoder.joint_blocks`."""
        return cast(Sequence[Block], self.blocks)


class Stem(nn.Module):
    """Crops ``(N, 3, S, S)`` to rows ``(N, (S / 16)^2, C)``, row-major."""

    def __init__(self, width: int, num_blocks: tuple[int, int], drop_paths: list[float]) -> None:
        super().__init__()
        fine, middle = width // 4, width // 2
        first, second = num_blocks
        self.patches = nn.Conv2d(3, fine, 4, stride=4)
        self.fine = nn.Sequential(*(StemBlock(fine, rate) for rate in drop_paths[:first]))
        self.merge_fine = Merge(fine, middle)
        self.middle = nn.Sequential(
            *(StemBlock(middle, rate) for rate in drop_paths[first : first + second])
        )
        self.merge_middle = Merge(middle, width)

    def forward(self, crops: Tensor) -> Tensor:
        """``(N, 3, S, S)`` to ``(N, L, C)``; in between, channels are last."""
        x = self.patches(crops).permute(0, 2, 3, 1)
        x = self.merge_fine(self.fine(x))
        x = self.merge_middle(self.middle(x))
        return x.flatten(1, 2)


class StemBlock(nn.Module):
    """Residual perceptron of each position, ``(N, H, W, C)``."""

    def __init__(self, width: int, drop_path: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.widen = nn.Linear(width, 3 * width)
        self.inner_norm = nn.LayerNorm(3 * width, eps=1e-6)
        self.narrow = nn.Linear(3 * width, width)
        self.drop_path = import_timm().layers.DropPath(drop_path)
        _initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out."""
        hidden = nn.functional.gelu(self.widen(self.norm(x)))
        return x + self.drop_path(self.narrow(self.inner_norm(hidden)))


class Merge(nn.Module):
    """2x2 positions become one: ``(N, H, W, C)`` to ``(N, H / 2, W / 2, wider)``."""

    def __init__(self, width: int, wider: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.reduction = nn.Conv2d(width, wider, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.reduction(self.norm(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class AttentionBlock(nn.Module):
    """A joint block (`agents.network.temporal`): attention and SwiGLU, both with layer scale."""

    def __init__(self, width: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attention = Attention(width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = SwiGLU(width, 3 * width)
        self.scale1 = nn.Parameter(torch.full((width,), 0.1))
        self.scale2 = nn.Parameter(torch.full((width,), 0.1))
        self.drop_path = import_timm().layers.DropPath(drop_path)
        _initialize(self)

    def forward(
        self, rows: Tensor, memory: Tensor | None = None, keep: int | None = None
    ) -> Tensor:
        """``rows`` ``(N, L, C)`` read themselves and ``memory``; the first ``keep`` come back."""
        keep = rows.shape[1] if keep is None else keep
        seen = self.norm1(rows if memory is None else torch.cat([rows, memory], dim=1))
        rows = rows[:, :keep] + self.drop_path(self.scale1 * self.attention(seen, keep))
        return rows + self.drop_path(self.scale2 * self.mlp(self.norm2(rows)))


class Attention(nn.Module):
    """Multi-head attention; queries and values have a bias, keys have none."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.out = nn.Linear(width, width)

    def forward(self, seen: Tensor, queries: int) -> Tensor:
        """The first ``queries`` rows of ``seen`` ``(N, L, C)`` attend to all of it."""
        qkv = self._project(seen).unflatten(2, (3, -1, HEAD_WIDTH))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = attend(q[:, :, :queries], k, v)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def fold(self) -> None:
        """Give the projection its bias, once and for evaluation only."""
        self.qkv.bias = nn.Parameter(self._bias())

    def _project(self, seen: Tensor) -> Tensor:
        folded = self.qkv.bias is not None
        return self.qkv(seen) if folded else linear(seen, self.qkv.weight, self._bias())

    def _bias(self) -> Tensor:
        return torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])


class SwiGLU(nn.Module):
    """``out(norm(silu(gate x) * (value x)))``; gate and value are one matrix."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_value = nn.Linear(width, 2 * hidden)
        self.norm = nn.LayerNorm(hidden, eps=1e-6)
        self.out = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out."""
        gate, value = self.gate_value(x).chunk(2, dim=-1)
        return self.out(self.norm(silu(gate) * value))


def adapt_position(pretrained: Tensor, search: int, template: int, method: str = "index") -> Tensor:
    """Positions for both crops from those of a pretrained Fast-iTPN, as the official code does.

    Args:
        pretrained: ``(1, G * G, C)``.
        search: side of the search crop's grid.
        template: side of the template crop's grid.
        method: ``"index"``: a smaller grid is the top-left corner of the pretrained one, a larger
            one is interpolated (bicubic, corners aligned); ``"interpolate"``: both are.

    Returns:
        ``(1, search^2 + template^2, C)``.

    Raises:
        CheckpointError: the pretrained grid is not square.
    """
    side = round(pretrained.shape[1] ** 0.5) if pretrained.ndim == 3 else 0
    if pretrained.shape[:2] != (1, side * side):
        raise CheckpointError(
            f"pos_embed of the pretrained file has shape {tuple(pretrained.shape)}; expected "
            "(1, G * G, C), a square grid without a class token."
        )
    grid = pretrained.transpose(1, 2).unflatten(2, (side, side))

    def resized(wanted: int) -> Tensor:
        if wanted == side or (wanted < side and method == "index"):
            return grid[:, :, :wanted, :wanted]
        return interpolate(grid, size=(wanted, wanted), mode="bicubic", align_corners=True)

    parts = [resized(wanted).flatten(2) for wanted in (search, template)]
    return torch.cat(parts, dim=2).transpose(1, 2)


def _initialize(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
