"""Recording of played clips for offline learning.

`record` plays clips of a data set with a policy and writes a Minari data set: observations,
actions, rewards and the IoU of every position. Until all clips are played, each is a file of its
own, so that a killed recording continues after the last one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from tqdm import tqdm

from agents.network import RELONetwork
from agents.network.checkpoints import find_checkpoint
from agents.policies import RELOPolicy, observed_features
from agents.proposer import NetworkProposer
from relo_env.checks import (
    NonNegativeFloat,
    PositiveInt,
    Seed,
    check_arguments,
    check_fields,
    import_named,
)
from relo_env.claims import Claim
from relo_env.datasets.base import Dataset
from relo_env.datasets.fingerprint import digest
from relo_env.errors import ConfigError, DataError
from relo_env.files import refusals_explained, replacing
from relo_env.interrupts import terminable
from relo_env.vector_env import TrackingVectorEnv

Policy = Callable[[dict[str, np.ndarray]], np.ndarray]
"""Observations of N rows to unnormalised log-probabilities of the positions, ``(N, H * W)``."""

INFOS = ("iou", "visible", "frame", "box", "target_box", "candidate_ious")
"""Infos that are recorded with every frame."""

FIXED = {
    "dataset",
    "root",
    "split",
    "proposer",
    "proposer_kwargs",
    "candidate_info",
    "action_mode",
    "controls",
    "mode",
    "num_envs",
    "group_size",
    "autoreset_mode",
    "render_mode",
}
"""Arguments of the environment that `record` sets itself."""

FOLDER, SETTINGS = ".recording", "settings.json"


@dataclass(frozen=True)
class RecordConfig:
    """Settings of a recording.

    Attributes:
        id: Minari's id of the data set, "namespace/name-v0"; None: relo/DATASET-POLICY-v0.
        policy: a preset that ships, a checkpoint, "random", or "module:factory": a function without
            arguments that returns a policy, from observations of N rows to logits (N, H * W).
        network: preset or checkpoint that gives the features and the candidate boxes; None: the
            policy's own, else nano.
        observations: "features" of the network, or the "crops" that it reads.
        episodes: clips to record.
        greedy: take the most probable position instead of drawing one.
        epsilon: share of the positions that are drawn uniformly instead.
        num_envs: clips that are played at once.
        seed: clips and actions of an episode follow from it and from the episode's number.
        env_options: further arguments of the environment, e.g. clip_length=16.

    Raises:
        ConfigError: an invalid value.
    """

    id: str | None = None
    policy: str = "nano"
    network: str | None = None
    observations: Literal["features", "crops"] = "features"
    episodes: PositiveInt = 200
    greedy: bool = False
    epsilon: NonNegativeFloat = 0.0
    num_envs: PositiveInt = 8
    seed: Seed = 0
    env_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.epsilon > 1:
            raise ConfigError(f"epsilon is {self.epsilon!r}; expected a share from 0 to 1.")
        if taken := sorted(FIXED & set(self.env_options)):
            raise ConfigError(f"env_options has {taken}, which a recording sets itself.")
        if self.network is not None and self.plays_a_network:
            raise ConfigError(
                f"network is {self.network!r}, but policy {self.policy!r} is a network that reads "
                "its own features. Leave network out."
            )

    @property
    def plays_a_network(self) -> bool:
        """True if the policy is a checkpoint or a preset."""
        return self.policy != "random" and (":" not in self.policy or Path(self.policy).is_file())

    @property
    def network_path(self) -> Path:
        """Checkpoint of the network that gives features and boxes.

        Raises:
            CheckpointError: there is no such file or preset.
        """
        return find_checkpoint(self.policy if self.plays_a_network else self.network or "nano")

    def dataset_id(self, dataset: Dataset) -> str:
        """Minari's id of the recording of a data set."""
        words = f"{dataset.name}-{Path(self.policy.replace(':', '-')).stem}".lower()
        return self.id or f"relo/{''.join(c if c.isalnum() else '-' for c in words)}-v0"


