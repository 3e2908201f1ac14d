"""RLlib: what its processes are given; a small cluster trains, loses a runner and resumes."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

pytest.importorskip("ray", reason="RLlib's adapter needs relo[rllib]")

import ray
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from agents.integrations.rllib import export_network, make_env, ppo_config, restore
from agents.network import RELONetwork
from agents.tracker import RELOTracker
from relo_env.errors import CheckpointError
from tests.agents.worlds import micro_network
from tests.toys import square_video

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

ENCODER = ("heads.policy", "heads.value", "encoder")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "micro.safetensors"
    return micro_network().save_checkpoint(path, stage="random")


def config(checkpoint, **options):
    return ppo_config("RELO-Synthetic-v0", checkpoint, num_envs=2, clip_length=4, **options)


def runner_env(checkpoint, num_envs=3, **options):
    return make_env({**config(checkpoint, **options).env_config, "num_envs": num_envs})


def module_for(env, config):
    spec = config.rl_module_spec
    return RLModuleSpec(
        module_class=spec.module_class,
        observation_space=env.single_observation_space,
        action_space=env.single_action_space,
        model_config=spec.model_config,
    ).build()


def tensors(observation):
    return {key: torch.from_numpy(value) for key, value in observation.items()}


class TestEnvironment:
    def test_a_runner_gets_only_what_the_policy_reads(self, checkpoint):
        env = runner_env(checkpoint)
        observation, _ = env.reset(seed=0)
        assert list(observation) == ["features"]
        assert env.observation_space.contains(observation)
        assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
        env.close()

    def test_runners_with_neighbouring_seeds_share_no_clip(self, checkpoint):
        env = runner_env(checkpoint)
        first, second = (env.reset(seed=seed)[0]["features"] for seed in (1, 2))
        again = env.reset(seed=1)[0]["features"]
        env.close()
        np.testing.assert_array_equal(first, again)
        rows = np.concatenate([first, second]).reshape(6, -1)
        assert len(np.unique(rows, axis=0)) == 6

    def test_without_num_envs_a_single_environment(self, checkpoint):
        env = make_env(config(checkpoint).env_config)
        observation, _ = env.reset(seed=0)
        assert observation["features"].shape == env.observation_space["features"].shape
        env.close()

    def test_missing_checkpoint(self):
        with pytest.raises(CheckpointError, match="nowhere"):
            ppo_config("RELO-Synthetic-v0", "nowhere.safetensors")


class TestModule:
    @pytest.mark.parametrize("trained", [("heads.policy", "heads.value"), ENCODER])
    def test_decides_like_the_network(self, checkpoint, trained):
        env = runner_env(checkpoint, trained=trained)
        module = module_for(env, config(checkpoint, trained=trained))
        batch = {Columns.OBS: tensors(env.reset(seed=0)[0])}
        features = runner_env(checkpoint).reset(seed=0)[0]["features"]
        expected = micro_network().heads(torch.from_numpy(features))
        env.close()
        explored = module.forward_exploration(batch)
        learned = module.forward_train(batch)
        for out in (explored, learned):
            torch.testing.assert_close(
                out[Columns.ACTION_DIST_INPUTS], expected.policy_logits, rtol=1e-2, atol=1e-2
            )
        assert torch.equal(
            explored[Columns.ACTION_DIST_INPUTS], learned[Columns.ACTION_DIST_INPUTS]
        )
        values = module.compute_values(batch, learned[Columns.EMBEDDINGS])
        assert torch.equal(values, module.compute_values(batch))
        torch.testing.assert_close(values, expected.value, rtol=1e-2, atol=1e-2)
        (learned[Columns.ACTION_DIST_INPUTS].square().sum() + values.sum()).backward()
        assert all(value.grad is not None for value in module.parameters())

    def test_shows_only_what_is_trained(self, checkpoint):
        env = runner_env(checkpoint)
        module, other = (module_for(env, config(checkpoint)) for _ in range(2))
        env.close()
        names = {name for name, _ in module.named_parameters()}
        assert names
        assert all(
            name.startswith(("network.heads.policy", "network.heads.value")) for name in names
        )
        assert module.get_state().keys() == names
        module.network.heads.policy.out.bias.data += 1
        other.set_state(module.get_state())
        assert torch.equal(
            other.network.heads.policy.out.bias, module.network.heads.policy.out.bias
        )

    def test_training_mode_leaves_the_network_in_evaluation(self, checkpoint):
        env = runner_env(checkpoint)
        module = module_for(env, config(checkpoint)).train()
        env.close()
        assert module.training
        assert not any(part.training for part in module.network.modules())


@pytest.fixture(scope="module")
def cluster():
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def small_training(checkpoint, num_learners=0, **options):
    return (
        config(checkpoint, num_env_runners=2, **options)
        .learners(num_learners=num_learners)
        .training(train_batch_size_per_learner=16, minibatch_size=8, num_epochs=1)
        .debugging(seed=3)
        .build_algo()
    )


def learner_weights(algorithm):
    state = algorithm.learner_group.get_weights()
    return state["default_policy"]


def runner_weights(algorithm):
    return algorithm.env_runner_group.foreach_env_runner(
        lambda runner: runner.module.get_state(), local_env_runner=False
    )


def assert_same(weights, others):
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        np.testing.assert_array_equal(value, others[name], err_msg=name)


def test_trains_loses_a_runner_resumes_and_tracks(cluster, checkpoint, tmp_path):
    algorithm = small_training(checkpoint)
    before = learner_weights(algorithm)
    result = algorithm.train()
    assert result["env_runners"]["num_env_steps_sampled_lifetime"] >= 16
    assert 0 <= result["env_runners"]["auc"] <= 1
    assert any((before[name] != value).any() for name, value in learner_weights(algorithm).items())
    for weights in runner_weights(algorithm):
        assert_same(weights, learner_weights(algorithm))

    runners = algorithm.env_runner_group
    victim, *_ = runners.foreach_env_runner(lambda _: os.getpid(), local_env_runner=False)
    os.kill(victim, signal.SIGKILL)
    for _ in range(20):
        algorithm.train()
        if runners.num_healthy_remote_workers() == 2:
            break
    pids = runners.foreach_env_runner(lambda _: os.getpid(), local_env_runner=False)
    assert len(pids) == 2
    assert victim not in pids

    saved = algorithm.save_to_path(str(tmp_path / "checkpoint"))
    weights = learner_weights(algorithm)
    algorithm.stop()

    resumed = small_training(checkpoint)
    restore(resumed, saved)
    assert_same(learner_weights(resumed), weights)
    for played in runner_weights(resumed):
        assert_same(played, weights)
    steps = resumed.train()["env_runners"]["num_env_steps_sampled_lifetime"]
    assert steps > 16
    path = export_network(resumed, tmp_path / "network.safetensors")
    trained = learner_weights(resumed)
    resumed.stop()

    exported = RELONetwork.from_checkpoint(path).state_dict()
    for name, value in micro_network().state_dict().items():
        expected = trained.get(f"network.{name}", value)
        np.testing.assert_array_equal(exported[name], expected, err_msg=name)
    video = square_video()
    tracker = RELOTracker.from_pretrained(path)
    tracker.init(video.frames.read(0), video.boxes[0])
    box, _ = tracker.update(video.frames.read(1))
    assert np.isfinite(box).all()


def test_two_learners_train_an_encoder(cluster, checkpoint):
    algorithm = small_training(checkpoint, num_learners=2, trained=ENCODER)
    algorithm.train()
    both = algorithm.learner_group.foreach_learner(
        lambda learner: learner.module["default_policy"].get_state()
    )
    first, second = (result.get() for result in both)
    assert_same(first, second)
    for weights in runner_weights(algorithm):
        assert_same(weights, first)
    algorithm.stop()
