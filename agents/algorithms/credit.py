"""Credit rules: the return of each sampled action, by name or by a function of your own.

All arrays are ``(T, N)``: T steps of N environments, in whole episodes.

| name | return of frame t |
| --- | --- |
| ``paper`` | ``iou_weight * IoU_t + auc_weight * AUC``: the clip's AUC at every frame |
| ``gae`` | TD(lambda) on the environment's rewards (Schulman et al. 2016) |
| ``episode`` | the return of the whole episode, at every frame |
| ``frame`` | sum of `frame_return` from frame t to the end |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from relo_env.config import RewardConfig
from relo_env.rewards import THRESHOLDS


@dataclass(frozen=True)
class Rollout:
    """Data of a rollout that credit rules read.

    Attributes:
        rewards: rewards of the environment, ``(T, N)``.
        values: predictions of the critic, ``(T, N)``.
        last_values: prediction of the critic after the last step, ``(N,)``.
        ends: True where an episode ends, ``(T, N)``.
        ious: overlaps of the chosen boxes, ``(T, N)``.
        aucs: ``clip_auc`` where an episode ends, ``(T, N)``; other entries are not read.
        visible: False where the target is absent, ``(T, N)``.
        weights: the environment's reward; its ``auc_weight`` is lambda.
        gamma: discount of ``gae``.
        gae_lambda: lambda of ``gae``.
    """

    rewards: np.ndarray
    values: np.ndarray
    last_values: np.ndarray
    ends: np.ndarray
    ious: np.ndarray
    aucs: np.ndarray
    visible: np.ndarray
    weights: RewardConfig
    gamma: float = 1.0
    gae_lambda: float = 1.0


def to_go(rewards: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Undiscounted sum of rewards from each step to the end of its episode, ``(T, N)``."""
    sums = np.zeros_like(rewards)
    ahead = np.zeros_like(rewards[0])
    for t in reversed(range(len(rewards))):
        ahead = rewards[t] + np.where(ends[t], 0, ahead)
        sums[t] = ahead
    return sums


def over_episode(final: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Value at the last step of each episode, repeated at all its steps, ``(T, N)``."""
    return to_go(np.where(ends, final, 0), ends)


def episode_total(rewards: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Sum over each episode, repeated at all its steps, ``(T, N)``."""
    return over_episode(to_go(rewards[::-1], _starts(ends)[::-1])[::-1], ends)


def _starts(ends: np.ndarray) -> np.ndarray:
    return np.concatenate([np.ones_like(ends[:1]), ends[:-1]])


def auc_of_frame(ious: np.ndarray) -> np.ndarray:
    """``clip_auc`` of a clip of one frame, elementwise.

    The AUC of a clip is the mean of these values over its frames.
    """
    passed = np.searchsorted(THRESHOLDS, ious, side="left")
    return (passed - 0.5 * (passed > 0) - 0.5 * (passed == len(THRESHOLDS))) * 0.05


def frame_return(ious: np.ndarray, num_visible: np.ndarray, weights: RewardConfig) -> np.ndarray:
    """Part of the episode's return that belongs to one frame: its IoU and share of lambda * AUC.

    Args:
        ious: overlaps of any shape.
        num_visible: visible frames of the episode, broadcast against ``ious``.
        weights: the environment's reward.
    """
    share = auc_of_frame(ious) / np.maximum(num_visible, 1)
    return weights.iou_weight * ious + weights.auc_weight * share


def _paper(rollout: Rollout) -> np.ndarray:
    aucs = over_episode(rollout.aucs, rollout.ends)
    return rollout.weights.iou_weight * rollout.ious + rollout.weights.auc_weight * aucs


def _gae(rollout: Rollout) -> np.ndarray:
    advantages = np.zeros_like(rollout.rewards)
    next_values, ahead = rollout.last_values, np.zeros_like(rollout.last_values)
    for t in reversed(range(len(advantages))):
        goes_on = 1.0 - rollout.ends[t]
        delta = rollout.rewards[t] + rollout.gamma * goes_on * next_values - rollout.values[t]
        ahead = delta + rollout.gamma * rollout.gae_lambda * goes_on * ahead
        advantages[t], next_values = ahead, rollout.values[t]
    return advantages + rollout.values


def _episode(rollout: Rollout) -> np.ndarray:
    return episode_total(rollout.rewards, rollout.ends)


def _frame(rollout: Rollout) -> np.ndarray:
    num_visible = episode_total(rollout.visible.astype(np.float32), rollout.ends)
    own = frame_return(rollout.ious, num_visible, rollout.weights) * rollout.visible
    return to_go(own, rollout.ends)


Credit = Callable[[Rollout], np.ndarray]
"""Credit rule: returns ``(T, N)`` of a rollout."""

CREDITS: dict[str, Credit] = {
    "paper": _paper,
    "gae": _gae,
    "episode": _episode,
    "frame": _frame,
}
"""Credit rules by name; the advantage is return minus value."""

NEEDS_WHOLE_EPISODES = frozenset({"paper", "episode", "frame"})
NEEDS_IOU_REWARD = frozenset({"paper", "frame"})
