"""A vectorised tracking environment as a Stable-Baselines3 ``VecEnv``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.vec_env.base_vec_env import (
    VecEnv,
    VecEnvIndices,
    VecEnvObs,
    VecEnvStepReturn,
)

from relo_env.errors import ConfigError


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
        ConfigError: another autoreset mode, or arguments for an environment that exists already.
    """

    def __init__(self, env: str | VectorEnv, num_envs: int | None = None, **kwargs: Any) -> None:
        self.vector_env = _make(env, num_envs, kwargs)
        self._batch = getattr(self.vector_env.unwrapped, "batch", None)
        on_device = getattr(getattr(self._batch, "proposer", None), "device_spaces", {})
        self._on_device: dict[str, torch.Tensor] = dict.fromkeys(on_device, torch.empty(0))
        seen = self.vector_env.single_observation_space
        if on_device:
            seen = gym.spaces.Dict({**seen.spaces, **on_device})  # type: ignore[attr-defined]
        super().__init__(self.vector_env.num_envs, seen, self.vector_env.single_action_space)
        self._start_time = time.time()
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, dtype=np.int64)

    def reset(self) -> VecEnvObs:
        """Start an episode on every row; seeds and options count for this reset only."""
        options = self._options[0] if any(self._options) else None
        observation, infos = self.vector_env.reset(seed=self._seeds[0], options=options)
        self.reset_infos = [_row(infos, i) for i in range(self.num_envs)]
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
        observation, rewards, terminated, truncated, infos = self.vector_env.step(self._actions)
        dones = terminated | truncated
        self._returns += rewards
        self._lengths += 1
        rows = []
        for i, done in enumerate(dones):
            if not done:
                rows.append(_row(infos, i))
                continue
            info = _row(infos["final_info"], i)
            # The last observation is that of the frame acted on, repeated.
            last = {name: values[i] for name, values in self._on_device.items()}
            info["terminal_observation"] = {**infos["final_obs"][i], **last}
            info["TimeLimit.truncated"] = bool(truncated[i] and not terminated[i])
            info["episode"] = self._episode(i, info)
            self.reset_infos[i] = _row(infos, i)
            rows.append(info)
        self._returns[dones], self._lengths[dones] = 0, 0
        return self._observed(observation), rewards.astype(np.float32), dones, rows

    def close(self) -> None:
        """Close the environment."""
        self.vector_env.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """A frame of every row."""
        return list(self.vector_env.render() or [None] * self.num_envs)  # type: ignore[arg-type]

    def has_attr(self, attr_name: str) -> bool:
        """Whether the environment has this attribute."""
        return hasattr(self._owner(attr_name), attr_name)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The environment's attribute, once for each row asked for."""
        value = getattr(self._owner(attr_name), attr_name)
        return [value] * len(list(self._get_indices(indices)))

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
        """Never: rows are not environments of their own."""
        return [False] * len(list(self._get_indices(indices)))

    def state_dict(self) -> dict[str, Any]:
        """Everything that ``load_state_dict`` needs to make a resumed run the same run."""
        return {
            "env": self._owner("state_dict").state_dict(),  # type: ignore[attr-defined]
            "returns": self._returns.tolist(),
            "lengths": self._lengths.tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Go on where ``state_dict`` was taken; returns what the environment's own returns."""
        self._returns = np.array(state["returns"])
        self._lengths = np.array(state["lengths"])
        env = self._owner("load_state_dict")
        return self._observed(env.load_state_dict(state["env"]))  # type: ignore[attr-defined]

    def _owner(self, name: str) -> VectorEnv:
        """The outermost environment, or below its wrappers the innermost, that has a name."""
        return self.vector_env if hasattr(self.vector_env, name) else self.vector_env.unwrapped

    def _observed(self, observation: dict[str, Any]) -> dict[str, Any]:
        """The environment's observation, with what stays on the device."""
        for name in self._on_device:
            assert self._batch is not None
            values = getattr(self._batch.proposer, name)
            self._on_device[name] = values[self._batch.proposed_rows]
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


def _row(infos: dict[str, Any], i: int) -> dict[str, Any]:
    """One row's info out of Gymnasium's batched ones, whose ``_key`` says which rows have it."""
    return {
        key: value[i]
        for key, value in infos.items()
        if not key.startswith(("_", "final_")) and (f"_{key}" not in infos or infos[f"_{key}"][i])
    }
