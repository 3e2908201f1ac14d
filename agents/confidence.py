"""How sure a tracker may be of its box, and what it does when it is not.

What a policy says of its own choice is no probability: it is trained to choose, chooses in a frame
without target too, and is sure of it. The prior's heat map, which was never rewarded for being
sure, tells more, by two numbers together: *agreement*, the overlap with the chosen box that a box
drawn by heat has, and *heat*, its value at the chosen position, which is low where nothing looks
like the target. A logistic regression on both, fitted to tracks over held-back video with absences,
makes them the probability that the box is right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from relo_env import boxes as bx

RIGHT = 0.5
"""A box is right where its IoU with the true one is above this."""

_RIDGE = 1e-3
"""Weight decay of the regression, for data that it could separate without error."""


@dataclass(frozen=True)
class Confidence:
    """Probability that a box is right: ``sigmoid(bias + agreement * logit(A) + heat * logit(H))``.

    Attributes:
        bias: log-odds at even agreement and heat.
        agreement: weight of the agreement's log-odds.
        heat: weight of the heat's log-odds.
    """

    bias: float
    agreement: float
    heat: float

    def __call__(self, agreement: np.ndarray | float, heat: np.ndarray | float) -> np.ndarray:
        """Probabilities for agreements and heats in [0, 1], of any shape."""
        weights = np.array([self.bias, self.agreement, self.heat])
        return _sigmoid(_inputs(agreement, heat) @ weights)

    @classmethod
    def fit(cls, agreement: np.ndarray, heat: np.ndarray, right: np.ndarray) -> Confidence:
        """The most likely one for N boxes, by Newton's method.

        Args:
            agreement: float ``(N,)``.
            heat: float ``(N,)``.
            right: bool ``(N,)``, whether each box was right.
        """
        inputs = _inputs(agreement, heat)

        def loss(weights: np.ndarray) -> float:
            odds = np.where(right, -1, 1) * (inputs @ weights)
            return float(np.logaddexp(0, odds).mean() + _RIDGE / 2 * weights @ weights)

        weights = np.zeros(inputs.shape[1])
        for _ in range(50):
            p = _sigmoid(inputs @ weights)
            slope = inputs.T @ (p - right) / len(p) + _RIDGE * weights
            curvature = (inputs.T * (p * (1 - p))) @ inputs / len(p) + _RIDGE * np.eye(len(weights))
            step = np.linalg.solve(curvature, slope)
            # A whole step may overshoot where most boxes are beyond doubt.
            while loss(weights - step) > loss(weights) and np.abs(step).max() > 1e-9:
                step = step / 2
            weights = weights - step
        return cls(*weights.tolist())


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
    """When a target counts as lost, and how it is searched for.

    Attributes:
        lost_below: a score under it is a miss; the first score that is not finds the target again.
        patience: misses in a row that are still followed.
        growth: factor on the search window's side, each frame that the target is lost.
        reach: largest such factor.
    """

    lost_below: float = 0.5
    patience: int = 3
    growth: float = 1.1
    reach: float = 2.0


def _inputs(agreement: np.ndarray | float, heat: np.ndarray | float) -> np.ndarray:
    def log_odds(share: np.ndarray) -> np.ndarray:
        share = np.clip(share, 1e-4, 1 - 1e-4)
        return np.log(share / (1 - share))

    agreement, heat = np.asarray(agreement), np.asarray(heat)
    return np.stack([np.ones_like(heat), log_odds(agreement), log_odds(heat)], axis=-1)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -30, 30)))
