"""Rules for zoom and renewal: heads, a tracker, oracles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from agents.ablations.controls import GOOD, DecisionHeads, control_oracle, tracker_rule
from agents.ablations.evaluation import Frame, HeldBack, play, policy_rule
from agents.policies import RELOPolicy
from agents.proposer import NetworkProposer
from agents.tracker import RELOTracker
from relo_env.proposers import PreviousSizeProposer
from relo_env.vector_env import TrackingVectorEnv
from tests.agents.control_worlds import FRAMES, Fading, Jumps, Matcher
from tests.agents.worlds import micro_network
from tests.toys import Squares

BOTH = ("zoom", "renew")
CLIPS = HeldBack(clips=3, length=3)


def world(dataset, controls, proposer, num_envs=1, **options):
    return TrackingVectorEnv(
        num_envs,
        dataset,
        autoreset_mode=AutoresetMode.DISABLED,
        proposer=proposer,
        controls=controls,
        **{"clip_length": FRAMES, "max_stride": 1, "augment": False, **options},
    )


def frame_of(env, observation) -> Frame:
    seen = {name: torch.from_numpy(values) for name, values in observation.items()}
    return Frame(env, range(env.num_envs), seen)


def test_a_tracker_plays_the_clips_that_a_policy_plays() -> None:
    network = micro_network()
    tracker = RELOTracker(network, window_exponent=0, backend="torch")
    alone = PreviousSizeProposer(network.crop)
    by_tracker = play(
        [tracker_rule(tracker)], network, Squares("test"), CLIPS, proposer=alone, action_mode="box"
    )
    by_policy = play([policy_rule(network.heads.policy)], network, Squares("test"), CLIPS)
    # Rounding differs: the policy reads features in half precision, in other batches.
    np.testing.assert_allclose(by_tracker["iou"], by_policy["iou"], atol=5e-3)


def test_heads_choose_what_the_policy_would() -> None:
    network = micro_network(num_templates=2).extend(controls=BOTH)
    torch.manual_seed(0)
    for head in network.controls.values():
        torch.nn.init.normal_(head.out.weight)
        torch.nn.init.zeros_(head.out.bias)
    env = world(Squares(), BOTH, NetworkProposer(network, backend="torch"), num_envs=4)
    observation, _ = env.reset(seed=0)
    policy = RELOPolicy(
        env.single_observation_space, env.single_action_space, lambda _: 0.0, network=network
    )
    for _ in range(3):
        expected, _ = policy.predict(observation, deterministic=True)
        with torch.no_grad():
            actions = DecisionHeads(network).rule(frame_of(env, observation))
        np.testing.assert_array_equal(actions, expected)
        observation, *_ = env.step(actions)
    env.close()


def test_the_zoom_oracle_looks_wider_only_where_it_has_to() -> None:
    """From the true box a window of 144 px holds a target 60 px aside, one of 96 px does not."""
    env = world(Jumps([4]), "zoom", Matcher())
    observation, _ = env.reset(seed=0)
    rule = control_oracle(lambda frame: frame.observation["seen"].argmax(1).numpy())
    zooms, ious = [], []
    for _ in range(FRAMES):
        actions = rule(frame_of(env, observation))
        zooms.append(actions[0, 1])
        observation, _, _, _, info = env.step(actions)
        ious.append(info["iou"][0])
    assert zooms == [0, 0, 0, 2, *[0] * (FRAMES - 4)]
    assert ious == pytest.approx([1.0] * 4 + [1 / 2.25**2] + [1.0] * (FRAMES - 5))
    env.close()


def test_the_renewal_oracle_renews_good_boxes_only() -> None:
    env = world(Fading([3]), "renew", Matcher())
    observation, _ = env.reset(seed=0)
    rule = control_oracle(lambda frame: frame.observation["seen"].argmax(1).numpy())
    for _ in range(FRAMES):
        actions = rule(frame_of(env, observation))
        observation, _, _, _, info = env.step(actions)
        assert bool(actions[0, 1]) == bool(info["visible"][0] and info["iou"][0] > GOOD)
        assert info["iou"][0] == pytest.approx(float(info["visible"][0]))
    env.close()


def test_actions_without_entries_for_controls_leave_them_alone() -> None:
    network = micro_network(num_templates=2)
    positions = policy_rule(network.heads.policy)
    plain = play([positions], network, Squares("test"), CLIPS)
    controlled = play([positions], network, Squares("test"), CLIPS, controls=BOTH)
    np.testing.assert_allclose(controlled["iou"], plain["iou"], atol=5e-3)
