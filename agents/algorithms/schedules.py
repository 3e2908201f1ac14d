"""Schedules: SB3's functions of the remaining progress, which falls from 1 to 0."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from stable_baselines3.common.type_aliases import Schedule

Changing = float | Sequence[float] | Schedule
"""A constant, several numbers over a training, or a function of the remaining progress."""


def linear(value: Changing) -> Schedule:
    """Piecewise linear schedule through numbers at equal distances, the first and last at the ends.

    ``[0.05, 0]`` falls linearly from the first step to the last.
    """
    return value if callable(value) else partial(_between, np.atleast_1d(value))


def stages(value: Changing) -> Schedule:
    """Piecewise constant schedule: each number holds for an equal part of the training."""
    return value if callable(value) else partial(_stage, np.atleast_1d(value))


def _between(values: np.ndarray, remaining: float) -> float:
    return float(np.interp(1 - remaining, np.linspace(0, 1, len(values)), values))


def _stage(values: np.ndarray, remaining: float) -> float:
    index = int((1 - remaining) * len(values) + 1e-9)
    return float(values[min(max(index, 0), len(values) - 1)])
