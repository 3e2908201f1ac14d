"""Proposers: the built-in ones, and what is checked of others."""

import gymnasium as gym
import numpy as np
import pytest

import relo_env
from relo_env.errors import ConfigError
from relo_env.proposers import PreviousSizeProposer
from tests.toys import SMALL_CROPS, Squares


def make(**options):
    options = {"dataset": Squares(), "augment": False, **SMALL_CROPS, **options}
    return relo_env.TrackingEnv(**options)


def test_the_target_size_oracle_proposes_true_sizes():
    env = make(proposer="target-size")
    env.reset(seed=0)
    target = env.engine.episodes[0].target_box
    np.testing.assert_allclose(env.candidates[:, 2:], np.broadcast_to(target[2:], (16, 2)))


class Odd(PreviousSizeProposer):
    """Promises one thing and gives another."""

    def __init__(self, spaces=(), gives=None, bound=True, **changes):
        super().__init__(relo_env.CropConfig(**SMALL_CROPS))
        self.extra_spaces = {name: gym.spaces.Box(0, 1, (2,), np.float32) for name in spaces}
        self.gives, self.bound = gives, bound
        vars(self).update(changes)

    def bind(self, num_rows):
        return self if self.bound else None

    def propose(self, rows, *boxes):
        return self.gives


def proposals(positions=16, **extras):
    return relo_env.Proposals(np.full((1, positions, 4), 0.5), extras)


@pytest.mark.parametrize(
    ("proposer", "message"),
    [
        (Odd(["search"]), r"Odd\.extra_spaces holds \['search'\]"),
        (Odd(extra_spaces={"a": 3}), r"Odd\.extra_spaces is {'a': 3}; expected a dict"),
        (Odd(crop={"stride": 16}), r"Odd\.crop is .*; expected a relo_env\.CropConfig"),
        (Odd(bound=False), r"Odd\.bind gives a NoneType; expected an object"),
    ],
)
def test_a_proposer_that_cannot_be_is_refused(proposer, message):
    with pytest.raises(ConfigError, match=message):
        make(proposer=proposer)


@pytest.mark.parametrize(
    ("proposer", "message"),
    [
        (Odd(["a"], proposals()), r"extras of shapes {}; expected .*{'a': \(1, 2\)}"),
        (Odd([], proposals(b=np.ones((1, 2)))), r"{'b': \(1, 2\)}; expected .* says, {}"),
        (Odd(["a"], proposals(a=np.ones((1, 3)))), r"{'a': \(1, 3\)}; expected .*{'a': \(1, 2\)}"),
        (Odd([], proposals(10)), r"boxes of shape \(1, 10, 4\) .* expected \(1, 16, 4\)"),
        (Odd([], np.ones((1, 16, 4))), r"ndarray; expected Proposals\(boxes, extras\)"),
    ],
)
def test_a_proposer_that_does_not_keep_its_promise_is_explained(proposer, message):
    env = make(proposer=proposer)
    with pytest.raises(ConfigError, match=rf"Odd\.propose gave .*{message}"):
        env.reset(seed=0)


def test_a_proposer_made_for_other_crops_is_refused():
    proposer = PreviousSizeProposer(relo_env.CropConfig(stride=32))
    options = {"dataset": Squares(), "proposer": proposer}
    assert relo_env.TrackingEnv(**options).action_space.n == 64
    with pytest.raises(ConfigError, match=r"stride=16 but the proposer .* made for stride=32"):
        relo_env.TrackingEnv(**options, stride=16)
