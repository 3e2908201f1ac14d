import json
import pickle

import gymnasium as gym
import numpy as np
import pytest
import torch

from agents.network import normalize_crops
from agents.proposer import NetworkProposer, find_network, make_network_proposer
from relo_env.env import TrackingEnv
from relo_env.errors import CheckpointError, ConfigError
from relo_env.proposers import BoxProposer
from tests.agents.worlds import micro_network, square_world
from tests.toys import Squares


@pytest.fixture
def network():
    return micro_network()


def crops(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def start(proposer, rows, seed: int = 0):
    templates = crops(seed, 8, 1, 3, 48, 48)[: len(rows)]
    boxes = np.tile(np.array([0.25, 0.25, 0.5, 0.5]), (len(rows), 1, 1))
    proposer.reset(np.array(rows), templates, boxes)
    return templates, boxes


def look(proposer, rows, seed: int):
    return proposer.propose(np.array(rows), crops(seed, len(rows), 3, 64, 64), np.zeros((9, 4)))


def test_it_keeps_the_protocol(network):
    assert isinstance(NetworkProposer(network), BoxProposer)


def test_it_gives_what_the_network_gives_from_frame_to_frame(network):
    proposer = NetworkProposer(network).bind(2)
    templates, boxes = start(proposer, [0, 1])
    tokens = None
    for frame in range(3):
        boxes01, extras = look(proposer, [0, 1], seed=frame + 5)
        with torch.no_grad():
            search = normalize_crops(torch.from_numpy(crops(frame + 5, 2, 3, 64, 64)))
            features, tokens = network.encode(
                normalize_crops(torch.from_numpy(templates)),
                torch.from_numpy(boxes).float(),
                search,
                tokens,
            )
            expected = network.heads(features).candidates
        np.testing.assert_allclose(boxes01, expected.numpy(), atol=1e-5)
        np.testing.assert_allclose(extras["features"], features.numpy(), rtol=2e-3, atol=2e-3)


def test_rows_do_not_touch_each_other(network):
    together, alone = NetworkProposer(network).bind(3), NetworkProposer(network).bind(3)
    templates, boxes = start(together, [0, 1, 2])
    start(alone, [0, 1, 2])
    look(together, [0, 1, 2], seed=1)
    look(alone, [0, 1, 2], seed=1)
    together.reset(np.array([2, 0]), templates[:2], boxes[:2])
    mixed = look(together, [2, 1], seed=2)
    kept = alone.propose(np.array([1]), crops(2, 2, 3, 64, 64)[1:], np.zeros((1, 4)))
    np.testing.assert_allclose(mixed.boxes[1], kept.boxes[0], atol=1e-5)


def test_a_reset_forgets_the_tokens(network):
    proposer = NetworkProposer(network).bind(1)
    start(proposer, [0])
    first = look(proposer, [0], seed=1)
    look(proposer, [0], seed=2)
    again = look(proposer, [0], seed=1)
    assert np.abs(first.boxes - again.boxes).max() > 0
    start(proposer, [0])
    np.testing.assert_array_equal(look(proposer, [0], seed=1).boxes, first.boxes)


def test_bound_proposers_share_weights_and_no_state(network):
    given = NetworkProposer(network)
    one, two = given.bind(1), given.bind(1)
    assert one.network is two.network is network
    start(one, [0])
    start(two, [0], seed=9)
    first = look(one, [0], seed=1).boxes
    assert np.abs(look(two, [0], seed=1).boxes - first).max() > 0


@pytest.mark.parametrize("train_encoder", [False, True])
def test_another_network_takes_over(network, train_encoder):
    other = micro_network(seed=1)
    bound, expected = (
        NetworkProposer(n, train_encoder=train_encoder).bind(1) for n in (network, other)
    )
    bound.network = other
    for proposer in (bound, expected):
        start(proposer, [0])
    np.testing.assert_allclose(look(bound, [0], 1).boxes, look(expected, [0], 1).boxes, atol=1e-6)


def test_observations_lie_in_their_spaces(network):
    for train_encoder in (False, True):
        venv = square_world(network, train_encoder=train_encoder)
        observation = venv.reset()
        for _ in range(5):
            row = {key: value[1] for key, value in observation.items()}
            assert venv.observation_space.contains(row)
            observation, *_ = venv.step(np.zeros(4, dtype=int))
        venv.close()


def test_tokens_are_those_of_the_frame_before(network):
    proposer = NetworkProposer(network, train_encoder=True).bind(1)
    start(proposer, [0])
    first, second = look(proposer, [0], seed=1), look(proposer, [0], seed=2)
    assert first.extras["tokens_valid"].tolist() == [[0.0]]
    assert second.extras["tokens_valid"].tolist() == [[1.0]]
    assert np.abs(second.extras["tokens"]).max() > 0
    assert "features" not in first.extras


def test_no_tokens_without_temporal_tokens():
    proposer = NetworkProposer(micro_network(temporal="none"), train_encoder=True)
    assert dict(proposer.extra_spaces) == {}


def test_it_survives_pickling(network):
    proposer = NetworkProposer(network).bind(1)
    start(proposer, [0])
    copied = pickle.loads(pickle.dumps(proposer))
    np.testing.assert_array_equal(
        look(copied, [0], seed=1).boxes, look(proposer, [0], seed=1).boxes
    )


def test_another_type_runs_a_copy(network):
    proposer = NetworkProposer(network, dtype=torch.bfloat16)
    assert proposer.network is not network
    assert next(network.parameters()).dtype == torch.float32
    with pytest.raises(ConfigError, match="amp"):
        NetworkProposer(network, dtype=torch.bfloat16, train_encoder=True)


def test_a_name_is_not_a_network():
    with pytest.raises(ConfigError, match="'nano'; expected a RELONetwork"):
        NetworkProposer("nano")


def test_a_policy_that_encodes_needs_no_features(network):
    with pytest.raises(ConfigError, match="Leave one of the two out"):
        NetworkProposer(network, train_encoder=True, features_on_device=True)


def test_a_factory_of_plain_values_makes_it(network, tmp_path):
    path = network.save_checkpoint(tmp_path / "net.safetensors", stage="random")
    kwargs = json.loads(json.dumps({"network": str(path)}))
    env = gym.make(
        "RELO-Synthetic-v0",
        clip_length=2,
        proposer="agents.proposer:make_network_proposer",
        proposer_kwargs=kwargs,
    )
    observation, _ = env.reset(seed=0)
    assert observation["features"].shape == env.observation_space["features"].shape
    env.close()


def test_networks_are_found(network, tmp_path):
    path = network.save_checkpoint(tmp_path / "net.safetensors", stage="random")
    found = find_network(path)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, rtol=0, atol=0)
    assert find_network(network) is network
    assert find_network({"name": "micro", "temporal": "none"}).token_size == 0
    assert make_network_proposer("micro").crop == network.crop