def record(
    config: RecordConfig,
    *,
    dataset: Dataset,
    out: str | Path,
    resume: bool = False,
    device: str = "cpu",
) -> Path:
    """Play clips and write them as a Minari data set.

    The data set appears in ``out/ID/data``, whole, when all clips are played; beside it a page,
    README.md. Minari finds it by its id where ``MINARI_DATASETS_PATH`` is ``out``.

    Args:
        config: settings of the recording.
        dataset: the videos.
        out: folder of Minari data sets.
        resume: continue a recording that was interrupted.
        device: device of the network.

    Returns:
        The folder that `minari.MinariDataset` reads.

    Raises:
        ConfigError: an invalid argument, another recording under this id, or Minari is
            not installed.
        CheckpointError: no such checkpoint.
        DataError: a clip recorded earlier is damaged.
    """
    missing = [name for name in ("minari", "h5py", "PIL") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"A recording needs {missing}: pip install 'relo[offline]'.")
    from agents.integrations.minari import check_id, write_dataset

    dataset_id = check_id(config.dataset_id(dataset))
    home = Path(out) / dataset_id
    parts = home / FOLDER
    claim = _claim(home / SETTINGS, config, dataset)
    finished = (home / "data").is_dir()
    if finished or (parts.is_dir() and resume):
        claim.check(free=["network", *(["policy"] if config.plays_a_network else [])])
    elif parts.is_dir():
        raise ConfigError(
            f"{home} holds an unfinished recording. Continue it (--resume, resume=True), or "
            "remove the folder."
        )
    if not finished:
        player = _Player(config, dataset, device)
        with closing(player.env), terminable(), refusals_explained(home):
            parts.mkdir(parents=True, exist_ok=True)
            claim.write()
            _play(player, config, parts)
            episodes = map(_read, sorted(parts.glob("episode-*.npz")))
            spaces = player.observation_space, player.env.single_action_space
            write_dataset(parts, dataset_id, episodes, *spaces, claim)
            (parts / "README.md").replace(home / "README.md")
            (parts / "data").replace(home / "data")
    shutil.rmtree(parts, ignore_errors=True)
    return home / "data"


