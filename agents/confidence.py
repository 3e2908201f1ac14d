"""Confidence of a tracker in its box, and rules for a lost target.

The policy's probability of one position tells little, because neighbouring positions have the same
box and share it. Two other quantities tell more. The *spread* of the policy's logits is large where
some positions stand out, and small where nothing resembles the template. The *value* is trained to
predict IoU and AUC. A logistic regression on both gives the probability that the box is right (IoU
above 0.5). `examples.nano.calibration` fits it to tracks over held-back video with absences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Evidence(NamedTuple):
    """Evidence for a box, or for N boxes, each with a first axis of N.

    Attributes:
        spread: ``()``, standard deviation of the policy's logits over the positions.
        value: ``()``, output of the value head.
    """

    spread: np.ndarray | float
    value: np.ndarray | float


@dataclass(frozen=True)
class Confidence:
    """Probability that a box is right: ``sigmoid(bias + spread * S + value * V)``.

    Attributes:
        bias: log-odds where spread S and value V are 0.
        spread: weight of the spread.
        value: weight of the value.
    """

    bias: float
    spread: float
    value: float

    def __call__(self, evidence: Evidence) -> np.ndarray:
        """Probabilities ``()`` or ``(N,)``."""
        spread, value = map(np.asarray, evidence)
        odds = self.bias + self.spread * spread + self.value * value
        return 1 / (1 + np.exp(-np.clip(odds, -30, 30)))


@dataclass(frozen=True)
class Absence:
    """Rule that tells when a target counts as lost; it changes no box.

    Attributes:
        lost_below: a score below it is a miss; the next other score finds the target again.
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
