"""Worlds that need zoom or renewal: fixed and random policies by hand, and PPO from scratch."""

from __future__ import annotations

import numpy as np
import pytest
from stable_baselines3 import PPO

from tests.agents.control_worlds import (
    FRAMES,
    Fading,
    Jumps,
    Seen,
    control_world,
    mean_iou,
)

JUMP = 4
"""Search frame from which on the target is elsewhere."""
HIDDEN = 3
"""First of two search frames without target."""
COARSE = 1 / 2.25**2
"""IoU of a box that is 2.25 times too large in each direction, around the same centre."""


def fixed(entry):
    """Takes the cell that sees the target, any if none does, and a function of that as control."""

    def act(observation):
        seen = observation["seen"]
        found = seen.any(1)
        return np.stack([seen.argmax(1), [entry(one) for one in found]], axis=1).astype(int)

    return act


def shifted(pixels: int) -> float:
    """IoU of two squares of 16 px, one moved along a side."""
    overlap = 16 * max(16 - pixels, 0)
    return overlap / (2 * 16**2 - overlap)


NEVER_ZOOM = JUMP / FRAMES
ALWAYS_MIDDLE = (1 + (FRAMES - 1) / 1.5**2) / FRAMES
"""The coarse box makes the next window 1.5 times wider again, which reaches the target."""
ALWAYS_WIDE = (1 + (FRAMES - 1) * COARSE) / FRAMES
WIDE_WHEN_LOST = (FRAMES - 2 + COARSE) / FRAMES
"""The frame of the jump is lost, the next one coarse."""


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (lambda found: 0, NEVER_ZOOM),
        (lambda found: 1, ALWAYS_MIDDLE),
        (lambda found: 2, ALWAYS_WIDE),
        (lambda found: 0 if found else 2, WIDE_WHEN_LOST),
    ],
)
def test_a_target_that_jumps_by_fixed_zooms(entry, expected):
    venv = control_world(Jumps([JUMP]), "zoom", num_envs=2)
    assert mean_iou(venv, fixed(entry)) == pytest.approx(expected)
    venv.close()


def test_a_target_that_jumps_by_random_zooms():
    """Windows are 64 px times the zoom at which the last box was found, times the new one."""
    zooms = np.array([1, 1.5, 2.25])
    any_zoom = (1 / zooms**2).mean()
    pairs = [(a, b) for a in zooms for b in zooms]
    at_jump = sum(1 / b**2 for a, b in pairs if a * b * 32 > 60) / 9
    # Lost with the last box found at zoom 1, next found by 2.25 only; at 1.5, by 1.5 and 2.25.
    lost = {1.0: 2 / 9, 1.5: 1 / 9}
    expected = 1 + (JUMP - 1) * any_zoom + at_jump
    for _ in range(FRAMES - JUMP - 1):
        expected += (1 - sum(lost.values())) * any_zoom
        expected += sum(
            p * sum(1 / b**2 for b in zooms if a * b * 32 > 60) / 3 for a, p in lost.items()
        )
        lost = {a: p * (zooms * a * 32 < 60).mean() for a, p in lost.items()}
    rng = np.random.default_rng(0)
    venv = control_world(Jumps([JUMP]), "zoom", num_envs=64)
    found = mean_iou(venv, fixed(lambda found: rng.integers(3)), steps=10 * FRAMES)
    # 640 clips, whose means differ by less than 0.2.
    assert found == pytest.approx(expected / FRAMES, abs=4 * 0.2 / 640**0.5)
    venv.close()


# Search frame s has grey 116 + 8 s, the templates 100 and 108: they match up to s = 3.
# The box stays where it was at s = 2; the target comes back at s = 5, moved by 12 px.
NOT_FOUND_AGAIN = (3 + shifted(12)) / (FRAMES - 2)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (lambda found: 0, NOT_FOUND_AGAIN),
        (lambda found: 1, NOT_FOUND_AGAIN),  # renews with the background
        (lambda found: int(found), 1.0),
    ],
)
def test_a_target_that_changes_by_fixed_renewals(entry, expected):
    venv = control_world(Fading([HIDDEN]), "renew", num_envs=2)
    assert mean_iou(venv, fixed(entry)) == pytest.approx(expected)
    venv.close()


def test_a_target_that_changes_by_random_renewals():
    """At s = 5 it is seen if s = 1 or s = 2 was renewed and neither hidden frame was."""
    rng = np.random.default_rng(0)
    venv = control_world(Fading([HIDDEN]), "renew", num_envs=400)
    observation, act = venv.reset(), fixed(lambda found: rng.integers(2))
    for _ in range(HIDDEN + 2):
        observation = venv.step(act(observation))[0]
    share = 3 / 4 * (1 / 2) ** 2
    spread = (share * (1 - share) / 400) ** 0.5
    assert observation["seen"].any(1).mean() == pytest.approx(share, abs=4 * spread)
    venv.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("control", "dataset", "by_rule", "learnt"),
    [
        # Always zoom 1: .42, 1.5: .49, 2.25: .26; 2.25 when lost: .85.
        ("zoom", Jumps(range(3, 8)), [lambda found: 0, lambda found: 1, lambda found: 2], 0.7),
        # Never renewing and always renewing at most .6; renewing what is seen 1.
        ("renew", Fading(range(2, 8)), [lambda found: 0, lambda found: 1], 0.85),
    ],
)
def test_ppo_learns_the_control_from_scratch(control, dataset, by_rule, learnt):
    venv = control_world(dataset, control, num_envs=16)
    model = PPO(
        "MultiInputPolicy",
        venv,
        n_steps=2 * FRAMES,
        batch_size=128,
        learning_rate=2e-3,
        gamma=0.9,
        ent_coef=0.01,
        policy_kwargs={"features_extractor_class": Seen},
        seed=0,
    )
    model.learn(60_000)

    def act(observation):
        return model.predict(observation, deterministic=True)[0]

    assert mean_iou(venv, act) > learnt
    assert all(mean_iou(venv, fixed(entry)) < learnt - 0.1 for entry in by_rule)
    venv.close()