class _Player:
    """Environment and policy of a recording."""

    def __init__(self, config: RecordConfig, dataset: Dataset, device: str) -> None:
        network = RELONetwork.from_checkpoint(config.network_path).to(device)
        crops = config.observations == "crops"
        self.env = TrackingVectorEnv(
            config.num_envs,
            dataset,
            # One backend: a resumed recording gives the same bytes.
            proposer=NetworkProposer(network, train_encoder=crops, backend="torch"),
            candidate_info=True,
            autoreset_mode=AutoresetMode.DISABLED,
            **config.env_options,
        )
        space = self.env.single_observation_space
        assert isinstance(space, gym.spaces.Dict)
        self.keys = RELOPolicy.reads(space)
        self.observation_space = gym.spaces.Dict({key: space[key] for key in self.keys})
        self.config = config
        self.policy = _make_policy(config, network, self.keys)

    def play(self, first: int) -> list[dict[str, np.ndarray]]:
        """Play episodes ``first`` to ``first + num_envs - 1``.

        Returns:
            Arrays by name: ``seed`` (``env.reset(seed=seed)`` shows the same clip), ``sequence``,
            ``actions`` int64 ``(T,)``, ``rewards`` float64 ``(T,)``, ``observations/KEY`` and
            ``infos/KEY`` ``(T + 1, ...)``. Entry t + 1 of the infos is that of action t; entry 0
            is that of the reset, with zeros where a reset has none.
        """
        config = self.config
        numbers = range(first, first + config.num_envs)
        seeds = [
            int(np.random.SeedSequence([config.seed, n]).generate_state(1)[0]) for n in numbers
        ]
        rngs = [np.random.default_rng([config.seed, n]) for n in numbers]
        observation, info = self.env.reset(seed=list(seeds))
        seen, told, actions, rewards = [self._kept(observation)], [info], [], []
        terminated = np.zeros(config.num_envs, dtype=bool)
        while not terminated.any():
            actions.append(self._act(observation, rngs))
            observation, reward, terminated, _, info = self.env.step(actions[-1])
            seen.append(self._kept(observation))
            told.append(info)
            rewards.append(reward)
        told[0] = {name: told[0].get(name, np.zeros_like(told[1][name])) for name in INFOS}
        return [
            {
                "seed": np.array(seed),
                "sequence": np.array(info["sequence"][row]),
                "actions": np.array([action[row] for action in actions]),
                "rewards": np.array([reward[row] for reward in rewards]),
                **{f"observations/{k}": np.stack([o[k][row] for o in seen]) for k in self.keys},
                **{f"infos/{k}": np.stack([i[k][row] for i in told]) for k in INFOS},
            }
            for row, seed in enumerate(seeds)
        ]

    def _kept(self, observation: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {key: observation[key] for key in self.keys}

    def _act(
        self, observation: dict[str, np.ndarray], rngs: list[np.random.Generator]
    ) -> np.ndarray:
        """Positions ``(N,)``; what a row draws depends on its own generator only."""
        logits = np.asarray(self.policy(observation), dtype=np.float64)
        expected = (len(rngs), int(self.env.single_action_space.n))  # type: ignore[attr-defined]
        if logits.shape != expected or not np.isfinite(logits).all():
            raise ConfigError(
                f"Policy {self.config.policy!r} gave logits of shape {logits.shape}; expected "
                f"{expected} finite numbers."
            )
        if not self.config.greedy:  # the largest of logits plus Gumbel noise is a sample
            logits = logits + np.stack([rng.gumbel(size=expected[1]) for rng in rngs])
        actions = logits.argmax(axis=1)
        for row, rng in enumerate(rngs):
            if rng.random() < self.config.epsilon:
                actions[row] = rng.integers(expected[1])
        return actions


def _make_policy(config: RecordConfig, network: RELONetwork, keys: list[str]) -> Policy:
    if config.policy == "random":
        return lambda observation: np.zeros((config.num_envs, network.crop.num_positions))
    if not config.plays_a_network:
        factory = import_named(config.policy, "Policy")
        check_arguments(f"Policy {config.policy!r}", factory, {})
        policy = factory()
        if not callable(policy):
            raise ConfigError(
                f"Policy {config.policy!r} gave {policy!r}; expected a function from observations "
                "to logits (N, H * W)."
            )
        return policy
    device = next(network.parameters()).device

    @torch.no_grad()
    def decide(observation: dict[str, np.ndarray]) -> np.ndarray:
        tensors = {key: torch.from_numpy(observation[key]).to(device) for key in keys}
        features = observed_features(network, tensors).float()
        logits = network.heads(features, only=("policy",)).policy_logits
        assert logits is not None
        return logits.double().cpu().numpy()

    return decide


def _play(player: _Player, config: RecordConfig, parts: Path) -> None:
    """Play the episodes that have no file yet and write a file for each."""
    paths = [parts / f"episode-{number:08d}.npz" for number in range(config.episodes)]
    with tqdm(total=config.episodes, unit="clip", desc="record") as progress:
        for first in range(0, config.episodes, config.num_envs):
            batch = paths[first : first + config.num_envs]
            if not all(path.is_file() for path in batch):
                for path, episode in zip(batch, player.play(first), strict=False):
                    with replacing(path) as temporary:
                        np.savez(temporary, **episode)  # type: ignore[arg-type]
            progress.update(len(batch))


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise DataError(
            f"{path} is not a recorded clip: {error}. Remove it and resume the recording, which "
            "then plays this clip again."
        ) from error


def _claim(path: Path, config: RecordConfig, dataset: Dataset) -> Claim:
    """Settings and data that the recording depends on."""
    name = config.policy if config.plays_a_network else config.network or "nano"
    kind = type(dataset)
    settings = {
        **{n: value for n, value in asdict(config).items() if n not in ("id", "num_envs")},
        "network": str(Path(name).resolve()) if Path(name).is_file() else name,
        "network_digest": digest(config.network_path.read_bytes()),
        "dataset_class": f"{kind.__module__}:{kind.__qualname__}",
    }
    advice = "Choose another id or folder; minari.combine_datasets joins recordings."
    return Claim(path, settings, {"recorded": dataset.fingerprint}, advice=advice)
