"""Confidence of a tracker in its box, and recovery of a lost target.

What a policy says of its own choice is no probability: it is trained to choose, chooses in a frame
without target too, and is sure of it. Three things together tell more. From the prior's heat map,
which was never rewarded for being sure: *agreement*, the overlap with the chosen box that a box
drawn by heat has, and *heat*, its value at the chosen position. And the *features* there, which
differ where the template finds nothing like itself. A logistic regression on them, fitted to tracks
over held-back video with absences, makes them the probability that the box is right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from relo_env import boxes as bx

RIGHT = 0.5
"""A box is right where its IoU with the true one is above this."""

_RIDGE = 1e-3
"""Weight decay of the regression, for data that it could separate without error."""

_FEATURES_RIDGE = 0.3
"""The same for the features, of which there are hundreds for a few dozen videos."""


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
        return _sigmoid(_inputs(evidence)[..., : len(weights)] @ weights)

    @classmethod
    def fit(cls, evidence: Evidence, right: np.ndarray) -> Confidence:
        """The most likely one for N boxes with weight decay, by Newton's method.

        Args:
            evidence: of N boxes.
            right: bool ``(N,)``, whether each box was right.
        """
        inputs = _inputs(evidence)
        scale = np.where(inputs.std(0) > 0, inputs.std(0), 1.0)
        inputs = inputs / scale
        decay = np.full(inputs.shape[1], _FEATURES_RIDGE)
        decay[:3] = _RIDGE

        def loss(weights: np.ndarray) -> float:
            odds = np.where(right, -1, 1) * (inputs @ weights)
            return float(np.logaddexp(0, odds).mean() + decay / 2 @ weights**2)

        weights = np.zeros(inputs.shape[1])
        for _ in range(50):
            p = _sigmoid(inputs @ weights)
            slope = inputs.T @ (p - right) / len(p) + decay * weights
            curvature = (inputs.T * (p * (1 - p))) @ inputs / len(p) + np.diag(decay)
            step = np.linalg.solve(curvature, slope)
            # A whole step may overshoot where most boxes are beyond doubt.
            while loss(weights - step) > loss(weights) and np.abs(step).max() > 1e-9:
                step = step / 2
            weights = weights - step
        bias, agreed, heat, *features = (weights / scale).tolist()
        return cls(bias, agreed, heat, tuple(features))


def agreement(scores: np.ndarray, candidates: np.ndarray, position: int) -> float:
    """Overlap with the chosen candidate that a candidate drawn by score has on average.

    Args:
        scores: ``(A,)``, none negative, such as a heat map.
        candidates: ``(A, 4)`` cxcywh.
        position: the one chosen.
    """
    corners = bx.cxcywh_to_xywh(candidates)
    return float(scores @ bx.iou(corners, corners[position]) / max(scores.sum(), 1e-12))


def reliability(
    confidence: np.ndarray, right: np.ndarray, bins: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean confidence, share of right boxes and number of boxes in each bin that has any.

    Args:
        confidence: ``(N,)`` in [0, 1].
        right: bool ``(N,)``.
        bins: of equal width.
    """
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(index, minlength=bins)
    used = count > 0
    total = np.bincount(index, confidence, bins)[used], np.bincount(index, right, bins)[used]
    return total[0] / count[used], total[1] / count[used], count[used]


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error: the bins' gaps between confidence and share, by their size."""
    mean, share, count = reliability(confidence, right)
    return float(np.abs(mean - share) @ count / count.sum())


@dataclass(frozen=True)
class Recovery:
    """Rules for losing and searching a target.

    Attributes:
        lost_below: a score under it is a miss; the first score that is not finds the target again.
        patience: misses in a row that are still followed.
        growth: factor on the search window's side, each frame that the target is lost.
        reach: largest such factor.
    """

    lost_below: float = 0.2
    patience: int = 3
    growth: float = 1.1
    reach: float = 2.0


def _inputs(evidence: Evidence) -> np.ndarray:
    """``(..., 3 + C)``: one, the log-odds of agreement and heat, the features."""

    def log_odds(share: np.ndarray | float) -> np.ndarray:
        share = np.clip(share, 1e-4, 1 - 1e-4)
        return np.log(share / (1 - share))

    agreed, heat = log_odds(evidence.agreement), log_odds(evidence.heat)
    numbers = np.stack([np.ones_like(heat), agreed, heat], axis=-1)
    return np.concatenate([numbers, evidence.features], axis=-1)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -30, 30)))
