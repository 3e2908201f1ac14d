"""The environment is the test: a greedy policy in it and the tracker give the same boxes."""

import numpy as np
import pytest
import torch

import relo_env
from agents.network import RELONetwork
from agents.policies import RELOPolicy
from agents.proposer import NetworkProposer
from agents.tracker import RELOTracker

MARGIN = 2e-5
"""Logits on the same features agree within this share of their spread: a position that leads by
more is the same."""


def greedy_in_the_environment(network, dataset, name, backend):
    """Boxes of the greedy policy over a whole sequence, and how clearly it chose each."""
    proposer = NetworkProposer(network, backend=backend)
    env = relo_env.TrackingEnv(dataset, mode="sequence", proposer=proposer)
    policy = RELOPolicy(env.observation_space, env.action_space, lambda _: 0.0, network=network)
    observation, _ = env.reset(options={"sequence": name})
    boxes, leads, done = [], [], False
    while not done:
        tensors, _ = policy.obs_to_tensor(observation)
        with torch.no_grad():
            logits = policy.outputs(tensors, "policy").policy_logits[0]
        best = logits.topk(2).values
        leads.append(float((best[0] - best[1]) / logits.std()))
        observation, _, done, _, info = env.step(int(logits.argmax()))
        boxes.append(info["box"])
    return np.array(boxes), np.array(leads)


def tracked(network, sequence, backend):
    """Boxes of the tracker over the same sequence."""
    tracker = RELOTracker(network, window_exponent=0, backend=backend)
    tracker.init(sequence.frames.read(0), tuple(sequence.boxes[0]))
    return np.array([tracker.update(sequence.frames.read(i))[0] for i in range(1, len(sequence))])


def assert_same_track(network, dataset, name, backend="auto"):
    expected, leads = greedy_in_the_environment(network, dataset, name, backend)
    boxes = tracked(network, dataset[name], backend)
    # After a choice too close to call the two may part; before it they may not.
    close = np.flatnonzero(leads <= MARGIN)
    sure = close[0] if close.size else len(leads)
    assert sure > 10
    np.testing.assert_array_equal(boxes[:sure], expected[:sure])


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_tracker_and_environment_agree_on_synthetic_frames(seed, backend):
    if backend == "onnxruntime":
        pytest.importorskip("onnxruntime")
    torch.manual_seed(seed)
    network = RELONetwork.from_preset("micro")
    dataset = relo_env.make_dataset("Synthetic", split="test", length=40)
    assert_same_track(network, dataset, dataset.names[seed], backend)


@pytest.mark.parametrize("name", ["Crossing", "davis_car_shadow"])
def test_shipped_tracker_and_environment_agree_on_real_frames(dev_root, name):
    network = RELONetwork.from_pretrained("nano")
    assert_same_track(network, relo_env.make_dataset("Folder", root=dev_root), name)
