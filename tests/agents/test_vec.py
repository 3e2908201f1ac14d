import copy
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import TransformReward
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
)

from agents.algorithms import ActorCritic
from agents.algorithms.buffer import RELORolloutBuffer
from agents.callbacks import CreditCallback, ImageCallback
from agents.policies import RELOPolicy
from agents.proposer import NetworkProposer
from agents.vec import RELOVecEnv
from relo_env.env import TrackingEnv
from relo_env.errors import ConfigError
from relo_env.vector_env import TrackingVectorEnv
from tests.agents.worlds import CLIP_LENGTH, micro_network, square_world
from tests.toys import SMALL_CROPS, Squares


@pytest.fixture
def venv():
    venv = square_world(num_envs=3, **SMALL_CROPS)
    yield venv
    venv.close()


def play(venv, steps: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    return [venv.step(rng.integers(16, size=venv.num_envs)) for _ in range(steps)]


def test_a_step_is_the_vector_environments(venv):
    plain = TrackingVectorEnv(
        3,
        Squares(),
        autoreset_mode=AutoresetMode.SAME_STEP,
        clip_length=CLIP_LENGTH,
        num_threads=0,
        **SMALL_CROPS,
    )
    venv.seed(7)
    seen, (expected, _) = venv.reset(), plain.reset(seed=7)
    for key in expected:
        np.testing.assert_array_equal(seen[key], expected[key])
    rng = np.random.default_rng(0)
    for observation, rewards, dones, _ in play(venv, 9):
        expected, paid, terminated, _, _ = plain.step(rng.integers(16, size=3))
        for key in expected:
            np.testing.assert_array_equal(observation[key], expected[key])
        np.testing.assert_array_equal(rewards, paid.astype(np.float32))
        np.testing.assert_array_equal(dones, terminated)
    plain.close()


def test_an_end_tells_of_its_episode_and_of_the_next(venv):
    venv.seed(0)
    venv.reset()
    steps = play(venv, CLIP_LENGTH)
    observation, _, dones, infos = steps[-1]
    assert dones.all()
    for row, info in enumerate(infos):
        rewards = [step[1][row] for step in steps]
        assert info["episode"]["r"] == pytest.approx(sum(rewards), abs=1e-5)
        assert info["episode"]["l"] == CLIP_LENGTH
        assert info["episode"]["auc"] == info["auc"]
        assert info["ious"].shape == (CLIP_LENGTH,)
        assert info["iou"] == info["ious"][-1]
        assert info["TimeLimit.truncated"] is False
        last = info["terminal_observation"]
        assert set(last) == set(observation)
        assert venv.observation_space.contains(last)
        assert "iou" not in venv.reset_infos[row]
        assert not np.array_equal(last["search"], observation["search"][row])
    for step in steps[:-1]:
        assert all("episode" not in info and "auc" not in info for info in step[3])


def test_options_pin_the_next_clip_only(venv):
    venv.set_options({"sequence": "square-2"})
    venv.reset()
    assert {info["sequence"] for info in venv.reset_infos} == {"square-2"}
    names = set()
    for _ in range(8):
        venv.reset()
        names |= {info["sequence"] for info in venv.reset_infos}
    assert len(names) > 1


def test_rows_share_their_options(venv):
    with pytest.raises(ConfigError, match="Options differ between rows"):
        venv.set_options([{"sequence": "square-0"}, {}, {}])


def test_a_resumed_environment_goes_on_alike(venv):
    venv.seed(3)
    venv.reset()
    play(venv, 6)
    state = venv.state_dict()
    expected = play(venv, 7, seed=1)
    other = square_world(num_envs=3, **SMALL_CROPS)
    other.load_state_dict(state)
    for (seen, paid, _, infos), (wanted, wages, _, told) in zip(
        play(other, 7, seed=1), expected, strict=True
    ):
        np.testing.assert_array_equal(seen["search"], wanted["search"])
        np.testing.assert_array_equal(paid, wages)
        for info, want in zip(infos, told, strict=True):
            assert info.get("episode", {}).get("r") == want.get("episode", {}).get("r")
    other.close()


def test_vec_monitor_takes_the_auc(venv):
    monitored = VecMonitor(venv, info_keywords=("auc",))
    monitored.reset()
    infos = play(monitored, CLIP_LENGTH)[-1][3]
    assert all(info["episode"]["auc"] == info["auc"] for info in infos)


def test_sb3_evaluates_on_it(venv):
    class Corner:
        def predict(self, observation, state=None, episode_start=None, deterministic=True):
            return np.zeros(venv.num_envs, dtype=int), state

    venv.seed(0)
    mean, spread = evaluate_policy(Corner(), VecMonitor(venv), n_eval_episodes=6)
    venv.seed(0)
    venv.reset()
    rewards = np.stack([venv.step(np.zeros(3, int))[1] for _ in range(2 * CLIP_LENGTH)])
    returns = rewards.reshape(2, CLIP_LENGTH, 3).sum(1)
    assert mean == pytest.approx(returns.mean(), abs=1e-5)
    assert spread == pytest.approx(returns.std(), abs=1e-5)


def test_attributes_and_methods_reach_the_environment(venv):
    assert venv.get_attr("group_size") == [1, 1, 1]
    assert venv.get_attr("num_envs", indices=[0, 2]) == [3, 3]
    venv.reset()
    assert venv.env_method("state_dict", indices=0)[0].keys() == venv.vector_env.state_dict().keys()
    venv.set_attr("note", "seen")
    assert venv.vector_env.note == "seen"
    assert not venv.has_attr("no_such_attribute")


def test_wrappers_of_the_vector_environment_are_looked_through(venv):
    wrapped = RELOVecEnv(TransformReward(venv.vector_env, lambda reward: 2 * reward))
    wrapped.reset()
    assert wrapped.get_attr("proposer")[0] is venv.proposer
    assert wrapped.env_method("state_dict")[0].keys() == venv.vector_env.state_dict().keys()


def test_a_wrapper_sees_rewards_and_infos_as_the_environment_gives_them(venv):
    wrapped = RELOVecEnv(
        TransformReward(square_world(num_envs=3, **SMALL_CROPS).vector_env, lambda r: 2 * r)
    )
    for each in (venv, wrapped):
        each.seed(5)
    first, second = venv.reset(), wrapped.reset()
    np.testing.assert_array_equal(first["search"], second["search"])
    assert [info.keys() for info in venv.reset_infos] == [i.keys() for i in wrapped.reset_infos]
    for one, other in zip(play(venv, 9), play(wrapped, 9), strict=True):
        np.testing.assert_array_equal(one[0]["search"], other[0]["search"])
        np.testing.assert_allclose(2 * one[1], other[1], rtol=1e-6)
        np.testing.assert_array_equal(one[2], other[2])
        for info, told in zip(one[3], other[3], strict=True):
            assert info.keys() == told.keys()
            assert info["iou"] == told["iou"]
            assert info["sequence"] == told["sequence"]
    wrapped.close()


def test_public_names_are_the_environments(venv):
    env = venv.vector_env
    wrapped = RELOVecEnv(TransformReward(env, lambda reward: reward))
    for each in (venv, wrapped):
        assert each.config is env.config
        assert each.crop is env.crop
        assert each.dataset is env.dataset
        assert each.proposer is env.proposer
        assert each.fingerprint == env.dataset.fingerprint
        for name in ("config", "crop", "dataset", "proposer", "fingerprint"):
            assert each.has_attr(name)
            assert each.get_attr(name, 0) == [getattr(env, name)]
        each.reset()
        assert each.has_attr("window")
        assert each.get_attr("window", [2]) == [env.get_attr("window")[2]]


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda venv: pickle.loads(pickle.dumps(venv))]
)
def test_a_copy_goes_on_with_its_episodes(venv, duplicate):
    venv.seed(2)
    venv.reset()
    play(venv, 2)
    twin = duplicate(venv)
    for one, other in zip(play(venv, 6), play(twin, 6), strict=True):
        np.testing.assert_array_equal(one[0]["search"], other[0]["search"])
        np.testing.assert_array_equal(one[1], other[1])
        for info, told in zip(one[3], other[3], strict=True):
            assert info.get("episode", {}).get("r") == told.get("episode", {}).get("r")
    twin.close()


