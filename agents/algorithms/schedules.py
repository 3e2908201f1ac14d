"""Numbers that change over a training, as SB3 has them: functions of the progress that remains."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from stable_baselines3.common.type_aliases import Schedule

Changing = float | Sequence[float] | Schedule
"""A number; several, for several times of a training; or a function of the progress remaining."""


def linear(value: Changing) -> Schedule:
    """Several numbers are reached at equal distances from the training's begin to its end.

    Between them the schedule is linear: ``[0.05, 0]`` falls from the first step to the last.
    """
    return value if callable(value) else partial(_between, np.atleast_1d(value))


def stages(value: Changing) -> Schedule:
    """Several numbers hold for equal parts of the training, one after the other."""
    return value if callable(value) else partial(_stage, np.atleast_1d(value))


def _between(values: np.ndarray, remaining: float) -> float:
    return float(np.interp(1 - remaining, np.linspace(0, 1, len(values)), values))


def _stage(values: np.ndarray, remaining: float) -> float:
    index = int((1 - remaining) * len(values) + 1e-9)
    return float(values[min(max(index, 0), len(values) - 1)])
