"""Many tracking episodes in one process, stepping together."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import EzPickle, seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from relo_env import rendering
from relo_env.batch import EpisodeBatch
from relo_env.datasets.base import Dataset
from relo_env.env import TrackingEnv, draw_episode_seed, peek_episode_seed
from relo_env.errors import ConfigError
from relo_env.loading import DEFAULT_CACHE_BYTES, FrameLoader


class TrackingVectorEnv(VectorEnv[dict[str, np.ndarray], Any, np.ndarray], EzPickle):
    """`TrackingEnv` for ``num_envs`` rows at once: one decoder, one proposer call a step.

    Rows that share a group see the same clips for ever: row ``i`` is seeded ``seed + i // G``.
    With ``group_size=1`` it equals Gymnasium's ``SyncVectorEnv`` of `TrackingEnv`.

    Args:
        num_envs: rows; a multiple of ``group_size``.
        dataset: name of a data set, or an instance.
        group_size: rows G that live through the same clips.
        autoreset_mode: Gymnasium's ``NEXT_STEP``, ``SAME_STEP`` or ``DISABLED``.
        num_threads: decoding threads; None: one a core, at most 16; 0 decodes between the steps.
        cache_bytes: bound on the decoded frames in memory. All rows' clips, ``num_envs * (K + T)``
            frames, should fit; frames that do not are decoded twice.
        copy: return fresh observations; False: the same arrays, overwritten by the next step.
        render_mode: ``"rgb_array"`` or None.
        **options: those of `TrackingEnv`.

    Raises:
        ConfigError: an argument, or a combination of them, that cannot be.
        DataError: the data set is missing or malformed.
    """

    metadata = {
        "render_modes": ["rgb_array"],
        "render_fps": TrackingEnv.metadata["render_fps"],
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        dataset: str | Dataset = "Synthetic",
        *,
        group_size: int = 1,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        num_threads: int | None = None,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        copy: bool = True,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        EzPickle.__init__(
            self,
            num_envs,
            dataset,
            group_size=group_size,
            autoreset_mode=autoreset_mode,
            num_threads=num_threads,
            cache_bytes=cache_bytes,
            copy=copy,
            render_mode=render_mode,
            **options,
        )
        _check_rows(num_envs, group_size, options)
        self.autoreset_mode = _mode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.render_mode = rendering.check_mode(render_mode, self.metadata["render_modes"])
        self.num_envs, self.group_size, self.copy = num_envs, group_size, copy
        self.batch = EpisodeBatch(
            num_envs,
            dataset=dataset,
            loader=FrameLoader(_cores() if num_threads is None else num_threads, cache_bytes),
            group_size=group_size,
            **options,
        )
        self.single_observation_space = self.batch.observation_space
        self.single_action_space = self.batch.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._rngs: list[np.random.Generator | None] = [None] * num_envs
        self._done = np.ones(num_envs, dtype=bool)

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin episodes on all rows, or on those of ``options["reset_mask"]``.

        Args:
            seed: of row 0's group, the next group's being one more; or one seed a row.
            options: ``sequence`` and ``start`` pin the next clip of all rows that are reset.
        """
        self._require_open()
        pins = dict(options or {})
        rows = self._rows_to_reset(pins.pop("reset_mask", None))
        super().reset(seed=seed if isinstance(seed, int) else None)
        self._seed_rows(rows, seed)
        infos = self._begin(rows, pins)
        self.batch.look(rows)
        return self.batch.observation(self.copy), self._batched(dict(zip(rows, infos, strict=True)))

    def step(
        self, actions: Any
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Act on every row's frame; rows whose episode is over follow the autoreset mode."""
        self._require_open()
        self._require_actions(actions)
        stale = np.flatnonzero(self._done).tolist()
        if stale and self.autoreset_mode is not AutoresetMode.NEXT_STEP:
            raise gym.error.ResetNeeded(
                f"Rows {stale} have no episode; call reset() first"
                " (with options={'reset_mask': ...} to reset these alone)."
            )
        rewards = np.zeros(self.num_envs)
        infos: dict[int, dict[str, Any]] = {}
        live = np.flatnonzero(~self._done).tolist()
        if stale:
            self._require_begun(stale)
            infos.update(zip(stale, self._begin(stale, {}), strict=True))
        outcomes = self.batch.act(live, [actions[row] for row in live])
        for row, outcome in zip(live, outcomes, strict=True):
            rewards[row], self._done[row], infos[row] = outcome.reward, outcome.done, outcome.info
        fresh = [r for r, out in zip(live, outcomes, strict=True) if out.moved_on and not out.done]
        terminated = self._done.copy()
        final = self._restart_same_step(infos) if terminated.any() else {}
        restarted = np.flatnonzero(terminated & ~self._done).tolist()
        self.batch.look(sorted(stale + fresh + restarted))
        info = self._batched(infos) | final
        return (
            self.batch.observation(self.copy),
            rewards,
            terminated,
            np.zeros_like(terminated),
            info,
        )

    def set_clip_length(self, length: int) -> None:
        """Search frames of the clips that begin from now on; those that are played stay as long."""
        self.batch.set_clip_length(length)

    def state_dict(self) -> dict[str, Any]:
        """The place of all rows in their run, as plain JSON values."""
        self._require_begun(range(self.num_envs))
        return {
            "origin": self.batch.origin,
            "rngs": [rng.bit_generator.state for rng in self._rngs if rng is not None],
            "rows": self.batch.state(),
            "done": self._done.tolist(),
            "clip_length": self.batch.config.clip.clip_length,
        }

    def load_state_dict(self, state: dict[str, Any]) -> dict[str, np.ndarray]:
        """Go to the place of a `state_dict`; returns the observation there.

        Raises:
            ConfigError: the state belongs to another environment.
        """
        self.batch.check_origin(state)
        if state["clip_length"] != self.batch.config.clip.clip_length:
            self.set_clip_length(state["clip_length"])
        self._rngs = []
        for rng_state in state["rngs"]:
            rng, _ = seeding.np_random(0)
            rng.bit_generator.state = rng_state
            self._rngs.append(rng)
        self.batch.restore(state["rows"])
        self._done = np.array(state["done"])
        return self.batch.observation(self.copy)

    def render(self) -> tuple[np.ndarray, ...] | None:
        """One picture a row, see `TrackingEnv.render`."""
        if self.render_mode is None:
            return None
        episodes = [self.batch.episode(row) for row in range(self.num_envs)]
        return tuple(rendering.draw_episode(episode.shown()) for episode in episodes)

    def close_extras(self, **kwargs: Any) -> None:
        """Stop the decoding threads."""
        self.batch.loader.close()

    def __del__(self) -> None:
        """Nothing: Gymnasium 1.2 would close here what a copy made by pickling still uses."""

    def _rows_to_reset(self, mask: np.ndarray | None) -> list[int]:
        if mask is None:
            return list(range(self.num_envs))
        mask = np.asarray(mask)
        if mask.shape != (self.num_envs,) or mask.dtype != bool or not mask.any():
            raise ConfigError(
                f"reset_mask of shape {mask.shape} and type {mask.dtype}; expected "
                f"({self.num_envs},) booleans, at least one of them True."
            )
        groups = mask.reshape(-1, self.group_size)
        if (groups.any(1) != groups.all(1)).any():
            raise ConfigError(
                f"reset_mask takes some rows of a group but not all of its {self.group_size}, "
                "which are to stay in step. Reset whole groups."
            )
        return np.flatnonzero(mask).tolist()

    def _seed_rows(self, rows: list[int], seed: int | list[int | None] | None) -> None:
        if isinstance(seed, Iterable):
            seeds = list(seed)
            if len(seeds) != self.num_envs:
                raise ConfigError(f"{len(seeds)} seeds for {self.num_envs} rows; expected as many.")
        else:
            groups = [row // self.group_size for row in range(self.num_envs)]
            seeds = [None if seed is None else seed + group for group in groups]
        entropy: dict[int, int] = {}  # a group that nobody seeds still shares one seed
        for row in rows:
            if seeds[row] is None and self._rngs[row] is not None:
                continue
            group = row // self.group_size
            shared = seeds[row] if seeds[row] is not None else entropy.get(group)
            self._rngs[row], entropy[group] = seeding.np_random(shared)

    def _begin(self, rows: list[int], pins: dict[str, Any]) -> list[dict[str, Any]]:
        rngs = [rng for row in rows if (rng := self._rngs[row]) is not None]
        seeds = [draw_episode_seed(rng) for rng in rngs]
        following = [peek_episode_seed(rng) for rng in rngs]
        infos = self.batch.start(rows, seeds, pins, following)
        self._done[rows] = False
        return infos

    def _restart_same_step(self, infos: dict[int, dict[str, Any]]) -> dict[str, Any]:
        """In ``SAME_STEP``, reset what ended; returns the info that tells of the endings."""
        if self.autoreset_mode is not AutoresetMode.SAME_STEP:
            return {}
        rows = np.flatnonzero(self._done).tolist()
        final_obs = np.full(self.num_envs, None, dtype=object)
        for row in rows:
            final_obs[row] = self.batch.observation_of(row)
        final_info = self._batched({row: infos[row] for row in rows})
        infos.update(zip(rows, self._begin(rows, {}), strict=True))
        mask = np.zeros(self.num_envs, dtype=bool)
        mask[rows] = True
        return {
            "final_obs": final_obs,
            "_final_obs": mask,
            "final_info": final_info,
            "_final_info": mask.copy(),
        }

    def _batched(self, infos: dict[int, dict[str, Any]]) -> dict[str, Any]:
        """Infos of some rows in Gymnasium's form; ``ious`` differ in length, so are objects."""
        batched: dict[str, Any] = {}
        ious = np.full(self.num_envs, None, dtype=object)
        for row, info in infos.items():
            plain = {name: value for name, value in info.items() if name != "ious"}
            batched = self._add_info(batched, plain, row)
            ious[row] = info.get("ious")
        ended = np.array([value is not None for value in ious])
        return batched | ({"ious": ious, "_ious": ended} if ended.any() else {})

    def _require_begun(self, rows: Iterable[int]) -> None:
        if any(self._rngs[row] is None for row in rows):
            raise gym.error.ResetNeeded("No episode began yet; call reset() first.")

    def _require_open(self) -> None:
        if self.closed:
            raise gym.error.ClosedEnvironmentError("The environment is closed; make a new one.")

    def _require_actions(self, actions: Any) -> None:
        try:
            count = len(actions)
        except TypeError:  # None, or a number
            count = 0
        if count != self.num_envs:
            raise ConfigError(
                f"Actions {actions!r} for {self.num_envs} rows; expected as many, one for each."
            )


def _cores() -> int:
    """Cores that this process may use, at most 16."""
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), 16)
    return min(os.cpu_count() or 1, 16)


def _mode(mode: AutoresetMode | str) -> AutoresetMode:
    try:
        return AutoresetMode(mode)
    except ValueError:
        known = [mode.value for mode in AutoresetMode]
        raise ConfigError(f"autoreset_mode is {mode!r}; expected one of {known}.") from None


def _check_rows(num_envs: int, group_size: int, options: dict[str, Any]) -> None:
    counts = num_envs, group_size
    if not all(isinstance(n, int | np.integer) and n > 0 for n in counts) or num_envs % group_size:
        raise ConfigError(
            f"num_envs={num_envs!r} and group_size={group_size!r}; expected ints > 0, "
            "the first a multiple of the second."
        )
    if group_size > 1 and options.get("action_mode") == "move":
        raise ConfigError(
            'group_size > 1 keeps rows in step, which action_mode="move" cannot: a frame takes '
            "each row as many moves as it likes. Drop one of the two."
        )
