"""Augmentation of clips, computed on the device that holds the crops."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from agents.warmup.clips import ClipBatch

GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""


def repeated(batch: ClipBatch, views: int) -> ClipBatch:
    """Each clip ``views`` times, all clips once before any comes again (Hoffer et al. 2020)."""
    clip_axes = 0, 0, 1, 1
    return ClipBatch(
        *(torch.cat([part] * views, axis) for part, axis in zip(batch, clip_axes, strict=True))
    )


def mirrored(batch: ClipBatch, which: Tensor) -> ClipBatch:
    """Batch with some clips turned left to right, boxes too.

    Args:
        batch: on any device.
        which: bool ``(N,)``.
    """
    which = which.to(batch.searches.device)
    x, y, w, h = batch.template_boxes.unbind(-1)
    template_boxes = torch.stack([1 - x - w, y, w, h], -1)
    x, y, w, h = batch.targets.unbind(-1)
    targets = torch.stack([1 - x, y, w, h], -1)
    clips, crops = which[:, None, None], which[:, None, None, None]
    return ClipBatch(
        torch.where(crops[:, None], batch.templates.flip(-1), batch.templates),
        torch.where(clips, template_boxes, batch.template_boxes),
        torch.where(crops, batch.searches.flip(-1), batch.searches),
        torch.where(which[:, None], targets, batch.targets),
    )


def augment_pixels(
    batch: ClipBatch,
    seed: int,
    step: int,
    *,
    colour: float = 0.1,
    grey: float = 0.1,
    blur: float = 0.3,
    largest_blur: float = 2.0,
    mirror: float = 0.5,
) -> ClipBatch:
    """Batch in other colours, partly blurred and mirrored; the same for the same seed and step.

    Colour, grey and mirror are drawn once for a clip, template included; blur for each search crop,
    because a target that moves fast is blurred in some frames and not in its template.

    Args:
        batch: on any device.
        seed: of the run.
        step: index of the batch.
        colour: deviation of the log of each channel's factor; half of it for the contrast's.
        grey: probability of a grey clip.
        blur: probability of a blurred search crop.
        largest_blur: [px] largest deviation of the Gaussian blur.
        mirror: probability of a clip turned left to right.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    clips, frames = batch.templates.shape[0], batch.searches.shape[0]
    factors = (colour * torch.randn(clips, 3, generator=generator)).exp()
    contrast = (colour / 2 * torch.randn(clips, 1, generator=generator)).exp()
    is_grey = torch.rand(clips, generator=generator) < grey
    deviation = largest_blur * torch.rand(frames, clips, generator=generator)
    deviation *= torch.rand(frames, clips, generator=generator) < blur
    batch = mirrored(batch, torch.rand(clips, generator=generator) < mirror)
    look = [part.to(batch.searches.device) for part in (factors, contrast, is_grey)]
    templates = _coloured(batch.templates.float(), *(part[:, None] for part in look))
    searches = _coloured(batch.searches.float(), *(part[None] for part in look))
    searches = blurred(searches.flatten(0, 1), deviation.flatten().to(searches.device))
    return batch._replace(
        templates=_pixels(templates), searches=_pixels(searches.unflatten(0, (frames, clips)))
    )


def _coloured(crops: Tensor, factors: Tensor, contrast: Tensor, grey: Tensor) -> Tensor:
    """Crops ``(..., 3, S, S)`` in [0, 255] with factors ``(..., 3)`` and so on."""
    crops = crops * factors[..., None, None]
    crops = (crops - 128) * contrast[..., None, None] + 128
    weights = crops.new_tensor(GREY)[:, None, None]
    return torch.where(grey[..., None, None, None], (crops * weights).sum(-3, True), crops)


def blurred(crops: Tensor, deviation: Tensor) -> Tensor:
    """Crops ``(N, 3, S, S)``, each under a Gaussian of its deviation ``(N,)``; 0: unchanged."""
    radius = max(1, int((2.5 * deviation.max()).ceil())) if len(deviation) else 1
    offsets = torch.arange(-radius, radius + 1, device=crops.device)
    kernel = torch.exp(-offsets.square() / (2 * deviation.clamp(min=1e-3).square()[:, None]))
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, 0)
    planes = F.pad(crops.flatten(0, 1)[None], [radius] * 4, mode="replicate")
    planes = F.conv2d(planes, kernel[:, None, None, :], groups=len(kernel))
    planes = F.conv2d(planes, kernel[:, None, :, None], groups=len(kernel))
    return planes[0].unflatten(0, (-1, 3))


def _pixels(crops: Tensor) -> Tensor:
    return crops.round().clamp(0, 255).to(torch.uint8)