def test_a_missing_checkpoint_is_named():
    with pytest.raises(CheckpointError, match=r"nowhere\.safetensors"):
        find_network("nowhere.safetensors")
    with pytest.raises(ConfigError, match="Did you mean"):
        find_network("nanno")


def test_a_renewed_template_is_that_of_an_episode_that_began_with_it():
    network = micro_network(num_templates=2)
    crop = network.crop
    rng = np.random.default_rng(0)
    size, search = crop.template_size, crop.search_size
    templates = rng.integers(0, 255, (3, crop.num_templates, 3, size, size), np.uint8)
    boxes = np.tile([0.25, 0.25, 0.5, 0.5], (3, crop.num_templates, 1)).astype(np.float32)
    searches = rng.integers(0, 255, (3, 3, search, search), np.uint8)
    renewed, fresh = (NetworkProposer(network).bind(3) for _ in range(2))
    renewed.reset(np.arange(3), templates, boxes)
    rows, new = np.array([2, 0]), rng.integers(0, 255, (2, 3, size, size), np.uint8)
    box = np.array([[0.3, 0.2, 0.4, 0.5], [0.2, 0.3, 0.5, 0.4]], np.float32)
    renewed.renew(rows, new, box)
    templates[rows, -1], boxes[rows, -1] = new, box
    fresh.reset(np.arange(3), templates, boxes)
    previous = np.full((3, 4), 0.5)
    a, b = (each.propose(np.arange(3), searches, previous) for each in (renewed, fresh))
    np.testing.assert_allclose(a.boxes, b.boxes, atol=1e-5)
    np.testing.assert_allclose(a.extras["features"], b.extras["features"], atol=1e-2)


def test_an_environment_renews_through_the_network():
    network = micro_network(num_templates=2)
    env = TrackingEnv(
        Squares(), proposer=NetworkProposer(network), controls=("zoom", "renew"), augment=False
    )
    twin = NetworkProposer(network).bind(1)
    env.reset(seed=0)
    observation = env.step([5, 0, 1])[0]
    shape = env.episode.templates.shape
    crops, boxes = observation["template"].reshape(1, *shape), observation["template_box"]
    twin.reset(np.array([0]), crops, boxes.reshape(1, -1, 4))
    renewed = env.proposer._templates
    torch.testing.assert_close(renewed, twin._templates, atol=1e-5, rtol=1e-4)
