"""Minari: the file of recorded clips, and infos of constant shape for its own collector."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from minari import StepDataCallback
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_dataset import parse_dataset_id
from minari.dataset.minari_storage import MinariStorage

from relo_env.claims import Claim
from relo_env.datasets.registry import make_dataset
from relo_env.errors import ConfigError, ReloError
from relo_env.files import write_text
from relo_env.registration import env_id
from relo_env.rewards import clip_auc

CONSTANT = {
    "frame": np.int64,
    "box": np.float64,
    "target_box": np.float64,
    "visible": np.bool_,
    "iou": np.float64,
}


class TrackingStepData(StepDataCallback):
    """Infos with the same names and shapes at every step, for Minari's ``DataCollector``.

    ``DataCollector(env, step_data_callback=TrackingStepData, record_infos=True)`` stores ``frame``,
    ``box``, ``target_box``, ``visible``, ``iou`` and, with ``candidate_info=True``,
    ``candidate_ious``. Of a reset, ``iou`` and ``candidate_ious`` are zeros. An episode ends with
    ``auc`` and ``ious``, which are left out: they follow from ``iou`` and ``visible``.
    """

    def __call__(self, env: gym.Env, obs: Any, info: dict[str, Any], **step: Any) -> Any:
        """See `minari.StepDataCallback`."""
        told = {"iou": 0.0, **info}
        kept: dict[str, np.ndarray] = {
            name: np.asarray(told[name], dtype) for name, dtype in CONSTANT.items()
        }
        if env.unwrapped.config.candidate_info:  # type: ignore[attr-defined]
            nothing = np.zeros(env.unwrapped.crop.num_positions)  # type: ignore[attr-defined]
            kept["candidate_ious"] = info.get("candidate_ious", nothing)
        return super().__call__(env, obs, kept, **step)


def check_id(dataset_id: str) -> str:
    """An id that Minari takes.

    Raises:
        ConfigError: it has another form.
    """
    try:
        parse_dataset_id(dataset_id)
    except (TypeError, ValueError):
        raise ConfigError(
            f"id is {dataset_id!r}; expected Minari's form namespace/name-v0, of letters, digits, "
            "hyphens and underscores, with a version."
        ) from None
    return dataset_id


def write_dataset(
    folder: Path,
    dataset_id: str,
    episodes: Iterable[Mapping[str, np.ndarray]],
    observation_space: gym.Space,
    action_space: gym.Space,
    claim: Claim,
) -> None:
    """Write ``folder/data``, which `minari.MinariDataset` reads, and ``folder/README.md``.

    Earlier ``folder/data`` is replaced. Episodes are taken one at a time; spaces are those of the
    recorded observations and actions.
    """
    settings, fingerprint = claim.settings, claim.data["recorded"]
    data = folder.resolve() / "data"  # Minari 0.5.4 measures relative folders wrongly
    shutil.rmtree(data, ignore_errors=True)
    spec = _environment(settings, fingerprint)
    storage = MinariStorage.new(
        data,
        observation_space=observation_space,
        action_space=action_space,
        env_spec=spec,
        data_format="hdf5",
        jpeg_encoding=False,
    )
    facts: list[dict[str, Any]] = []
    storage.update_episodes(_buffers(episodes, facts))
    storage.update_episode_metadata(facts)
    page = _page(dataset_id, claim, facts, observation_space, recoverable=spec is not None)
    storage.update_metadata(
        {
            "dataset_id": dataset_id,
            "algorithm_name": settings["policy"],
            "description": page,
            "requirements": [f"relo=={metadata.version('relo')}"],
            "minari_version": metadata.version("minari"),
            "relo": {**settings, "fingerprint": fingerprint},
        }
    )
    write_text(folder / "README.md", page)


def _buffers(
    episodes: Iterable[Mapping[str, np.ndarray]], facts: list[dict[str, Any]]
) -> Iterator[EpisodeBuffer]:
    """Minari's form of the episodes; figures of each are appended to ``facts``."""
    for number, episode in enumerate(episodes):
        observations, infos = _below(episode, "observations/"), _below(episode, "infos/")
        rewards, shown = episode["rewards"], infos["visible"][1:]
        ious = infos["iou"][1:][shown]
        facts.append(
            {
                "sequence": str(episode["sequence"]),
                "auc": float(clip_auc(ious)),
                "mean_iou": float(ious.mean()) if len(ious) else 0.0,
                "rewards_sum": float(rewards.sum()),
                "steps": len(rewards),
            }
        )
        yield EpisodeBuffer(
            id=number,
            seed=int(episode["seed"]),
            observations=observations,
            actions=episode["actions"],
            rewards=rewards,
            terminations=np.arange(len(rewards)) == len(rewards) - 1,
            truncations=np.zeros(len(rewards), dtype=bool),
            infos=infos,
        )


