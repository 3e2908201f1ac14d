"""The losses of stage 1 as functions of tensors, so that they can be checked by hand."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from agents.network.boxes import (
    GIOU_WEIGHT,
    L1_WEIGHT,
    corner_overlaps,
    corners,
    neighbour_cells,
    true_cells,
)

HEAT_OVERLAP = 0.7
"""Boxes within the heat map's radius overlap the true one by at least this (official)."""

SUPERVISION = ("centre", "neighbours", "peak")


class WarmupLosses(NamedTuple):
    """Parts of the loss, scalars; ``iou`` is the mean overlap of the supervised boxes."""

    total: Tensor
    giou: Tensor
    l1: Tensor
    focal: Tensor
    iou: Tensor


def warmup_loss(
    candidates: Tensor,
    prior: Tensor,
    targets: Tensor,
    *,
    grid: tuple[int, int],
    supervision: str = "centre",
) -> WarmupLosses:
    """``2 (1 - GIoU) + 5 L1`` at the supervised positions, plus the prior's focal loss.

    Args:
        candidates: ``(N, H * W, 4)`` cxcywh01.
        prior: ``(N, H * W)`` heat map in (0, 1).
        targets: ``(N, 4)`` cxcywh01; their centres lie in the crop.
        grid: (H, W).
        supervision: ``"centre"``: the cell of the true centre (paper); ``"neighbours"``: that cell
            and those of the eight around it whose centres lie in the box; ``"peak"``: the prior's
            best position, against the target clamped to the crop (public code, SEMANTICS section
            5, whose heat map also rounds the centre to the next cell instead of down).
    """
    official = supervision == "peak"
    heat = heat_maps(targets, grid, official=official)
    focal = focal_loss(prior, heat.flatten(1))
    if supervision == "neighbours":
        frames, cells = neighbour_cells(targets, grid)
    else:
        frames = torch.arange(len(targets), device=targets.device)
        cells = prior.argmax(1) if official else true_cells(targets, grid)
    predicted = corners(candidates[frames, cells])
    truth = corners(targets)[frames]
    if official:
        truth = truth.clamp(0, 1)
    iou, giou = corner_overlaps(predicted, truth)
    # Every frame counts alike, however many of its cells are supervised.
    weight = 1 / torch.bincount(frames, minlength=len(targets))[frames] / len(targets)
    giou_loss = (weight * (1 - giou)).sum()
    l1_loss = (weight * (predicted - truth).abs().mean(-1)).sum()
    total = GIOU_WEIGHT * giou_loss + L1_WEIGHT * l1_loss + focal
    return WarmupLosses(total, giou_loss, l1_loss, focal, (weight * iou).sum())


def heat_maps(targets: Tensor, grid: tuple[int, int], *, official: bool = False) -> Tensor:
    """Gaussian bump of height 1 at each target's cell, ``(N, H, W)``.

    Its deviation is ``(2 r + 1) / 6``, it is cut at radius ``r``, and ``r`` is the public code's
    variant of CornerNet's radius (SEMANTICS section 5).

    Args:
        targets: ``(N, 4)`` cxcywh01.
        grid: (H, W).
        official: the cell is ``round(W * cx)``, which may lie one outside the map; else the cell
            that holds the centre, at which boxes are supervised.
    """
    height, width = grid
    scale = targets.new_tensor([width, height])
    centre = targets[:, :2] * scale
    centre = centre.round() if official else centre.floor()
    if not official:
        centre = centre.clamp(min=0).minimum(scale - 1)
    radius = _radius(targets[:, 2:] * scale)[:, None, None]
    x = torch.arange(width, device=targets.device) - centre[:, 0, None, None]
    y = torch.arange(height, device=targets.device)[:, None] - centre[:, 1, None, None]
    bump = torch.exp(-(x.square() + y.square()) / (2 * ((2 * radius + 1) / 6).square()))
    return torch.where((x.abs() <= radius) & (y.abs() <= radius), bump, 0.0)


def focal_loss(heat: Tensor, truth: Tensor) -> Tensor:
    """Penalty-reduced focal loss of heat maps (Law and Deng 2018), over the number of peaks.

    Args:
        heat: ``(N, A)`` in (0, 1).
        truth: ``(N, A)``; cells with value 1 are peaks.
    """
    peak = truth == 1
    missed = torch.where(peak, (1 - heat).square() * heat.log(), 0.0)
    raised = torch.where(peak, 0.0, (1 - truth) ** 4 * heat.square() * (1 - heat).log())
    return -(missed.sum() + raised.sum()) / peak.sum().clamp(min=1)


def _radius(size: Tensor) -> Tensor:
    """Radius in whole cells ``(N,)`` for boxes ``(N, 2)`` in cells; official form, see above."""
    total, area, o = size.sum(1), size.prod(1), HEAT_OVERLAP

    def root(a: float, b: Tensor, c: Tensor) -> Tensor:
        return (b + (b.square() - 4 * a * c).sqrt()) / 2

    inner = root(1.0, total, area * (1 - o) / (1 + o))
    both = root(4.0, 2 * total, (1 - o) * area)
    outer = root(4 * o, -2 * o * total, (o - 1) * area)
    return torch.stack([inner, both, outer]).amin(0).clamp(min=0).floor()