def test_a_copy_of_a_networks_proposer_shares_the_network_and_not_the_state():
    network = micro_network()
    venv = square_world(network, num_envs=2)
    venv.seed(0)
    venv.reset()
    play(venv, 1)
    twin = copy.deepcopy(venv)
    assert twin.proposer.trainable is network
    wanted = play(venv, 2)
    for one, other in zip(wanted, play(twin, 2), strict=True):
        np.testing.assert_array_equal(one[0]["features"], other[0]["features"])
    venv.close()
    twin.close()


@pytest.mark.parametrize(
    "wrap",
    [lambda v: VecNormalize(v, norm_obs_keys=["search"]), lambda v: VecFrameStack(v, 2)],
    ids=["VecNormalize", "VecFrameStack"],
)
def test_wrappers_that_change_crops_leave_the_environment_alone_and_are_refused(wrap):
    network = micro_network()
    venv = square_world(network, train_encoder=True)
    before = copy.deepcopy(venv.vector_env.single_observation_space)
    wrapped = wrap(venv)
    assert venv.vector_env.single_observation_space == before
    with pytest.raises(ConfigError, match=r"'search' is .* the network reads uint8.*leave out"):
        PPO(RELOPolicy, wrapped, policy_kwargs={"network": network}, n_steps=8, batch_size=8)
    venv.close()


def test_normalised_features_are_refused():
    network = micro_network()
    venv = square_world(network)
    normalised = VecNormalize(venv, norm_obs_keys=["features"])
    with pytest.raises(ConfigError, match="norm_obs=False"):
        ActorCritic("RELOPolicy", normalised, policy_kwargs={"network": network})
    theirs = PPO(
        RELOPolicy, normalised, policy_kwargs={"network": network}, n_steps=8, batch_size=8
    )
    with pytest.raises(ConfigError, match="norm_obs=False"):
        theirs.learn(8)
    rewards = VecNormalize(venv, norm_obs=False)
    ActorCritic("RELOPolicy", rewards, policy_kwargs={"network": network}, credit="gae")
    venv.close()