def _below(episode: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {n.removeprefix(prefix): array for n, array in episode.items() if n.startswith(prefix)}


def _environment(settings: Mapping[str, Any], fingerprint: Mapping[str, Any]) -> EnvSpec | None:
    """Environment of the recording, by names alone; None where they don't give its data set."""
    given = {"split": fingerprint["split"], **fingerprint["options"]}
    for name, place in product(
        (fingerprint["name"], settings["dataset_class"]), ({}, {"root": fingerprint["root"]})
    ):
        try:
            dataset = make_dataset(name, **given, **place)
        except (ReloError, TypeError):
            continue
        if dataset.fingerprint == fingerprint:
            proposer = {
                "network": settings["network"],
                "train_encoder": settings["observations"] == "crops",
            }
            return EnvSpec(
                env_id(fingerprint["name"]),
                entry_point="relo_env.env:TrackingEnv",
                vector_entry_point="relo_env.vector_env:TrackingVectorEnv",
                kwargs={
                    "dataset": name,
                    **given,
                    **place,
                    "proposer": "agents.proposer:make_network_proposer",
                    "proposer_kwargs": proposer,
                    "candidate_info": True,
                    **settings["env_options"],
                },
            )
    return None


PAGE = """\
# {id}

{episodes} clips of {dataset}, split {split}, played by the policy `{policy}`: {steps} frames.

| | mean of the clips |
| --- | --- |
| return | {rewards_sum:.3f} |
| IoU | {mean_iou:.3f} |
| AUC | {auc:.3f} |

## Contents

| array | shape of a clip of T frames | what |
| --- | --- | --- |
{observations}
| `actions` | (T,) | position chosen, row-major |
| `rewards` | (T,) | what the environment paid |
| `infos/candidate_ious` | (T + 1, H * W) | IoU that every position would have had |
| `infos/iou` | (T + 1,) | IoU of the position chosen |
| `infos/visible` | (T + 1,) | whether the frame shows the target |
| `infos/box`, `infos/target_box` | (T + 1, 4) | box chosen and true box, xywh pixels |
| `infos/frame` | (T + 1,) | number of the frame in its video |

Infos follow Minari's order: entry t + 1 belongs to action t, entry 0 to the reset. The last
observation repeats the one before. `env.reset(seed=episode metadata's seed)` shows the same clip.

## Load

```python
import minari

data = minari.MinariDataset("data")
# or, with MINARI_DATASETS_PATH as `relo record --out`: minari.load_dataset({id!r})
{recover}
```

## How it was recorded

```json
{settings}
```
"""


def _page(
    dataset_id: str,
    claim: Claim,
    facts: list[dict[str, Any]],
    observation_space: gym.Space,
    recoverable: bool,
) -> str:
    assert isinstance(observation_space, gym.spaces.Dict)
    fingerprint = claim.data["recorded"]
    means = {n: float(np.mean([f[n] for f in facts])) for n in ("rewards_sum", "mean_iou", "auc")}
    return PAGE.format(
        id=dataset_id,
        episodes=len(facts),
        dataset=fingerprint["name"],
        split=fingerprint["split"],
        policy=claim.settings["policy"],
        steps=sum(f["steps"] for f in facts),
        observations="\n".join(
            f"| `observations/{name}` | (T + 1, {str(space.shape)[1:]} | {space.dtype} |"
            for name, space in observation_space.items()
        ),
        recover="env = data.recover_environment()"
        if recoverable
        else "# its data set has no name: make the environment yourself",
        settings=json.dumps({**claim.settings, "fingerprint": fingerprint}, indent=1),
        **means,
    )
