"""State of a policy training on disk, from which a killed run resumes to the same numbers."""

from __future__ import annotations

import json
import random
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from agents.runs import load_state, mismatches_explained, save_state

COUNTERS = ("num_timesteps", "_n_updates", "_episode_num", "_current_progress_remaining")
ENTRIES = ("parameters", "counters", "episodes", "environment", "torch", "cuda", "numpy", "python")


def save_run_state(model: OnPolicyAlgorithm, path: str | Path) -> None:
    """Write the file that `load_run_state` reads; a reader sees the old file or the new one.

    It holds weights, optimiser, counters, random states and the environment's place. Call it
    between rollouts: from a callback's ``_on_rollout_start`` or after ``learn``. Exact while the
    proposer's network is frozen; where it is trained, the first candidates after a resume are an
    update newer.

    Args:
        model: on an environment with ``state_dict``, such as `RELOVecEnv`.
        path: file to write.
    """
    assert model.env is not None
    state = {
        "parameters": model.get_parameters(),
        "counters": {name: getattr(model, name) for name in COUNTERS},
        "episodes": json.dumps(list(model.ep_info_buffer or []), default=float),
        "environment": json.dumps(model.env.state_dict()),  # type: ignore[attr-defined]
        "torch": th.get_rng_state(),
        "cuda": th.cuda.get_rng_state_all() if th.cuda.is_available() else [],
        "numpy": _plain_numpy_state(),
        "python": random.getstate(),
    }
    save_state(path, state)


def load_run_state(model: OnPolicyAlgorithm, path: str | Path) -> None:
    """Restore a saved state in a model that was made with the same arguments.

    Continue with ``model.learn(total - model.num_timesteps, reset_num_timesteps=False)``.

    Raises:
        CheckpointError: the file is missing, damaged, incomplete or of another model.
    """
    state = load_state(path, ENTRIES)
    with mismatches_explained(path):
        _restore(model, state)


def _restore(model: OnPolicyAlgorithm, state: dict[str, Any]) -> None:
    assert model.env is not None
    model.set_parameters(state["parameters"], device=model.device)
    for name in COUNTERS:
        setattr(model, name, state["counters"][name])
    model.ep_info_buffer = deque(json.loads(state["episodes"]), maxlen=model._stats_window_size)
    model.ep_success_buffer = deque(maxlen=model._stats_window_size)
    place = json.loads(state["environment"])
    model._last_obs = model.env.load_state_dict(place)  # type: ignore[attr-defined]
    model._last_episode_starts = np.ones(model.n_envs, dtype=bool)
    # Random states come last, because the lines above may draw numbers.
    th.set_rng_state(state["torch"])
    if state["cuda"]:
        th.cuda.set_rng_state_all(state["cuda"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002 (SB3 draws from it)
    version, values, gauss = state["python"]
    random.setstate((version, tuple(values), gauss))


def _plain_numpy_state() -> list[Any]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return [kind, np.asarray(keys).tolist(), *rest]
