"""Minari's own collector stores infos of tracking episodes."""

import gc

import gymnasium as gym
import numpy as np
import pytest

import relo_env  # noqa: F401

pytest.importorskip("minari", reason="needs relo[offline]")
SMALL = {"num_templates": 1, "template_size": 64, "search_size": 64, "stride": 8, "clip_length": 3}


@pytest.mark.parametrize("candidate_info", [False, True])
def test_infos_keep_their_names_shapes_and_types(candidate_info):
    from agents.integrations.minari import TrackingStepData

    env = gym.make("RELO-Synthetic-v0", candidate_info=candidate_info, length=20, **SMALL)
    callback = TrackingStepData()
    observation, info = env.reset(seed=0)
    told = [callback(env, observation, info)["info"]]
    terminated = False
    while not terminated:
        action = env.action_space.sample()
        observation, reward, terminated, truncated, info = env.step(action)
        step = callback(
            env,
            observation,
            info,
            action=action,
            rew=reward,
            terminated=terminated,
            truncated=truncated,
        )
        told.append(step["info"])
    kinds = [{name: (v.shape, v.dtype) for name, v in infos.items()} for infos in told]
    assert kinds == [kinds[0]] * 4
    assert ("candidate_ious" in kinds[0]) == candidate_info
    assert told[-1]["iou"] == info["iou"]


@pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")
def test_minari_collects_them(tmp_path, monkeypatch):
    import minari

    from agents.integrations.minari import TrackingStepData

    for package in ("jax", "h5py"):
        pytest.importorskip(package, reason="Minari's collector needs minari[create,hdf5]")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    env = gym.make("RELO-Synthetic-v0", length=20, **SMALL)
    collector = minari.DataCollector(env, TrackingStepData, record_infos=True)
    for seed in range(2):
        collector.reset(seed=seed)
        terminated = False
        while not terminated:
            _, _, terminated, _, info = collector.step(env.action_space.sample())
    data = collector.create_dataset(
        "tracking/test-v0",
        eval_env=env.spec,
        description="a test",
        author="a",
        author_email="a",
        code_permalink="a",
        algorithm_name="random",
    )
    np.testing.assert_array_equal(data[1].infos["iou"][1:], info["ious"])
    collector.close()
    del collector
    gc.collect()  # Minari leaves its temporary folders to the garbage collector, which warns
