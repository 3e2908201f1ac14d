"""Controls on the agents' side: heads, policies, algorithms, proposer and tracker."""

import copy

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.utils import obs_as_tensor

from agents.algorithms import GRPO, ActorCritic, ExpectedPolicyGradient, SelfCritical
from agents.network import RELONetwork
from agents.network.controls import START
from agents.policies import RELOPolicy
from agents.proposer import NetworkProposer
from agents.tracker import Recovery, RELOTracker
from relo_env import TrackingEnv, make_dataset
from relo_env.errors import ConfigError
from tests.agents.worlds import CLIP_LENGTH, micro_network, square_world

BOTH = ("zoom", "renew")


@pytest.fixture
def network():
    return micro_network(num_templates=2)


def world(network, controls=BOTH, **options):
    return square_world(network, controls=controls, **options)


def policy_of(venv, network, **options):
    return RELOPolicy(
        venv.observation_space, venv.action_space, lambda _: 1e-3, network=network, **options
    )


def tensors(observation):
    return obs_as_tensor(observation, torch.device("cpu"))


@pytest.mark.parametrize("controls", [("zoom",), ("renew",), BOTH])
def test_untrained_controls_choose_neither_zoom_nor_renewal(network, controls):
    venv = world(network, controls)
    policy = policy_of(venv, network)
    observation = tensors(venv.reset())
    with torch.no_grad():
        distribution = policy.get_distribution(observation)
        position, *control = distribution.distribution
        alone = network.heads(observation["features"], only=("policy",)).policy_logits
    torch.testing.assert_close(position.logits, alone.log_softmax(1))
    assert len(control) == len(controls)
    for choices in control:
        torch.testing.assert_close(choices.probs[:, 0], torch.full((4,), START))
    assert not distribution.mode()[:, 1:].any()
    venv.close()


def test_networks_without_controls_stay_what_they_are(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    venv = square_world(network)
    policy_of(venv, network)
    assert network.state_dict().keys() == before.keys()
    assert "controls" not in network.changes
    venv.close()


@pytest.mark.parametrize("train_encoder", [False, True])
@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_algorithms_of_stable_baselines3_learn(network, algorithm, train_encoder):
    venv = world(network, train_encoder=train_encoder)
    batches = {"batch_size": 8} if algorithm is PPO else {}
    kwargs = {"network": network}
    model = algorithm(RELOPolicy, venv, n_steps=4, policy_kwargs=kwargs, seed=0, **batches)
    model.learn(2 * CLIP_LENGTH * venv.num_envs)
    assert model.rollout_buffer.actions.shape[-1] == 3
    assert any(value.any() for value in network.controls["zoom"].out.weight)
    venv.close()


@pytest.mark.parametrize(
    ("algorithm", "options"),
    [
        (ActorCritic, {}),
        (GRPO, {"group_size": 2}),
        (SelfCritical, {"group_size": 2}),
        (ExpectedPolicyGradient, {"candidate_info": True}),
    ],
)
def test_our_algorithms_learn(network, algorithm, options):
    venv = world(network, **options)
    model = algorithm("RELOPolicy", venv, policy_kwargs={"network": network}, seed=0)
    model.learn(2 * CLIP_LENGTH * venv.num_envs)
    trained = {name.split(".")[1] for name, _ in model.policy.named_parameters()}
    assert trained == {"heads", "controls"}
    venv.close()


def test_controls_alone_are_trained(network):
    venv = world(network)
    kwargs = {"network": network, "lr_scales": {"controls": 1.0}}
    before = {name: value.clone() for name, value in network.heads.state_dict().items()}
    model = PPO(RELOPolicy, venv, n_steps=4, batch_size=8, policy_kwargs=kwargs, seed=0)
    model.learn(CLIP_LENGTH * venv.num_envs)
    for name, value in network.heads.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert network.controls["renew"].out.weight.any()
    venv.close()


def test_greedy_rows_take_the_mode_of_every_entry(network):
    venv = world(network)
    policy = policy_of(venv, network)
    observation = tensors(venv.reset())
    torch.manual_seed(0)
    with torch.no_grad(), policy.greedy(np.array([True, False, False, False])):
        actions = torch.stack([policy(observation)[0] for _ in range(20)])
        mode = policy.get_distribution(observation).mode()
    assert (actions[:, 0] == mode[0]).all()
    assert (actions[:, 1:] != mode[1:]).any()
    venv.close()


def test_checkpoint_keeps_controls(network, tmp_path):
    network.extend(controls=("renew",))
    torch.nn.init.normal_(network.controls["renew"].out.weight)
    path = network.save_checkpoint(tmp_path / "net.safetensors", stage="policy")
    again = RELONetwork.from_checkpoint(path)
    assert list(again.controls) == ["renew"]
    assert again.crop.num_templates == 2
    torch.testing.assert_close(
        again.controls["renew"].out.weight, network.controls["renew"].out.weight
    )


def test_saved_policy_plays_the_same(network, tmp_path):
    venv = world(network)
    model = PPO(
        RELOPolicy, venv, n_steps=4, batch_size=8, policy_kwargs={"network": network}, seed=0
    )
    model.learn(16)
    model.save(tmp_path / "model.zip")
    again = PPO.load(tmp_path / "model.zip")
    observation = venv.reset()
    expected, _ = model.predict(observation, deterministic=True)
    actions, _ = again.predict(observation, deterministic=True)
    np.testing.assert_array_equal(actions, expected)
    assert expected.shape == (4, 3)
    venv.close()


def test_unknown_control_is_refused(network):
    with pytest.raises(ConfigError, match="zom"):
        network.extend(controls=("zom",))


def test_wrapped_action_space_is_refused(network):
    venv, plain = world(network), square_world(network)
    with pytest.raises(ConfigError, match="controls"):
        RELOPolicy(venv.observation_space, plain.action_space, lambda _: 0.0, network=network)
    venv.close()
    plain.close()


def test_proposer_encodes_the_new_template_only(network):
    rng = np.random.default_rng(0)
    size = network.crop.template_size
    templates = rng.integers(0, 256, (3, 2, 3, size, size), dtype=np.uint8)
    boxes = np.full((3, 2, 4), 0.25, np.float32)
    new = rng.integers(0, 256, (2, 3, size, size), dtype=np.uint8)
    new_boxes = np.full((2, 4), 0.5, np.float32)
    renewed, fresh = (NetworkProposer(network).bind(3) for _ in range(2))
    renewed.reset(np.arange(3), templates, boxes)
    renewed.renew(np.array([2, 0]), new, new_boxes)
    templates[[2, 0], 1], boxes[[2, 0], 1] = new, new_boxes
    fresh.reset(np.arange(3), templates, boxes)
    search = rng.integers(0, 256, (3, 3, *[network.crop.search_size] * 2), dtype=np.uint8)
    given = (np.arange(3), search, np.full((3, 4), 0.5))
    expected, found = fresh.propose(*given), renewed.propose(*given)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-5)
    np.testing.assert_allclose(
        found.extras["features"].astype(float), expected.extras["features"].astype(float), atol=1e-2
    )


