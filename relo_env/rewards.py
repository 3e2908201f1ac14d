"""The paper's reward (RELO, arXiv 2605.07379): a frame's overlap, the clip's AUC at the last."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from relo_env.config import RewardConfig, RewardFunction
from relo_env.errors import ConfigError

THRESHOLDS = np.linspace(0.0, 1.0, 21)
"""Overlap thresholds of the success curve."""


def clip_auc(ious: np.ndarray) -> float:
    """The reward's AUC: trapezoid under the success curve of a clip (official ``compute_auc``).

    Args:
        ious: ``(T,)`` overlaps of the clip's visible frames.

    Returns:
        Area over 21 thresholds with strict ``>``: 0.975 for a perfect clip, 0 for an empty one.
        Not the benchmark's AUC, which is ``relo_env.benchmark.metrics.success_auc``.
    """
    ious = np.asarray(ious, dtype=np.float64)
    if ious.size == 0:
        return 0.0
    success = (ious[:, None] > THRESHOLDS).mean(0)
    return float((success.sum() - 0.5 * (success[0] + success[-1])) * 0.05)


def iou_plus_auc(
    iou_weight: float, auc_weight: float, ious: np.ndarray, visible: np.ndarray, last: bool
) -> float:
    """The paper's reward: weighted IoU at each visible frame, and AUC at the last one.

    Args:
        iou_weight: weight of the IoU.
        auc_weight: weight of `clip_auc`, the paper's lambda.
        ious: ``(t,)`` overlaps of the frames so far.
        visible: bool ``(t,)``, the frames that show the target.
        last: True at the last frame of the clip.
    """
    paid = iou_weight * float(ious[-1]) if visible[-1] else 0.0
    return paid + auc_weight * clip_auc(ious[visible]) if last else paid


def make_reward(config: RewardConfig) -> RewardFunction:
    """The reward function that a configuration names."""
    if callable(config.reward):
        return config.reward
    return partial(iou_plus_auc, config.iou_weight, config.auc_weight)


def check_reward(value: Any) -> float:
    """Return value of a reward function as a float; ConfigError if it is not finite."""
    try:
        reward = math.nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        reward = math.nan
    if not math.isfinite(reward):
        raise ConfigError(f"The reward function returned {value!r}; expected a finite number.")
    return reward
