import multiprocessing
import os
import signal

import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from agents.algorithms import GRPO, ActorCritic, ExpectedPolicyGradient, SelfCritical
from agents.algorithms.state import load_run_state, save_run_state
from agents.callbacks import CheckpointCallback
from agents.policies import RELOPolicy
from relo_env.errors import CheckpointError
from tests.agents.worlds import micro_network, square_world

TOTAL = 96


def make(name: str):
    network = micro_network()
    groups = {} if name == "expected" else {"group_size": 2}
    venv = square_world(network, candidate_info=name == "expected", **groups)
    kwargs = {"policy_kwargs": {"network": network}, "seed": 3}
    if name == "ppo":
        return PPO(RELOPolicy, venv, n_steps=4, batch_size=8, n_epochs=2, **kwargs)
    if name == "grpo":
        return GRPO("RELOPolicy", venv, kl_coef=0.1, batch_size=8, **kwargs)
    if name == "expected":
        return ExpectedPolicyGradient("RELOPolicy", venv, **kwargs)
    if name == "self-critical":
        return SelfCritical("RELOPolicy", venv, **kwargs)
    if name == "schedules":
        schedules = {"clip_length": [2, 3], "auc_weight": [0, 2], "ent_coef": [0.1, 0]}
        return ActorCritic("RELOPolicy", venv, **schedules, **kwargs)
    return ActorCritic("RELOPolicy", venv, learning_rate=lambda left: 1e-3 * left, **kwargs)


def weights(model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.policy.state_dict().items()}


class Break(BaseCallback):
    """Ends a run in the middle of a rollout, as Ctrl-C does, or a machine that fails."""

    def __init__(self, kill: bool):
        super().__init__()
        self.kill = kill

    def _on_step(self) -> bool:
        if self.num_timesteps == 56 and self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.num_timesteps < 56


def broken(name: str, folder: str, kill: bool) -> None:
    torch.set_num_threads(1)
    callbacks = [CheckpointCallback(folder, every=1), Break(kill)]
    make(name).learn(TOTAL, callback=callbacks)


def goes_on_alike(name: str, folder) -> None:
    expected = make(name)
    expected.learn(TOTAL)
    torch.manual_seed(99)
    model = make(name)
    load_run_state(model, folder / "state.pt")
    assert model.num_timesteps == 48
    model.learn(TOTAL - model.num_timesteps, reset_num_timesteps=False)
    assert model.num_timesteps == expected.num_timesteps
    assert model._n_updates == expected._n_updates
    assert [e["r"] for e in model.ep_info_buffer] == [e["r"] for e in expected.ep_info_buffer]
    for key, value in weights(expected).items():
        assert torch.equal(value, weights(model)[key]), key


def test_a_killed_run_goes_on_to_the_same_numbers(tmp_path):
    arguments = ("actor-critic", str(tmp_path), True)
    process = multiprocessing.get_context("spawn").Process(target=broken, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    goes_on_alike("actor-critic", tmp_path)


@pytest.mark.parametrize("name", ["grpo", "self-critical", "expected", "ppo", "schedules"])
def test_a_stopped_run_goes_on_to_the_same_numbers(name, tmp_path):
    broken(name, str(tmp_path), kill=False)
    goes_on_alike(name, tmp_path)


def test_a_truncated_file_is_refused(tmp_path):
    model = make("actor-critic")
    model.learn(16)
    path = tmp_path / "state.pt"
    save_run_state(model, path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"state\.pt is not the state of this run"):
        load_run_state(model, path)


@pytest.mark.parametrize(
    "entry", ["parameters", "counters", "environment", "numpy", "num_timesteps"]
)
def test_a_state_without_an_entry_is_refused(entry, tmp_path):
    model = make("actor-critic")
    model.learn(16)
    path = tmp_path / "state.pt"
    save_run_state(model, path)
    state = torch.load(path, weights_only=True)
    del (state["counters"] if entry == "num_timesteps" else state)[entry]
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=f"state.pt is not the state of this run.*{entry}"):
        load_run_state(model, path)


def test_the_state_of_another_algorithm_is_refused(tmp_path):
    model = make("grpo")
    model.learn(16)
    save_run_state(model, tmp_path / "state.pt")
    with pytest.raises(CheckpointError, match="same algorithm"):
        load_run_state(make("actor-critic"), tmp_path / "state.pt")
