"""Stage 2 as a run: every algorithm, files, resuming after a kill, what is refused."""

from __future__ import annotations

import copy
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents.confidence import Confidence
from agents.network import RELONetwork
from agents.network.checkpoints import read_header
from agents.policy_config import ALGORITHMS, PolicyConfig
from agents.training import draw_anew, extend, make_env, schedule, train_policy
from relo_env.datasets.base import Dataset
from relo_env.errors import CheckpointError, ConfigError, DataError, ReloError, TrainingError
from relo_env.interrupts import Terminated
from tests.toys import Squares, hidden_squares

TINY = {
    "steps": 16,
    "num_envs": 4,
    "group_size": 2,
    "clip_length": 2,
    "checkpoint_every": 1,
    "picture_every": 1,
}

SCRIPT = """
import sys
from pathlib import Path
from typing import Any
from tests.agents.test_training import train
try:
    train(Path(sys.argv[1]), steps=4096)
except KeyboardInterrupt:
    sys.exit(130)
"""


def train(
    out: Path,
    *,
    dataset: Dataset | None = None,
    resume: bool = False,
    seed: int = 0,
    callbacks: Sequence[BaseCallback] = (),
    **changes: object,
) -> Path:
    """A run on toy videos with a network of random weights."""
    dataset = dataset or Squares()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = RELONetwork.from_preset("micro")
    config = PolicyConfig(**{**TINY, "seed": seed, **changes})  # type: ignore[arg-type]
    return train_policy(
        config, network=network, dataset=dataset, out=out, resume=resume, callbacks=callbacks
    )


@pytest.mark.parametrize(
    "algorithm", [*ALGORITHMS, "agents.algorithms:GRPO", "stable_baselines3:A2C"]
)
def test_every_algorithm_trains_policy_and_value_only(algorithm: str, tmp_path: Path) -> None:
    path = train(tmp_path / "run", algorithm=algorithm)
    torch.manual_seed(0)
    before = RELONetwork.from_preset("micro")
    before.reset_heads(0)
    after = RELONetwork.from_checkpoint(path).state_dict()
    changed = {
        ".".join(name.split(".")[:2])
        for name, value in before.state_dict().items()
        if not torch.equal(value, after[name])
    }
    assert "heads.policy" in changed
    assert changed <= {"heads.policy", "heads.value"}
    assert read_header(path)["stage"] == "policy"
    assert read_header(path)["metrics"]["num_timesteps"] == 16


def test_the_encoder_is_trained_where_asked_for(tmp_path: Path) -> None:
    options = {"encoder_scale": 0.5, "amp": True, "gradient_checkpointing": True}
    path = train(tmp_path / "run", **options)
    torch.manual_seed(0)
    before, after = RELONetwork.from_preset("micro"), RELONetwork.from_checkpoint(path)
    for name, value in before.encoder.vit.blocks.named_parameters():
        assert not torch.equal(value, after.encoder.vit.blocks.get_parameter(name)), name
    assert torch.equal(before.heads.size.out.weight, after.heads.size.out.weight)


def test_half_precision_leaves_the_encoder_as_it_is(tmp_path: Path) -> None:
    path = train(tmp_path / "run", amp=True)
    torch.manual_seed(0)
    before = RELONetwork.from_preset("micro").encoder.state_dict()
    after = RELONetwork.from_checkpoint(path).encoder.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_weights_of_the_reward_reach_the_environment() -> None:
    config = PolicyConfig(num_envs=1, iou_weight=0.25, auc_weight=3.0)
    env = make_env(config, RELONetwork.from_preset("micro"), Squares())
    reward = env.get_attr("config")[0].reward
    assert (reward.iou_weight, reward.auc_weight) == (0.25, 3.0)
    env.close()


def test_a_run_leaves_its_files_and_logs(tmp_path: Path) -> None:
    train(tmp_path / "run")
    (events,) = (tmp_path / "run").glob("events.*")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"config.json", "state.pt", "network.safetensors", events.name}
    assert json.loads((tmp_path / "run" / "config.json").read_text())["num_envs"] == 4
    log = EventAccumulator(str(tmp_path / "run"))
    log.Reload()
    assert {"rollout/auc_mean", "rollout/iou_mean", "train/value_loss"} <= set(
        log.Tags()["scalars"]
    )
    assert log.Tags()["images"] == ["images/search"]
    assert [event.step for event in log.Scalars("rollout/auc_mean")] == [8, 16]


