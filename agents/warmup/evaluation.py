"""Evaluation of a warmed-up network, before the policy stage."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch

from agents.network import RELONetwork
from agents.network.boxes import overlaps, true_cells
from agents.network.inference import warn_of_slow_half
from agents.warmup.clips import ClipBatch, read_clips


class WarmupFigures(NamedTuple):
    """Mean IoU of one choice of position over held-back frames.

    Attributes:
        true_cell: the position of the true centre, which stage 1 trains.
        prior: the prior's best position, which is the baseline.
        oracle: the best position, which bounds every policy.
        random: a uniformly random position, in expectation.
    """

    true_cell: float
    prior: float
    oracle: float
    random: float


@torch.no_grad()
def evaluate_warmup(
    network: RELONetwork,
    batches: Iterable[ClipBatch],
    *,
    amp: bool = False,
) -> WarmupFigures:
    """Quality of a network's candidate boxes, and of the prior's choice among them.

    Args:
        network: on any device.
        batches: of held-back clips, e.g. ``ClipBatches(...)`` indexed from 0 on.
        amp: bfloat16 autocast.
    """
    device = next(network.parameters()).device
    warn_of_slow_half(torch.bfloat16 if amp else None, device)
    was_training = network.training
    network.eval()
    figures = []
    for batch in batches:
        batch = ClipBatch(*(part.to(device) for part in batch))
        with torch.autocast(device.type, torch.bfloat16, enabled=amp):
            seen = read_clips(network, batch)
        targets = batch.targets.flatten(0, 1)
        ious = overlaps(seen.candidates, targets[:, None])
        rows = torch.arange(len(ious), device=device)
        figures.append(
            torch.stack(
                [
                    ious[rows, true_cells(targets, network.crop.grid)],
                    ious[rows, seen.prior.argmax(1)],
                    ious.amax(1),
                    ious.mean(1),
                ]
            )
        )
    network.train(was_training)
    return WarmupFigures(*torch.cat(figures, dim=1).mean(1).tolist())
