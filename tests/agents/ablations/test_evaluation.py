"""Decision rules side by side, and a proposer that encodes nothing twice."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agents.ablations.evaluation import (
    CachedProposer,
    HeldBack,
    figures,
    oracle_rule,
    play,
    policy_rule,
    random_rule,
)
from agents.network import RELONetwork
from agents.proposer import NetworkProposer
from relo_env.proposers import Proposals
from relo_env.vector_env import TrackingVectorEnv
from tests.agents.worlds import micro_network
from tests.toys import Squares

CLIPS = HeldBack(clips=10, length=4)


@pytest.fixture(scope="module")
def network() -> RELONetwork:
    return micro_network()


def rules(network: RELONetwork) -> list:
    return [policy_rule(network.heads.policy), random_rule(16, seed=3), oracle_rule]


def test_rules_together_are_as_each_alone(network: RELONetwork) -> None:
    together = play(rules(network), network, Squares("test"), CLIPS)
    assert together["iou"].shape == (3, 10)
    for i in (0, 2):
        alone = play(rules(network)[i : i + 1], network, Squares("test"), CLIPS)
        # A network's rounding depends on the batch, and a closed loop passes it on.
        assert alone["iou"][0] == pytest.approx(together["iou"][i], abs=5e-3)


def test_the_first_frames_best_position_is_unbeaten(network: RELONetwork) -> None:
    played = play(rules(network), network, Squares("test"), HeldBack(clips=8, length=1))
    assert (played["iou"][2] >= played["iou"][:2].max(0) - 1e-9).all()
    assert played["iou"][2].mean() > played["iou"][1].mean()


def test_figures_by_hand() -> None:
    ious = np.array([[[0.5, 0.9], [1.0, 0.3]]])
    visible = np.array([[True, True], [True, False]])
    of_clips = figures(ious, visible)
    assert of_clips["iou"] == pytest.approx(np.array([[0.7, 1.0]]))
    # 0.5 is above 10 thresholds, 0.9 above 18; 1.0 above 20.
    assert of_clips["success_auc"] == pytest.approx(np.array([[14 / 21, 20 / 21]]))
    assert of_clips["clip_auc"][0, 1] == pytest.approx(0.975)


def test_a_clip_without_target_does_not_count() -> None:
    of_clips = figures(np.zeros((1, 2, 1)), np.array([[False], [True]]))
    assert of_clips["iou"].shape == (1, 1)


def positions(proposer: NetworkProposer, repeats: int = 2) -> list[np.ndarray]:
    """Play a closed loop twice from the same seed; candidates and features of every step."""
    env = TrackingVectorEnv(4, Squares(), group_size=2, proposer=proposer, clip_length=3)
    seen = []
    for _ in range(repeats):
        observation, _ = env.reset(seed=0)
        for step in range(8):
            seen += [env.engine.candidates01.copy(), observation["features"]]
            observation, *_ = env.step(np.array([5, 5, 6, 9]) if step % 2 else np.full(4, 10))
    env.close()
    return seen


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of crops in each batch that a cache lets through to its network."""
    counts: list[int] = []
    propose = NetworkProposer.propose

    def counted(self: NetworkProposer, rows: np.ndarray, *boxes: np.ndarray) -> Proposals:
        if isinstance(self, CachedProposer):
            counts.append(len(rows))
        return propose(self, rows, *boxes)

    monkeypatch.setattr(NetworkProposer, "propose", counted)
    return counts


@pytest.mark.parametrize("cache_bytes", [2**30, 40_000])
def test_a_cache_changes_nothing(
    network: RELONetwork, encoded: list[int], cache_bytes: int
) -> None:
    seen = positions(CachedProposer(network, cache_bytes=cache_bytes))
    known = sum(encoded)
    without = positions(CachedProposer(network, cache_bytes=0))
    for got, want in zip(seen, without, strict=True):
        np.testing.assert_array_equal(got, want)
    # At the first frame; later windows follow boxes that differ by rounding.
    for got, want in zip(seen[:2], positions(NetworkProposer(network), repeats=1), strict=False):
        np.testing.assert_allclose(got.astype(float), want.astype(float), atol=2e-3)
    # Two rows of a group see the same until they choose differently; the second time all is known.
    everything = sum(encoded) - known
    assert known <= (everything / 2 if cache_bytes == 2**30 else everything)


@pytest.mark.parametrize("cache_bytes", [2**30, 0])
def test_a_cache_knows_renewed_templates(encoded: list[int], cache_bytes: int) -> None:
    network = micro_network(num_templates=2)
    rng = np.random.default_rng(0)
    templates = rng.integers(0, 255, (2, 2, 3, 48, 48), dtype=np.uint8)
    search = rng.integers(0, 255, (1, 3, 64, 64), dtype=np.uint8)
    row, box = np.array([0]), np.full((1, 2, 4), 0.5, np.float32)
    cached = CachedProposer(network, cache_bytes=cache_bytes)
    seen = []
    for proposer in (cached, cached, NetworkProposer(network)):
        bound = proposer.bind(1)
        bound.reset(row, templates[:1], box)
        seen.append([bound.propose(row, search, np.zeros((1, 4))).boxes])
        bound.renew(row, templates[1:, 1], box[:, 1])
        seen[-1].append(bound.propose(row, search, np.zeros((1, 4))).boxes)
    for first, second in seen:
        assert not np.array_equal(first, second)
    np.testing.assert_allclose(seen[0], seen[2], atol=2e-3)
    np.testing.assert_allclose(seen[1], seen[2], atol=2e-3)
    assert sum(encoded) == (2 if cache_bytes else 4)


def test_a_cache_knows_where_its_rows_have_been(network: RELONetwork, encoded: list[int]) -> None:
    """The same crop after other crops has other tokens, so it is not the same."""
    cached = CachedProposer(network)
    rng = np.random.default_rng(0)
    template = rng.integers(0, 255, (1, 1, 3, 48, 48), dtype=np.uint8)
    first, other, last = rng.integers(0, 255, (3, 1, 3, 64, 64), dtype=np.uint8)
    box, row = np.array([[[0.25, 0.25, 0.5, 0.5]]]), np.array([0])
    features = []
    for before in (first, other):
        bound = cached.bind(1)
        bound.reset(row, template, box)
        bound.propose(row, before, np.zeros((1, 4)))
        features.append(bound.propose(row, last, np.zeros((1, 4))).extras["features"])
    assert sum(encoded) == 4
    assert not np.array_equal(*features)


def test_half_precision_is_close(network: RELONetwork) -> None:
    """At the first frame; later windows follow boxes that differ."""
    half = positions(CachedProposer(network, dtype=torch.bfloat16), repeats=1)[:2]
    for got, want in zip(half, positions(NetworkProposer(network), repeats=1), strict=False):
        assert not np.array_equal(got, want)
        np.testing.assert_allclose(got.astype(float), want.astype(float), atol=0.1)
