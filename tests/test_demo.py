"""The demo's own claim, over three seeds: reinforcement finds what the warm-up made findable."""

import pytest

from agents.commands.demo import DemoConfig, compare, contestants, held_back, learn
from agents.network import RELONetwork

CONFIG = DemoConfig(steps=2_560, sequences=6, length=40)
"""The demo, shortened to what a test may take; figures are those of these settings."""

# Four policy stages and their benchmarks, on a machine that may be busy.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


def figures(network, out, seed, trackers=("learned policy", "prior", "random policy")):
    """`success_auc` of each tracker on held-back synthetic videos after the policy stage."""
    config = DemoConfig(**{**vars(CONFIG), "seed": seed})
    checkpoint = learn(config, network, out / "run")
    dataset = held_back(config)
    chosen = [factory for factory in contestants(checkpoint) if factory.name in trackers]
    evaluations = compare(chosen, dataset, out, list(dataset.names[: config.sequences]), workers=2)
    return {evaluation.tracker: evaluation.mean("success_auc") for evaluation in evaluations}


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    return [
        figures(RELONetwork.from_pretrained("nano"), tmp_path_factory.mktemp(f"seed{seed}"), seed)
        for seed in range(3)
    ]


def test_the_policy_learns_where_to_look(learned):
    for auc in learned:
        assert auc["learned policy"] > auc["random policy"] + 0.30
        assert auc["learned policy"] > auc["prior"] - 0.02


def test_without_warm_up_little_is_learnt(learned, tmp_path):
    network = RELONetwork.from_preset("nano")
    blind = figures(network, tmp_path, 0, trackers=("learned policy",))
    assert blind["learned policy"] < learned[0]["learned policy"] - 0.20