def test_the_same_seed_gives_the_same_run_and_another_does_not(tmp_path: Path) -> None:
    first, again, other = (
        train(tmp_path / name, seed=seed).read_bytes()
        for name, seed in (("first", 3), ("again", 3), ("other", 4))
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_stopped_goes_on_to_the_same_numbers(number: int, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(out)], stderr=subprocess.PIPE)
    while not _steps_done(out) >= 24:
        assert process.poll() is None, process.stderr and process.stderr.read().decode()
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    done = _steps_done(out)
    assert 24 <= done < 4096
    # The whole run would take long: both go to twice as far (and no learning rate drops before).
    config = json.loads((out / "config.json").read_text())
    total = 2 * int(done)
    (out / "config.json").write_text(json.dumps({**config, "steps": total}))
    resumed = train(out, resume=True, steps=total)
    straight = train(tmp_path / "straight", steps=total)
    assert resumed.read_bytes() == straight.read_bytes()


class Signal(BaseCallback):
    """Sends a signal to this process in the middle of a rollout."""

    def __init__(self, number: signal.Signals, step: int) -> None:
        super().__init__()
        self.number, self.step = number, step

    def _on_step(self) -> bool:
        if self.num_timesteps == self.step:
            signal.raise_signal(self.number)
        return True


@pytest.mark.parametrize(
    ("number", "exception"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_a_signal_saves_the_rollout_at_hand_whatever_checkpoint_every_is(
    number: signal.Signals, exception: type[BaseException], tmp_path: Path
) -> None:
    default = PolicyConfig().checkpoint_every
    options = {"steps": 80, "checkpoint_every": default, "picture_every": default}
    with pytest.raises(exception):
        train(tmp_path / "run", callbacks=[Signal(number, 20)], **options)  # in the third of ten
    assert _steps_done(tmp_path / "run") == 24
    resumed = train(tmp_path / "run", resume=True, **options)
    assert resumed.read_bytes() == train(tmp_path / "straight", **options).read_bytes()


def _steps_done(out: Path) -> float:
    path = out / "network.safetensors"
    return read_header(path)["metrics"]["num_timesteps"] if path.exists() else 0


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    before = train(tmp_path / "run").read_bytes()
    assert train(tmp_path / "run", resume=True).read_bytes() == before


def test_learning_rate_drops_in_the_last_fifth() -> None:
    rate = schedule(2.0)
    assert [rate(remaining) for remaining in (1.0, 0.21, 0.2, 0.0)] == [2.0, 2.0, 0.2, 0.2]


def test_folders_are_not_mixed_up(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no run to resume"):
        train(tmp_path / "run", resume=True)
    train(tmp_path / "run")
    with pytest.raises(ConfigError, match="holds a run already"):
        train(tmp_path / "run")
    with pytest.raises(CheckpointError, match="'num_envs': 4"):
        train(tmp_path / "run", resume=True, num_envs=8)


def test_data_that_was_moved_is_the_same_and_other_data_is_refused(tmp_path: Path) -> None:
    here, there = Squares(), Squares()
    here.root, there.root = tmp_path / "here", tmp_path / "there"  # type: ignore[attr-defined]
    train(tmp_path / "run", dataset=here)
    train(tmp_path / "run", dataset=there, resume=True)
    for other in (Squares(count=5), Squares(size=(120, 90)), Squares("test")):
        with pytest.raises(CheckpointError, match=r"config\.json was made on other data"):
            train(tmp_path / "run", dataset=other, resume=True)


def test_what_changes_no_number_may_change_and_steps_may_grow(tmp_path: Path) -> None:
    train(tmp_path / "run", steps=8)
    path = train(tmp_path / "run", steps=24, resume=True, checkpoint_every=3, picture_every=2)
    assert read_header(path)["metrics"]["num_timesteps"] == 24
    with pytest.raises(CheckpointError, match=r"'steps': 24.*--no-fresh-heads"):
        train(tmp_path / "run", steps=16, resume=True)


def test_a_run_that_was_ended_before_its_first_state_begins_anew(tmp_path: Path) -> None:
    straight = train(tmp_path / "straight").read_bytes()
    (tmp_path / "run").mkdir()
    shutil.copy(tmp_path / "straight" / "config.json", tmp_path / "run")
    assert train(tmp_path / "run", resume=True).read_bytes() == straight


@pytest.mark.parametrize("refused", ["claim", "algorithm", "state", "data", "disk"])
def test_a_refused_run_leaves_network_and_folder_as_they_were(
    refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    train(out)
    network = RELONetwork.from_preset("micro").train()
    network.confidence = Confidence(0.0, 1.0, 1.0)
    network.heads.policy.requires_grad_(False)
    before = copy.deepcopy(network.state_dict())
    flags = [parameter.requires_grad for parameter in network.parameters()]
    options: dict[str, object] = {"resume": True}
    if refused == "claim":
        options = {}
    elif refused == "state":
        (out / "state.pt").write_bytes(b"cut")
    elif refused == "data":
        options["dataset"] = hidden_squares()
    elif refused == "disk":
        monkeypatch.setattr("os.replace", _full)
    config = {
        **TINY,
        **({"algorithm_options": {"credit": "foo"}} if refused == "algorithm" else {}),
    }
    if refused in ("algorithm", "disk"):
        out, options = tmp_path / "new", {}
    files = sorted(tmp_path.rglob("*"))
    with pytest.raises(ReloError):
        train_policy(
            PolicyConfig(**config),  # type: ignore[arg-type]
            network=network,
            out=out,
            **{"dataset": Squares(), **options},  # type: ignore[arg-type]
        )
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert [parameter.requires_grad for parameter in network.parameters()] == flags
    assert network.training
    assert network.confidence is not None
    assert [path for path in sorted(tmp_path.rglob("*")) if path.is_file()] == [
        path for path in files if path.is_file()
    ]


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("algorithm", ["actor-critic", "ppo", "a2c"])
def test_weights_that_give_no_numbers_are_never_saved(algorithm: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="diverged"):
        train(tmp_path / "run", algorithm=algorithm, learning_rate=1e30, steps=64)
    kept = RELONetwork.from_checkpoint(tmp_path / "run" / "network.safetensors")
    assert all(value.isfinite().all() for value in kept.state_dict().values())
    assert read_header(tmp_path / "run" / "network.safetensors")["metrics"]["num_timesteps"] < 16


def test_errors_of_callbacks_keep_their_words(tmp_path: Path) -> None:
    def refuse(*_: object) -> bool:
        raise ValueError("no tracker nano, no finances")

    with pytest.raises(ValueError, match="no tracker nano"):
        train(tmp_path / "run", callbacks=[ConvertCallback(refuse)])


@pytest.mark.parametrize("algorithm", ["a2c", "ppo"])
def test_a_rollout_that_never_shows_its_target_is_explained(algorithm: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no frame of this rollout shows its target"):
        train(tmp_path / "run", algorithm=algorithm, dataset=Squares(absent=tuple(range(3, 30))))


def test_a_split_without_boxes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="split 'test', has no boxes but the first ones"):
        train(tmp_path / "run", dataset=hidden_squares())
    assert not (tmp_path / "run").exists()


def test_a_truncated_state_is_refused(tmp_path: Path) -> None:
    train(tmp_path / "run")
    state = tmp_path / "run" / "state.pt"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"state\.pt"):
        train(tmp_path / "run", resume=True)


def test_wrong_settings_are_explained() -> None:
    with pytest.raises(ConfigError, match="'grpo'"):
        PolicyConfig(algorithm="gpro")
    with pytest.raises(ConfigError, match="num_envs is 0"):
        PolicyConfig(num_envs=0)
    with pytest.raises(ConfigError, match="seed is -1"):
        PolicyConfig(seed=-1)
    with pytest.raises(ConfigError, match="multiple"):
        PolicyConfig(algorithm="grpo", num_envs=6, group_size=4)


@pytest.mark.parametrize(
    ("algorithm", "options", "message"),
    [
        ("ppo", {"n_epochs": 0}, "n_epochs is 0; expected an int > 0"),
        ("grpo", {"n_epochs": -1}, "n_epochs is -1; expected an int > 0"),
        ("grpo", {"kl_coef": -1}, "kl_coef is -1; expected a number >= 0"),
        ("ppo", {"clip_range": -1.0}, "clip_range is -1.0; expected a number > 0 or a callable"),
        ("a2c", {"gamma": 2}, "gamma is 2; expected a number from 0 to 1"),
        ("a2c", {"max_grad_norm": -1}, "max_grad_norm is -1; expected a number > 0"),
        ("actor-critic", {"rollout_buffer_kwargs": 1}, "is 1; expected a dict or None"),
    ],
)
def test_options_that_algorithms_cannot_have(
    algorithm: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        PolicyConfig(algorithm=algorithm, algorithm_options=options)


def test_what_an_algorithm_refuses_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'ppo' refuses {'batch_size': 1}.*greater than 1"):
        train(tmp_path / "run", algorithm="ppo", algorithm_options={"batch_size": 1})


@pytest.mark.parametrize(
    ("algorithm", "message"),
    [
        ("mine:", "Unknown algorithm 'mine:'.*module:Class"),
        ("no_such_module:Mine", "Algorithm 'no_such_module:Mine': no module 'no_such_module'"),
        ("agents.algorithms:GRPOO", "Did you mean 'GRPO'"),
        ("stable_baselines3:DQN", "expected a class derived from .* OnPolicyAlgorithm"),
    ],
)
def test_algorithms_that_cannot_be_are_explained(algorithm: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PolicyConfig(algorithm=algorithm)


@pytest.mark.parametrize(
    ("algorithm", "name", "value", "message"),
    [
        ("grpo", "kl_cof", 0.1, "Algorithm 'grpo' has no option 'kl_cof'. Did you mean 'kl_coef'"),
        ("grpo", "credit", "gae", "has no option 'credit'"),
        ("ppo", "credit", "gae", "has no option 'credit'"),
        ("grpo", "kl_coef", "abc", "Algorithm 'grpo': kl_coef is 'abc'; expected a number"),
        ("grpo", "batch_size", "abc", "expected an int > 0 or None"),
        ("grpo", "per_step", 1, "expected True or False"),
        ("ppo", "ent_coef", [0.1, 0.0], "expected a number"),
        ("actor-critic", "ent_coef", [0.1, "abc"], "expected a number or a list of numbers"),
        ("actor-critic", "auc_weight", "abc", "expected a number"),
        ("actor-critic", "credit", 5, "expected a string or a callable"),
    ],
)
def test_wrong_options_of_algorithms_are_explained(
    algorithm: str, name: str, value: object, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        PolicyConfig(algorithm=algorithm, algorithm_options={name: value})


def test_options_that_fit_are_taken() -> None:
    rules = {"auc_weight": None, "credit": lambda rollout: rollout.rewards}
    PolicyConfig(algorithm_options={"ent_coef": [0.05, 0], "gamma": 1, **rules})
    PolicyConfig(algorithm="ppo", algorithm_options={"learning_rate": lambda _: 0.1})


def test_a_run_that_fails_before_its_first_state_does_not_block_its_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="credit"):
        train(tmp_path / "run", algorithm_options={"credit": "foo"})
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")  # it was killed later
    train(tmp_path / "run", algorithm_options={"credit": "gae"})


def test_controls_are_trained_with_policy_and_value(tmp_path: Path) -> None:
    path = train(tmp_path, algorithm="ppo", controls=("renew", "zoom"))
    network = RELONetwork.from_checkpoint(path)
    assert list(network.controls) == ["zoom", "renew"]
    assert network.crop.num_templates == 2
    assert network.controls["zoom"].out.weight.any()
    again = train(tmp_path, algorithm="ppo", controls=("zoom", "renew"), resume=True)
    assert again == path


def test_parts_that_lr_scales_leaves_out_stay(tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = RELONetwork.from_preset("micro").state_dict()
    scales = {"controls": 1.0}
    path = train(tmp_path, algorithm="grpo", controls=("zoom",), lr_scales=scales)
    network = RELONetwork.from_checkpoint(path)
    for name, value in before.items():
        torch.testing.assert_close(network.state_dict()[name], value, rtol=0, atol=0)
    assert network.controls["zoom"].out.weight.any()


def test_fresh_heads_of_controls_follow_the_seed() -> None:
    def drawn(seed: int) -> torch.Tensor:
        network = RELONetwork.from_preset("micro")
        config = PolicyConfig(**{**TINY, "controls": "zoom", "seed": seed})  # type: ignore[arg-type]
        draw_anew(config, extend(network, config.controls))
        return network.controls["zoom"].hidden.weight

    torch.testing.assert_close(drawn(1), drawn(1), rtol=0, atol=0)
    assert (drawn(1) != drawn(2)).any()


def test_a_refused_training_leaves_no_controls(tmp_path: Path) -> None:
    network = RELONetwork.from_preset("micro")
    before = copy.deepcopy(network.state_dict())
    config = PolicyConfig(**{**TINY, "controls": "renew", "lr_scales": {"controlls": 1.0}})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="controlls"):
        train_policy(config, network=network, dataset=Squares(), out=tmp_path)
    assert not network.controls
    assert network.crop.num_templates == network.encoder.crop.num_templates == 1
    assert network.changes == {}
    assert network.state_dict().keys() == before.keys()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"controls": ("zom",)}, "'zom'"),
        ({"lr_scales": {"controls": 0.0}}, "lr_scales: controls is 0.0"),
        ({"controls": ("zoom",), "search_window": "jittered"}, "search_window"),
    ],
)
def test_controls_that_cannot_be_trained_are_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(tmp_path, **changes)
    assert not list(tmp_path.iterdir())