def trained(network):
    """The network with controls that go through all zooms and renew every fourth frame."""
    network.extend(controls=BOTH)
    for name, weights, biases in (
        # State s is zoom - 1, in turn 0, 0.5, 1.25; and log(1 + age) / log(1 + 1000).
        ("zoom", [10.0, -10.0, 0.0], [-9.0, 2.5, 0.0]),
        ("renew", [0.0, 100.0], [0.0, -100 * np.log(3.5) / np.log(1001)]),
    ):
        head = network.controls[name]
        with torch.no_grad():
            head.hidden.weight.zero_()
            head.hidden.weight[0, -1] = 1
            head.out.weight.zero_()
            head.out.weight[:, 0] = torch.tensor(weights)
            head.out.bias.copy_(torch.tensor(biases))
    return network


def played(network, sequence):
    """Boxes, zooms and renewals of the greedy policy in the environment."""
    env = TrackingEnv(
        "Synthetic",
        split="test",
        length=24,
        mode="sequence",
        controls=BOTH,
        proposer=NetworkProposer(network),
    )
    policy = RELOPolicy(env.observation_space, env.action_space, lambda _: 0.0, network=network)
    observation, _ = env.reset(options={"sequence": sequence.name})
    told, done = [], False
    while not done:
        action, _ = policy.predict(observation, deterministic=True)
        observation, _, done, _, info = env.step(action)
        told.append((info["box"], info["zoom"], info["renewed"]))
    return told


def test_tracker_follows_the_controls_as_the_environment_does(network):
    trained(network)
    sequence = make_dataset("Synthetic", split="test", length=24)[0]
    expected = played(network, sequence)
    assert [zoom for _, zoom, _ in expected[:6]] == [1.5, 2.25, 1.0, 1.5, 2.25, 1.0]
    assert [renewed for *_, renewed in expected[:8]] == [False] * 3 + [True] + [False] * 3 + [True]
    tracker = RELOTracker(network, window_exponent=0)
    track = tracker.start(sequence.frames.read(0), tuple(sequence.boxes[0]))
    for t, (box, zoom, renewed) in enumerate(expected, start=1):
        ((found, _),) = tracker.step([track], [sequence.frames.read(t)])
        np.testing.assert_allclose(found, box, atol=1e-2)
        assert track.zoom == zoom
        assert (track.renewal_age == 0) == renewed


def test_tracker_ignores_controls_that_are_switched_off(network):
    sequence = make_dataset("Synthetic", split="test", length=8)[0]
    plain = RELOTracker(copy.deepcopy(network))
    ignored = RELOTracker(trained(network), controls=False)
    for tracker in (plain, ignored):
        tracker.init(sequence.frames.read(0), tuple(sequence.boxes[0]))
    for t in range(1, 8):
        frame = sequence.frames.read(t)
        assert plain.update(frame) == ignored.update(frame)


def test_rules_beside_controls_are_refused(network):
    trained(network)
    with pytest.raises(ConfigError, match="recovery"):
        RELOTracker(network, recovery=Recovery())
    with pytest.raises(ConfigError, match="num_templates is 1"):
        RELOTracker(network, num_templates=1)
    RELOTracker(network, recovery=Recovery(), controls=False)
