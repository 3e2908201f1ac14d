"""Boxes as tensors: cells, overlaps and the box loss of both stages."""

from __future__ import annotations

import torch
from torch import Tensor

GIOU_WEIGHT, L1_WEIGHT = 2.0, 5.0
"""Weights of the two box losses (paper)."""


def true_cells(targets: Tensor, grid: tuple[int, int]) -> Tensor:
    """Row-major position ``(N,)`` of each target's centre, ``floor(W * cx)``, clamped to the grid.

    Args:
        targets: ``(N, 4)`` cxcywh01.
        grid: (H, W).
    """
    height, width = grid
    column = (targets[:, 0] * width).floor().long().clamp(0, width - 1)
    row = (targets[:, 1] * height).floor().long().clamp(0, height - 1)
    return row * width + column


def neighbour_cells(targets: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Index of the frame and of the position of every cell of ``supervision="neighbours"``."""
    height, width = grid
    middle = true_cells(targets, grid)
    steps = torch.tensor([-1, 0, 1], device=targets.device)
    row = (middle // width)[:, None, None] + steps[:, None]
    column = (middle % width)[:, None, None] + steps
    x, y = (column + 0.5) / width, (row + 0.5) / height
    cx, cy, w, h = (part[:, None, None] for part in targets.unbind(1))
    inside = ((x - cx).abs() <= w / 2) & ((y - cy).abs() <= h / 2)
    inside &= (row >= 0) & (row < height) & (column >= 0) & (column < width)
    inside[:, 1, 1] = True
    frames = torch.arange(len(targets), device=targets.device)[:, None, None].expand_as(inside)
    return frames[inside], (row * width + column)[inside]


def overlaps(boxes: Tensor, targets: Tensor) -> Tensor:
    """IoU of cxcywh01 boxes ``(..., 4)``, broadcast; 0 where the union has no area."""
    return corner_overlaps(corners(boxes), corners(targets))[0]


def box_loss(candidates: Tensor, targets: Tensor, grid: tuple[int, int]) -> Tensor:
    """``2 (1 - GIoU) + 5 L1`` of the candidate at the true cell, summed over frames, over N.

    A frame whose target's centre lies outside the window has no true cell and counts 0.

    Args:
        candidates: ``(N, H * W, 4)`` cxcywh01.
        targets: ``(N, 4)`` cxcywh01 of the search window; zeros where the target is absent.
        grid: (H, W).
    """
    centre, size = targets[:, :2], targets[:, 2:]
    inside = ((centre >= 0) & (centre < 1) & (size > 0)).all(1)
    frames = torch.arange(len(targets), device=targets.device)
    chosen = corners(candidates[frames, true_cells(targets, grid)])
    truth = corners(targets)
    _, giou = corner_overlaps(chosen, truth)
    losses = GIOU_WEIGHT * (1 - giou) + L1_WEIGHT * (chosen - truth).abs().mean(-1)
    return torch.where(inside, losses, 0.0).sum() / len(targets)


def corners(boxes: Tensor) -> Tensor:
    """Left, top, right and bottom ``(..., 4)`` of cxcywh boxes."""
    half = boxes[..., 2:] / 2
    return torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], dim=-1)


def corner_overlaps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and GIoU of corner boxes; a hull without area gives -1 as in `relo_env.boxes`."""

    def area(low: Tensor, high: Tensor) -> Tensor:
        return (high - low).clamp(min=0).prod(-1)

    shared = area(torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:]))
    hull = area(torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:]))
    union = area(a[..., :2], a[..., 2:]) + area(b[..., :2], b[..., 2:]) - shared
    tiny = torch.finfo(union.dtype).tiny
    iou = shared / union.clamp(min=tiny)
    return iou, iou - 1 + union / hull.clamp(min=tiny)
