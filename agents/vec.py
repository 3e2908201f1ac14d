"""A vectorised tracking environment as a Stable-Baselines3 ``VecEnv``."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from stable_baselines3.common.vec_env.base_vec_env import (
    VecEnv,
    VecEnvIndices,
    VecEnvObs,
    VecEnvStepReturn,
)

from relo_env.errors import ConfigError
from relo_env.vector_env import OF_EACH_ROW, StepRows, TrackingVectorEnv


class RELOVecEnv(VecEnv):
    """SB3's view of a ``TrackingVectorEnv``.

    A finished row is reset within the step (Gymnasium's SAME_STEP): its info is that of the frame
    acted on, with ``terminal_observation`` and with ``episode``: return ``r``, length ``l``, time
    ``t`` [s] and ``auc``, as SB3's ``Monitor`` writes it.

    The features of a proposer made with ``features_on_device=True`` are in the observation as a
    tensor, which ``RELOPolicy`` and ``RELORolloutBuffer`` take as it is.

    Args:
        env: a registered id, or a vector environment that resets in the same step.
        num_envs: rows of the environment, when ``env`` is an id.
        **kwargs: the environment's arguments, when ``env`` is an id.

    Raises:
        ConfigError: another environment or autoreset mode, or arguments for an environment that
            exists already.
    """

    def __init__(self, env: str | VectorEnv, num_envs: int | None = None, **kwargs: Any) -> None:
        self.vector_env = _make(env, num_envs, kwargs)
        base = self.vector_env.unwrapped
        on_device = getattr(getattr(base, "proposer", None), "device_spaces", {})
        self._on_device: dict[str, torch.Tensor] = dict.fromkeys(on_device, torch.empty(0))
        seen = self.vector_env.single_observation_space
        if on_device:
            seen = gym.spaces.Dict({**seen.spaces, **on_device})  # type: ignore[attr-defined]
        # SB3's wrappers write to the spaces that they are given.
        spaces = copy.deepcopy((seen, self.vector_env.single_action_space))
        super().__init__(self.vector_env.num_envs, *spaces)
        self._start_time = time.time()
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, dtype=np.int64)

    @property
    def base(self) -> TrackingVectorEnv:
        """The tracking environment below all wrappers."""
        base = self.vector_env.unwrapped
        assert isinstance(base, TrackingVectorEnv)
        return base

    config = property(attrgetter("base.config"), doc="See `TrackingVectorEnv.config`.")
    crop = property(attrgetter("base.crop"), doc="See `TrackingVectorEnv.crop`.")
    dataset = property(attrgetter("base.dataset"), doc="See `TrackingVectorEnv.dataset`.")
    proposer = property(attrgetter("base.proposer"), doc="See `TrackingVectorEnv.proposer`.")
    fingerprint = property(attrgetter("base.fingerprint"), doc="See `Dataset.fingerprint`.")

    def reset(self) -> VecEnvObs:
        """Start an episode on every row; seeds and options count for this reset only."""
        options = self._options[0] if any(self._options) else None
        seed = self._seeds[0]
        if isinstance(self.vector_env, TrackingVectorEnv):
            observation, infos = self.vector_env.reset_rows(seed=seed, options=options)
        else:
            observation, batched = self.vector_env.reset(seed=seed, options=options)
            infos = _by_row(batched, range(self.num_envs))
        self.reset_infos = list(infos.values())
        self._reset_seeds()
        self._reset_options()
        self._returns[:], self._lengths[:] = 0, 0
        return self._observed(observation)

    def set_options(self, options: list[dict] | dict | None = None) -> None:
        """Options of the next reset; they are the same for every row.

        Raises:
            ConfigError: different options for different rows.
        """
        super().set_options(options)
        if any(row != self._options[0] for row in self._options):
            raise ConfigError(
                "Options differ between rows; a tracking environment takes one set for all rows. "
                "Use one RELOVecEnv for each."
            )

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions for ``step_wait``."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Step every row."""
        if isinstance(self.vector_env, TrackingVectorEnv):
            step = self.vector_env.step_rows(self._actions)
        else:
            step = _step_wrapped(self.vector_env, self._actions)
        self._returns += step.rewards
        self._lengths += 1
        for row, last in step.final_observations.items():
            info = step.infos[row]
            # The last observation is that of the frame acted on, repeated.
            on_device = {name: values[row] for name, values in self._on_device.items()}
            info["terminal_observation"] = {**last, **on_device}
            info["TimeLimit.truncated"] = False
            info["episode"] = self._episode(row, info)
            self.reset_infos[row] = step.reset_infos[row]
        dones = step.terminated
        self._returns[dones], self._lengths[dones] = 0, 0
        infos = [step.infos[row] for row in range(self.num_envs)]
        return self._observed(step.observation), step.rewards.astype(np.float32), dones, infos

    def close(self) -> None:
        """Close the environment."""
        self.vector_env.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """A frame of every row."""
        return list(self.vector_env.render() or [None] * self.num_envs)  # type: ignore[arg-type]

    def has_attr(self, attr_name: str) -> bool:
        """True if the environment has this attribute."""
        return attr_name in OF_EACH_ROW or hasattr(self._owner(attr_name), attr_name)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The environment's attribute for each row asked for; see `TrackingVectorEnv.get_attr`."""
        owner = self._owner(attr_name)
        rows = list(self._get_indices(indices))
        if isinstance(owner, TrackingVectorEnv):
            values = owner.get_attr(attr_name)
            return [values[row] for row in rows]
        return [getattr(owner, attr_name)] * len(rows)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set the environment's attribute, which all rows share."""
        setattr(self._owner(attr_name), attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        """Call the environment's method once; its result, once for each row asked for."""
        result = getattr(self._owner(method_name), method_name)(*method_args, **kwargs)
        return [result] * len(list(self._get_indices(indices)))

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None
    ) -> list[bool]:
        """False for every row: rows are not environments of their own."""
        return [False] * len(list(self._get_indices(indices)))

    def state_dict(self) -> dict[str, Any]:
        """State of all rows as plain values, for `load_state_dict`."""
        return {
            "env": self._owner("state_dict").state_dict(),  # type: ignore[attr-defined]
            "returns": self._returns.tolist(),
            "lengths": self._lengths.tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Restore a `state_dict`; returns the observation of that moment."""
        self._returns = np.array(state["returns"])
        self._lengths = np.array(state["lengths"])
        env = self._owner("load_state_dict")
        return self._observed(env.load_state_dict(state["env"]))  # type: ignore[attr-defined]

    def _owner(self, name: str) -> VectorEnv:
        """The outermost environment, or below its wrappers the innermost, that has a name."""
        wrapper = self.vector_env
        while isinstance(wrapper, VectorWrapper) and name not in {
            *dir(type(wrapper)),
            *vars(wrapper),
        }:
            wrapper = wrapper.env
        return wrapper

    def _observed(self, observation: dict[str, Any]) -> dict[str, Any]:
        """The environment's observation, with what stays on the device."""
        for name in self._on_device:
            self._on_device[name] = getattr(self.proposer, name)[self.base.proposing_rows]
        return {**observation, **self._on_device}

    def _episode(self, i: int, info: dict[str, Any]) -> dict[str, float]:
        episode = {
            "r": round(float(self._returns[i]), 6),
            "l": int(self._lengths[i]),
            "t": round(time.time() - self._start_time, 6),
        }
        return {**episode, "auc": float(info["auc"])} if "auc" in info else episode


def _make(env: str | VectorEnv, num_envs: int | None, kwargs: dict[str, Any]) -> VectorEnv:
    if isinstance(env, str):
        return gym.make_vec(
            env,
            num_envs=1 if num_envs is None else num_envs,
            vectorization_mode="vector_entry_point",
            autoreset_mode=AutoresetMode.SAME_STEP,
            **kwargs,
        )
    if not isinstance(getattr(env, "unwrapped", None), TrackingVectorEnv):
        raise ConfigError(
            f"{env!r} is no TrackingVectorEnv; give an id such as 'RELO-Synthetic-v0', or what "
            "gym.make_vec(id, num_envs, autoreset_mode=AutoresetMode.SAME_STEP) makes of it."
        )
    if kwargs or num_envs not in (None, env.num_envs):
        raise ConfigError(
            f"Got an environment of {env.num_envs} rows and num_envs={num_envs}, {kwargs}; "
            "arguments belong to the environment's own constructor."
        )
    mode = env.metadata.get("autoreset_mode")
    if mode is not AutoresetMode.SAME_STEP:
        raise ConfigError(
            f"The environment's autoreset mode is {mode}; SB3 resets within the step: make it "
            "with autoreset_mode=AutoresetMode.SAME_STEP."
        )
    return env


def _step_wrapped(env: VectorEnv, actions: np.ndarray) -> StepRows:
    """A step of an environment in Gymnasium's wrappers, which know its batched infos only."""
    observation, rewards, terminated, truncated, batched = env.step(actions)
    rows, ended = range(env.num_envs), np.flatnonzero(terminated).tolist()
    if truncated.any():
        raise ConfigError(
            f"A wrapper truncated the episodes of rows {np.flatnonzero(truncated).tolist()}, whose "
            "AUC is paid at their last frame. Choose clip_length instead of a step limit."
        )
    infos = _by_row(batched, rows)
    return StepRows(
        observation=observation,
        rewards=np.asarray(rewards, dtype=np.float64),
        terminated=terminated,
        infos=infos | (_by_row(batched["final_info"], ended) if ended else {}),
        reset_infos={row: infos[row] for row in ended},
        final_observations={row: batched["final_obs"][row] for row in ended},
    )


def _by_row(batched: dict[str, Any], rows: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Rows' infos out of Gymnasium's batched ones, whose ``_key`` says which rows have it."""
    names = [name for name in batched if not name.startswith(("_", "final_"))]
    return {
        row: {n: batched[n][row] for n in names if f"_{n}" not in batched or batched[f"_{n}"][row]}
        for row in rows
    }
