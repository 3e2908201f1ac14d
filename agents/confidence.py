"""Confidence of a tracker in its box, and rules for a lost target.

The policy's probability of one position tells little, because neighbouring positions have the same
box. Two other outputs of the network tell more. The *entropy* of the policy's softmax is low where
the target is and high where nothing resembles the template; it tells most at a temperature above
the one that the policy is trained at. The *value* is trained to foresee IoU and AUC. A logistic
regression on both gives the probability that the box is right (IoU above 0.5).
`examples.nano.calibration` fits it to tracks over held-back video with absences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Evidence(NamedTuple):
    """Evidence for a box, or for N boxes, with a first axis of N.

    Attributes:
        logits: ``(A,)``, the policy's.
        value: ``()``, of the value head.
    """

    logits: np.ndarray
    value: np.ndarray | float


@dataclass(frozen=True)
class Confidence:
    """Probability that a box is right: ``sigmoid(bias + entropy * H + value * V)``.

    H is the `entropy` of the policy and V the value.

    Attributes:
        temperature: divides the policy's logits.
        bias: log-odds without entropy and value.
        entropy: weight of the entropy; negative.
        value: weight of the value; positive.
    """

    temperature: float
    bias: float
    entropy: float
    value: float

    def __call__(self, evidence: Evidence) -> np.ndarray:
        """Probabilities ``()`` or ``(N,)``."""
        spread = entropy(evidence.logits, self.temperature)
        odds = self.bias + self.entropy * spread + self.value * np.asarray(evidence.value)
        return 1 / (1 + np.exp(-np.clip(odds, -30, 30)))


def entropy(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Entropy [nats] of ``softmax(logits / temperature)`` over the last axis."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    scaled = scaled - scaled.max(-1, keepdims=True)
    log_p = scaled - np.log(np.exp(scaled).sum(-1, keepdims=True))
    return -(np.exp(log_p) * log_p).sum(-1)


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
