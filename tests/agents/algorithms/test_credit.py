from functools import partial

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.buffers import RolloutBuffer

from agents.algorithms.credit import (
    CREDITS,
    Rollout,
    auc_of_frame,
    episode_total,
    over_episode,
    to_go,
)
from agents.algorithms.grpo import group_advantages, step_advantages
from relo_env.config import RewardConfig
from relo_env.rewards import clip_auc, iou_plus_auc


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)[:, None]


ENDS = column(0, 1, 0, 0, 1).astype(bool)


def test_sums_stay_within_their_episode():
    rewards = column(1, 2, 3, 4, 5)
    assert to_go(rewards, ENDS).ravel().tolist() == [3, 2, 12, 9, 5]
    assert episode_total(rewards, ENDS).ravel().tolist() == [3, 3, 12, 12, 12]
    assert over_episode(rewards, ENDS).ravel().tolist() == [2, 2, 5, 5, 5]


def played(seed: int, steps: int = 8, rows: int = 3, absent: bool = True) -> Rollout:
    """Random overlaps in clips of 4, paid as the environment pays them."""
    rng = np.random.default_rng(seed)
    ious = rng.random((steps, rows))
    visible = rng.random((steps, rows)) < (0.7 if absent else 2.0)
    ious *= visible
    weights = RewardConfig(iou_weight=rng.random() + 0.5, auc_weight=rng.random() * 3)
    pay = partial(iou_plus_auc, weights.iou_weight, weights.auc_weight)
    ends = np.zeros((steps, rows), dtype=bool)
    ends[3::4] = True
    rewards, aucs = np.zeros_like(ious), np.zeros_like(ious)
    for row in range(rows):
        for start in range(0, steps, 4):
            clip = slice(start, start + 4)
            aucs[start + 3, row] = clip_auc(ious[clip, row][visible[clip, row]])
            for t in range(4):
                seen = slice(start, start + t + 1)
                rewards[start + t, row] = pay(ious[seen, row], visible[seen, row], t == 3)
    return Rollout(
        rewards=rewards,
        values=rng.random(ious.shape),
        last_values=rng.random(rows),
        ends=ends,
        ious=ious,
        aucs=aucs,
        visible=visible,
        weights=weights,
    )


def test_paper_credit_by_hand():
    rollout = Rollout(
        rewards=column(0, 0, 0),
        values=column(0, 0, 0),
        last_values=np.zeros(1),
        ends=column(0, 0, 1).astype(bool),
        ious=column(0.2, 0.4, 0.9),
        aucs=column(0, 0, 0.5),
        visible=column(1, 1, 1).astype(bool),
        weights=RewardConfig(iou_weight=1.0, auc_weight=2.0),
    )
    assert CREDITS["paper"](rollout).ravel() == pytest.approx([1.2, 1.4, 1.9])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_every_frame_knows_its_own_part_of_the_episodes_return(seed):
    rollout = played(seed)
    parts = CREDITS["frame"](rollout)
    whole = CREDITS["episode"](rollout)
    assert parts[0::4] == pytest.approx(whole[0::4])
    assert whole[0::4] == pytest.approx(rollout.rewards.reshape(2, 4, -1).sum(1))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_a_clips_auc_is_the_mean_of_its_frames(ious):
    assert auc_of_frame(np.array(ious)).mean() == pytest.approx(clip_auc(np.array(ious)))


def test_auc_of_a_frame_at_the_thresholds():
    ious = np.array([0.0, 0.5, 1.0])
    assert auc_of_frame(ious) == pytest.approx([0.0, 0.475, 0.975])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 1), st.floats(0, 1))
def test_gae_is_sb3s(seed, gamma, gae_lambda):
    rollout = played(seed)
    steps, rows = rollout.rewards.shape
    space = spaces.Box(0, 1, (1,))
    buffer = RolloutBuffer(steps, space, space, "cpu", gae_lambda, gamma, rows)
    buffer.rewards = rollout.rewards
    buffer.values = rollout.values
    buffer.episode_starts = np.concatenate([np.ones((1, rows)), rollout.ends[:-1]])
    buffer.compute_returns_and_advantage(torch.from_numpy(rollout.last_values), rollout.ends[-1])
    ours = Rollout(**{**vars(rollout), "gamma": gamma, "gae_lambda": gae_lambda})
    assert CREDITS["gae"](ours) == pytest.approx(buffer.returns, abs=1e-6)


def test_group_advantages_by_hand():
    rewards = np.array([[0.0, 1.0, 5.0, 5.0], [1.0, 2.0, 5.0, 5.0]])
    ends = np.array([[False] * 4, [True] * 4])
    advantages = group_advantages(rewards, ends, group_size=2)
    assert advantages == pytest.approx(np.array([[-1.0, 1.0, 0.0, 0.0]] * 2), abs=1e-6)


def test_step_advantages_by_hand():
    # One group: rewards 0 0 | 2 2, mean 1, deviation 1: -1 and +1 a step, summed to go.
    rewards = np.array([[0.0, 2.0], [0.0, 2.0]])
    ends = np.array([[False, False], [True, True]])
    assert step_advantages(rewards, ends, 2) == pytest.approx(
        np.array([[-2.0, 2.0], [-1.0, 1.0]]), abs=1e-6
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_group_advantages_have_no_mean_and_unit_spread(seed):
    rollout = played(seed, rows=6)
    groups = group_advantages(rollout.rewards, rollout.ends, 3).reshape(8, 2, 3)
    assert groups.mean(-1) == pytest.approx(0.0, abs=1e-6)
    assert groups.std(-1) == pytest.approx(1.0, abs=1e-4)
