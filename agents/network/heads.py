"""Heads on the feature map: candidate boxes, policy, value and the heat-map prior."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

PROBABILITY_FLOOR = 1e-4
"""Sizes and heat maps stay this far from 0 and 1 (official behaviour)."""

HEADS = ("boxes", "policy", "value", "prior")
"""Names that `Heads` computes; size and offset together are ``"boxes"``."""


@dataclass(frozen=True)
class HeadConfig:
    """Shape of every head's tower of convolutions.

    Attributes:
        channels: output channels of each layer.
        kernels: side of each layer's kernel.
        norm: ``"batch"`` as in the official presets, or ``"group"``, which computes the same in
            training and evaluation.
    """

    channels: tuple[int, ...] = (256, 128, 64, 32)
    kernels: tuple[int, ...] = (3, 3, 3, 3)
    norm: str = "batch"


@dataclass(frozen=True)
class HeadOutputs:
    """Outputs of `Heads`, float32; None for outputs that were not requested.

    Attributes:
        candidates: ``(N, H * W, 4)``, the box of each position, cxcywh01 of the search crop.
        size: ``(N, 2, H, W)``, width and height as fractions of the crop.
        offset: ``(N, 2, H, W)``, x and y of the centre from the cell's corner, in cells.
        policy_logits: ``(N, H * W)``.
        value: ``(N,)``.
        prior: ``(N, H * W)``, heat map in (0, 1): the baseline's score of each position.
    """

    candidates: Tensor | None = None
    size: Tensor | None = None
    offset: Tensor | None = None
    policy_logits: Tensor | None = None
    value: Tensor | None = None
    prior: Tensor | None = None


class Tower(nn.Sequential):
    """Convolution, norm and ReLU, repeated: ``(N, C, H, W)`` to ``(N, channels[-1], H, W)``."""

    def __init__(self, width: int, config: HeadConfig) -> None:
        layers = []
        for channels, kernel in zip(config.channels, config.kernels, strict=True):
            norm = nn.BatchNorm2d(channels) if config.norm == "batch" else nn.GroupNorm(4, channels)
            convolution = nn.Conv2d(width, channels, kernel, padding=kernel // 2)
            layers.append(nn.Sequential(convolution, norm, nn.ReLU()))
            width = channels
        super().__init__(*layers)

    def fold(self) -> None:
        """Put batch norms into the convolutions before them, once and for evaluation only."""
        for layer in cast(Iterable[nn.Sequential], self):
            convolution, norm = layer[0], layer[1]
            if isinstance(norm, nn.BatchNorm2d):
                layer[0] = fuse_conv_bn_eval(cast(nn.Conv2d, convolution), norm)
                layer[1] = nn.Identity()


class MapHead(nn.Module):
    """A tower and a 1x1 convolution: a number or two at each position."""

    def __init__(self, width: int, channels: int, config: HeadConfig) -> None:
        super().__init__()
        self.tower = Tower(width, config)
        self.out = nn.Conv2d(config.channels[-1], channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """``(N, C, H, W)`` to float32 ``(N, channels, H, W)``."""
        return self.out(self.tower(features)).float()


class ScalarHead(nn.Module):
    """A tower, the mean over positions and a linear layer: one number an image."""

    def __init__(self, width: int, config: HeadConfig) -> None:
        super().__init__()
        self.tower = Tower(width, config)
        self.out = nn.Linear(config.channels[-1], 1)

    def forward(self, features: Tensor) -> Tensor:
        """``(N, C, H, W)`` to float32 ``(N,)``."""
        return self.out(self.tower(features).mean((2, 3))).squeeze(1).float()


class Heads(nn.Module):
    """All heads; they do not depend on each other, so only those asked for are computed."""

    def __init__(self, width: int, config: HeadConfig) -> None:
        super().__init__()
        self.size = MapHead(width, 2, config)
        self.offset = MapHead(width, 2, config)
        self.prior = MapHead(width, 1, config)
        self.policy = MapHead(width, 1, config)
        self.value = ScalarHead(width, config)
        initialize(self)
        # Untrained boxes: centred on their cells, as wide as a target is in a window of factor 4.
        nn.init.constant_(cast(Tensor, self.offset.out.bias), 0.5)
        nn.init.constant_(cast(Tensor, self.size.out.bias), -1.1)

    def forward(self, features: Tensor, only: tuple[str, ...] = HEADS) -> HeadOutputs:
        """Outputs for features ``(N, C, H, W)``; ``only`` names the heads, see `HEADS`."""
        features = features.to(self.policy.out.weight.dtype)
        outputs: dict[str, Tensor] = {}
        if "boxes" in only:
            outputs["size"] = _probability(self.size(features))
            outputs["offset"] = self.offset(features)
            outputs["candidates"] = candidate_boxes(outputs["size"], outputs["offset"])
        if "policy" in only:
            outputs["policy_logits"] = self.policy(features).flatten(1)
        if "value" in only:
            outputs["value"] = self.value(features)
        if "prior" in only:
            outputs["prior"] = _probability(self.prior(features)).flatten(1)
        return HeadOutputs(**outputs)

    def reset_decisions(self, seed: int) -> None:
        """Draw policy and value anew, as at the start of the policy stage."""
        generator = torch.Generator(self.policy.out.weight.device).manual_seed(seed)
        initialize(self.policy, generator)
        initialize(self.value, generator)


def initialize(module: nn.Module, generator: torch.Generator | None = None) -> None:
    """Xavier-uniform weights (official), zero biases, unit norms; running statistics forgotten."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(part.weight, generator=generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.BatchNorm2d | nn.GroupNorm):
            part.reset_parameters()


def candidate_boxes(size: Tensor, offset: Tensor) -> Tensor:
    """Box of every position, ``(N, H * W, 4)`` cxcywh01, from the two maps ``(N, 2, H, W)``.

    The centre of cell (row, column) is ``(column + offset_x) / W, (row + offset_y) / H``, as in the
    official code.
    """
    height, width = offset.shape[2:]
    columns = torch.arange(width, device=offset.device)
    rows = torch.arange(height, device=offset.device)[:, None]
    x = (offset[:, 0] + columns) / width
    y = (offset[:, 1] + rows) / height
    return torch.stack([x, y, size[:, 0], size[:, 1]], dim=-1).flatten(1, 2)


def _probability(logits: Tensor) -> Tensor:
    return logits.sigmoid().clamp(PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