@pytest.mark.parametrize(
    "workers", [DummyVecEnv, pytest.param("spawn", marks=pytest.mark.slow)], ids=str
)
def test_algorithms_and_callbacks_run_on_sb3s_own_environments(workers):
    maker = partial(
        TrackingEnv,
        "tests.toys:Squares",
        clip_length=4,
        proposer="agents.proposer:make_network_proposer",
        proposer_kwargs={"network": "micro"},
    )
    make = partial(SubprocVecEnv, start_method="spawn") if workers == "spawn" else DummyVecEnv
    venv = make([maker] * 2)
    policy = {"network": micro_network()}
    ours = ActorCritic("RELOPolicy", venv, policy_kwargs=policy, seed=1)
    ours.learn(16, callback=ImageCallback(1))
    theirs = PPO(
        RELOPolicy,
        venv,
        policy_kwargs=policy,
        n_steps=8,
        batch_size=8,
        rollout_buffer_class=RELORolloutBuffer,
    )
    theirs.learn(16, callback=[CreditCallback(), ImageCallback(1)])
    assert ours.rollout_buffer.recorded == 4
    venv.close()


def test_an_id_makes_the_environment():
    venv = RELOVecEnv("RELO-Synthetic-v0", num_envs=2, clip_length=2, **SMALL_CROPS)
    assert venv.num_envs == 2
    assert venv.reset()["search"].shape == (2, 3, 64, 64)
    venv.close()


def test_other_autoreset_modes_are_refused():
    env = TrackingVectorEnv(2, Squares(), num_threads=0)
    with pytest.raises(ConfigError, match="SAME_STEP"):
        RELOVecEnv(env)
    env.close()


@pytest.mark.parametrize("mode", ["single", "sync"])
def test_other_environments_are_refused(mode):
    env = TrackingEnv(Squares())
    other = env if mode == "single" else SyncVectorEnv([lambda: env])
    with pytest.raises(ConfigError, match="is no TrackingVectorEnv"):
        RELOVecEnv(other)


def test_arguments_for_a_finished_environment_are_refused():
    env = TrackingVectorEnv(2, Squares(), autoreset_mode=AutoresetMode.SAME_STEP, num_threads=0)
    with pytest.raises(ConfigError, match="clip_length"):
        RELOVecEnv(env, clip_length=3)
    env.close()


def test_pictures_of_every_row():
    venv = square_world(num_envs=2, render_mode="rgb_array", **SMALL_CROPS)
    venv.reset()
    pictures = venv.get_images()
    assert len(pictures) == 2
    assert pictures[0].dtype == np.uint8
    venv.close()


@pytest.mark.parametrize("group_size", [1, 2])
def test_features_that_stay_on_the_device_are_those_of_the_observation(group_size):
    network = micro_network()
    plain, kept = (
        RELOVecEnv(
            TrackingVectorEnv(
                4,
                Squares(),
                group_size=group_size,
                search_window="jittered",
                clip_length=3,
                autoreset_mode=AutoresetMode.SAME_STEP,
                proposer=NetworkProposer(network, features_on_device=on_device),
            )
        )
        for on_device in (False, True)
    )
    assert kept.observation_space == plain.observation_space
    assert "features" not in kept.vector_env.single_observation_space.spaces
    for venv in (plain, kept):
        venv.seed(0)
    wanted, seen = plain.reset(), kept.reset()
    for step in range(7):
        assert isinstance(seen["features"], torch.Tensor)
        for key in wanted:
            np.testing.assert_array_equal(seen[key], wanted[key])
        before = seen["features"].clone()
        actions = np.arange(4) + step
        wanted, _, dones, wanted_infos = plain.step(actions)
        held, (seen, _, _, infos) = seen, kept.step(actions)
        np.testing.assert_array_equal(held["features"], before)  # what was given stays
        for row in np.flatnonzero(dones):
            for key, value in wanted_infos[row]["terminal_observation"].items():
                np.testing.assert_array_equal(infos[row]["terminal_observation"][key], value)
    state = kept.state_dict()
    np.testing.assert_array_equal(kept.load_state_dict(state)["features"], seen["features"])


def test_an_algorithm_learns_the_same_from_features_on_the_device():
    learned = []
    for on_device in (False, True):
        network = micro_network()
        venv = RELOVecEnv(
            TrackingVectorEnv(
                4,
                Squares(absent=(6, 7)),
                clip_length=4,
                autoreset_mode=AutoresetMode.SAME_STEP,
                proposer=NetworkProposer(network, features_on_device=on_device),
            )
        )
        model = ActorCritic("RELOPolicy", venv, policy_kwargs={"network": network}, seed=1)
        model.learn(48)
        assert ("features" in model.rollout_buffer.tensors) == on_device
        learned.append(network.state_dict())
        venv.close()
    for name, value in learned[0].items():
        torch.testing.assert_close(learned[1][name], value, rtol=0, atol=0)
