"""Confidence of a tracker in its box, and rules for a lost target.

The policy's probability of its own choice is no confidence: the policy is trained to choose, and
is as sure in a frame without target. Three quantities together tell more. Two come from the prior's
heat map, which was never rewarded for being sure: *agreement*, the mean overlap of the chosen box
with boxes drawn by heat, and *heat*, the map's value at the chosen position. The third is the
*features* at that position, which differ where nothing resembles the template. A logistic
regression on them gives the probability that the box is right (IoU above 0.5).
`examples.nano.calibration` fits it to tracks over held-back video with absences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from relo_env import boxes as bx


class Evidence(NamedTuple):
    """Evidence for a box, or for N boxes, with a first axis of N.

    Attributes:
        agreement: in [0, 1], see `agreement`.
        heat: in (0, 1), the prior at the chosen position.
        features: ``(C,)``, the network's at the chosen position.
    """

    agreement: np.ndarray | float
    heat: np.ndarray | float
    features: np.ndarray


@dataclass(frozen=True)
class Confidence:
    """Probability that a box is right.

    ``sigmoid(bias + agreement * logit(A) + heat * logit(H) + features @ F)`` for evidence A, H, F.

    Attributes:
        bias: log-odds at even agreement and heat.
        agreement: weight of the agreement's log-odds.
        heat: weight of the heat's log-odds.
        features: ``(C,)``, weights of the features; none: they do not count.
    """

    bias: float
    agreement: float
    heat: float
    features: tuple[float, ...] = ()

    def __call__(self, evidence: Evidence) -> np.ndarray:
        """Probabilities ``()`` or ``(N,)``."""
        weights = np.array([self.bias, self.agreement, self.heat, *self.features])
        odds = inputs(evidence)[..., : len(weights)] @ weights
        return 1 / (1 + np.exp(-np.clip(odds, -30, 30)))


def agreement(scores: np.ndarray, candidates: np.ndarray, position: int) -> float:
    """Overlap with the chosen candidate that a candidate drawn by score has on average.

    Args:
        scores: ``(A,)``, none negative, such as a heat map.
        candidates: ``(A, 4)`` cxcywh.
        position: the one chosen.
    """
    corners = bx.cxcywh_to_xywh(candidates)
    return float(scores @ bx.iou(corners, corners[position]) / max(scores.sum(), 1e-12))


@dataclass(frozen=True)
class Absence:
    """Rule that tells when a target counts as lost; it changes no box.

    Attributes:
        lost_below: a score under it is a miss; the first score that is not finds the target again.
        patience: misses in a row before the target counts as lost.
    """

    lost_below: float = 0.2
    patience: int = 3


@dataclass(frozen=True)
class Recovery(Absence):
    """`Absence`, and a search for the lost target around its last trusted box.

    Attributes:
        growth: factor on the search window's side, each frame that the target is lost.
        reach: largest such factor.
    """

    growth: float = 1.1
    reach: float = 2.0


def inputs(evidence: Evidence) -> np.ndarray:
    """Inputs of the regression ``(..., 3 + C)``: 1, log-odds of agreement and heat, features."""

    def log_odds(share: np.ndarray | float) -> np.ndarray:
        share = np.clip(share, 1e-4, 1 - 1e-4)
        return np.log(share / (1 - share))

    agreed, heat = log_odds(evidence.agreement), log_odds(evidence.heat)
    numbers = np.stack([np.ones_like(heat), agreed, heat], axis=-1)
    return np.concatenate([numbers, evidence.features], axis=-1)
