"""Many tracking episodes in one process, stepping together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from relo_env import rendering
from relo_env.checks import PositiveInt, check
from relo_env.clip_source import Draw
from relo_env.config import RewardFunction
from relo_env.datasets.base import Dataset
from relo_env.engine import Engine, make_engine
from relo_env.env import (
    PublicAttributes,
    TrackingEnv,
    check_options,
    draw_episode_seed,
    peek_episode_seeds,
)
from relo_env.errors import ConfigError
from relo_env.prefetch import DEFAULT_CACHE_BYTES, FrameLoader
from relo_env.proposers import BoxProposer
from relo_env.states import read_generator, reading_state

OF_EACH_ROW: Mapping[str, Callable[[Engine, int], Any]] = {
    "episode": Engine.episode,
    "frame": lambda engine, row: engine.episode(row).frame,
    "window": lambda engine, row: engine.episode(row).window,
    "candidates": Engine.candidates,
    "candidate_ious": Engine.candidate_ious,
}
"""Attributes of `TrackingEnv` that differ from row to row."""


class StepRows(NamedTuple):
    """Result of a step, row by row.

    Attributes:
        observation: of all rows.
        rewards: float64 ``(N,)``.
        terminated: bool ``(N,)``, rows whose episode ended.
        infos: of the frame acted on, by row.
        reset_infos: of the episodes that began in this step, by row.
        final_observations: last observations of the rows that ended, in ``SAME_STEP``.
    """

    observation: dict[str, np.ndarray]
    rewards: np.ndarray
    terminated: np.ndarray
    infos: dict[int, dict[str, Any]]
    reset_infos: dict[int, dict[str, Any]]
    final_observations: dict[int, dict[str, np.ndarray]]


class TrackingVectorEnv(PublicAttributes, VectorEnv[dict[str, np.ndarray], Any, np.ndarray]):
    """`TrackingEnv` for ``num_envs`` rows at once: one decoder, one proposer call a step.

    Rows of a group always see the same clips: row ``i`` is seeded ``seed + i // G``.
    With ``group_size=1`` it equals Gymnasium's ``SyncVectorEnv`` of `TrackingEnv`.

    Args:
        num_envs: rows; a multiple of ``group_size``.
        dataset: name of a data set, or an instance.
        group_size: rows G that play the same clips.
        autoreset_mode: Gymnasium's ``NEXT_STEP``, ``SAME_STEP`` or ``DISABLED``.
        num_threads: decoding threads, and as many that cut crops; None: one a core, at most 16; 0
            decodes between the steps.
        cache_bytes: bound on the decoded frames in memory. All rows' clips, ``num_envs * (K + T)``
            frames, should fit; frames that do not are decoded twice.
        copy: return fresh observations; False: the same arrays, overwritten by the next step.
        render_mode: ``"rgb_array"`` or None.
        root, split, mode, ...: see `TrackingEnv`.
        **dataset_options: keyword arguments of the data set.

    Raises:
        ConfigError: an argument, or a combination of them, is not possible.
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
        root: str | Path | None = None,
        split: str | None = None,
        mode: Literal["clip", "sequence"] = "clip",
        clip_length: int = 8,
        search_window: Literal["tracked", "jittered"] = "tracked",
        frame_sampling: Literal["consecutive", "ordered", "causal"] | None = None,
        max_stride: int = 4,
        max_interval: int = 400,
        jitter: float = 1.0,
        num_templates: int | None = None,
        template_size: int | None = None,
        template_factor: float | None = None,
        search_size: int | None = None,
        search_factor: float | None = None,
        stride: int | None = None,
        proposer: str | BoxProposer = "previous-size",
        proposer_kwargs: Mapping[str, Any] | None = None,
        action_mode: Literal["grid", "box", "move"] = "grid",
        max_moves: int = 20,
        reward: str | RewardFunction = "iou+auc",
        iou_weight: float = 1.0,
        auc_weight: float = 1.0,
        augment: bool | None = None,
        candidate_info: bool = False,
        official: bool = False,
        controls: Sequence[str] = (),
        **dataset_options: Any,
    ) -> None:
        arguments = dict(locals())  # those of the signature, by name
        check_options(dataset_options)
        _check_rows(num_envs, group_size, action_mode)
        self.autoreset_mode = _mode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        check("render_mode", render_mode, Literal["rgb_array"] | None)
        self.render_mode = render_mode
        self.num_envs, self.group_size, self.copy = int(num_envs), int(group_size), copy
        loader = FrameLoader(num_threads, cache_bytes)
        self.engine = make_engine(
            self.num_envs, arguments, loader=loader, group_size=self.group_size
        )
        self.single_observation_space = self.engine.observation_space
        self.single_action_space = self.engine.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._rngs: list[np.random.Generator] = [None] * self.num_envs  # type: ignore[list-item]
        self._done = np.ones(self.num_envs, dtype=bool)

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin episodes on all rows, or on those of ``options["reset_mask"]``.

        Args:
            seed: seed of the first group, one more for each further group; or a seed for each row.
            options: ``sequence`` and ``start`` of the next clip of all rows that are reset.
        """
        observation, infos = self.reset_rows(seed=seed, options=options)
        return observation, self._batched(infos)

    def step(
        self, actions: Any
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Act on every row's frame; rows whose episode is over follow the autoreset mode.

        Errors are those of `TrackingEnv.step`; `step_rows` says what they leave behind.
        """
        step = self.step_rows(actions)
        info = self._batched({**step.infos, **step.reset_infos})
        if step.final_observations:
            observations = np.full(self.num_envs, None, dtype=object)
            for row, observation in step.final_observations.items():
                observations[row] = observation
            info |= {
                "final_obs": observations,
                "_final_obs": step.terminated.copy(),
                "final_info": self._batched({n: step.infos[n] for n in step.final_observations}),
                "_final_info": step.terminated.copy(),
            }
        truncated = np.zeros_like(step.terminated)
        return step.observation, step.rewards, step.terminated, truncated, info

    def reset_rows(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[dict[str, np.ndarray], dict[int, dict[str, Any]]]:
        """`reset` with the info of each row that was reset, as the engine gives it."""
        self._require_open()
        check("options", options, Mapping[str, Any] | None)
        reset_options = dict(options or {})
        rows = self._rows_to_reset(reset_options.pop("reset_mask", None))
        rngs = self._seeded(rows, seed)
        draws = self._draw(rows, rngs, reset_options)
        super().reset(seed=int(seed) if isinstance(seed, int | np.integer) else None)
        self._rngs = rngs
        infos = self._begin_and_observe(rows, draws)
        return self.engine.observation(self.copy), infos

    def step_rows(self, actions: Any) -> StepRows:
        """`step` with the infos of each row, as the engine gives them.

        An error leaves all rows as they were, unless the proposer raises it: then all need a reset.
        """
        self._require_open()
        live, stale = np.flatnonzero(~self._done).tolist(), np.flatnonzero(self._done).tolist()
        self._require_ready(actions, stale)
        taken = [actions[row] for row in live]
        outcomes = self.engine.act(live, taken)
        by_row = dict(zip(live, outcomes, strict=True))
        ended = [row for row, outcome in by_row.items() if outcome.done]
        same_step = self.autoreset_mode is AutoresetMode.SAME_STEP
        begun = ended if same_step else stale
        draws = self._draw(begun, self._rngs, {}) if begun else []
        # Nothing has changed before this line.
        self.engine.commit(live, taken, outcomes)
        self._done[ended] = True
        final = {row: self.engine.observation_of(row) for row in ended} if same_step else {}
        moved = [row for row in live if not by_row[row].done]
        reset_infos = self._begin_and_observe(begun, draws, moved)
        rewards, terminated = np.zeros(self.num_envs), np.zeros(self.num_envs, dtype=bool)
        rewards[live] = [outcome.reward for outcome in outcomes]
        terminated[ended] = True
        return StepRows(
            observation=self.engine.observation(self.copy),
            rewards=rewards,
            terminated=terminated,
            infos={row: outcome.info for row, outcome in by_row.items()},
            reset_infos=reset_infos,
            final_observations=final,
        )

    @property
    def proposing_rows(self) -> np.ndarray:
        """Int ``(N,)``, the row whose proposals each row uses; its own, or its group's first."""
        return self.engine.proposing_rows

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """An attribute, once for each row, as Gymnasium's vector environments give it.

        ``episode``, ``frame``, ``window``, ``candidates`` and ``candidate_ious`` are each row's
        own, see `TrackingEnv`; rows share all others.
        """
        rows = range(self.num_envs)
        if name in OF_EACH_ROW:
            return tuple(OF_EACH_ROW[name](self.engine, row) for row in rows)
        return (getattr(self, name),) * self.num_envs

    def state_dict(self) -> dict[str, Any]:
        """State of all rows as plain JSON, for `load_state_dict`."""
        self._rngs = self._seeded(range(self.num_envs), None)
        return {
            **self.engine.state(),
            "rngs": [rng.bit_generator.state for rng in self._rngs],
            "done": self._done.tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> dict[str, np.ndarray]:
        """Restore a `state_dict`; returns the observation of that moment.

        Raises:
            ConfigError: the state belongs to another environment or to other data, or is malformed.
        """
        self.engine.check_state(state)
        with reading_state():
            rngs = [read_generator(entry) for entry in state["rngs"]]
            done = np.array(state["done"], dtype=bool)
            if not len(rngs) == len(done) == self.num_envs:
                raise ValueError(f"{len(rngs)} rngs and {len(done)} done for {self.num_envs} rows")
        self._done = np.ones_like(done)  # until all of it is restored
        self.engine.restore(state)
        self._rngs, self._done = rngs, done
        return self.engine.observation(self.copy)

    def render(self) -> tuple[np.ndarray, ...] | None:
        """One picture for each row, see `TrackingEnv.render`; None without a render mode."""
        if self.render_mode is None:
            return None
        episodes = [self.engine.episode(row) for row in range(self.num_envs)]
        return tuple(rendering.draw(**episode.shown()) for episode in episodes)

    def close_extras(self, **kwargs: Any) -> None:
        """Stop the decoding threads."""
        self.engine.loader.close()

    def __del__(self) -> None:
        """Do nothing: Gymnasium 1.2 would close the threads that a pickled copy still uses."""

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

    def _seeded(self, rows: Iterable[int], seed: Any) -> list[np.random.Generator]:
        """The rows' generators, with new ones for rows that `reset` seeds or that have none."""
        listed = isinstance(seed, Iterable) and not isinstance(seed, str)
        given = list(seed) if listed else [seed] * self.num_envs
        if len(given) != self.num_envs:
            raise ConfigError(f"{len(given)} seeds for {self.num_envs} rows; expected as many.")
        for number in given:
            check("seed", number, int | None)
        groups = [0 if listed else row // self.group_size for row in range(self.num_envs)]
        seeds = [None if n is None else int(n) + g for n, g in zip(given, groups, strict=True)]
        rngs = list(self._rngs)
        entropy: dict[int, int] = {}  # an unseeded group still shares one seed
        for row in rows:
            if seeds[row] is not None or rngs[row] is None:
                group = row // self.group_size
                shared = seeds[row] if seeds[row] is not None else entropy.get(group)
                rngs[row], entropy[group] = seeding.np_random(shared)
        return rngs

    def _draw(
        self, rows: list[int], rngs: list[np.random.Generator], reset_options: dict[str, Any]
    ) -> list[Draw]:
        """Clips of the rows' next seeds; `_begin_and_observe` advances the generators."""
        seeds = [peek_episode_seeds(rngs[row], 2) for row in rows]
        following = [after for _, after in seeds]
        return self.engine.clips.draw(rows, [first for first, _ in seeds], reset_options, following)

    def _begin_and_observe(
        self, begun: list[int], draws: list[Draw], moved: Iterable[int] = ()
    ) -> dict[int, dict[str, Any]]:
        """Begin episodes on drawn clips; observe their rows and those that moved on."""
        done, self._done = self._done, np.ones_like(self._done)  # until the proposer has answered
        for row in begun:
            draw_episode_seed(self._rngs[row])
        infos = self.engine.begin(begun, draws) if begun else []
        self.engine.observe(sorted([*begun, *moved]))
        done[begun] = False
        self._done = done
        return dict(zip(begun, infos, strict=True))

    def _batched(self, infos: dict[int, dict[str, Any]]) -> dict[str, Any]:
        """Infos of some rows in Gymnasium's form; ``ious`` differ in length, so are objects."""
        batched: dict[str, Any] = {}
        ious = np.full(self.num_envs, None, dtype=object)
        for row, info in infos.items():
            others = {name: value for name, value in info.items() if name != "ious"}
            batched = self._add_info(batched, others, row)
            ious[row] = info.get("ious")
        ended = np.array([value is not None for value in ious])
        return batched | ({"ious": ious, "_ious": ended} if ended.any() else {})

    def _require_open(self) -> None:
        if self.closed:
            raise gym.error.ClosedEnvironmentError("The environment is closed; make a new one.")

    def _require_ready(self, actions: Any, stale: list[int]) -> None:
        """Require an action for each row, and an episode that runs or begins with this step."""
        listed = np.iterable(actions)  # None and numbers are not
        if not listed or len(actions) != self.num_envs:
            raise ConfigError(
                f"Actions {actions!r} for {self.num_envs} rows; expected as many, one for each."
            )
        if stale and self.autoreset_mode is not AutoresetMode.NEXT_STEP:
            raise gym.error.ResetNeeded(
                f"Rows {stale} have no episode; call reset() first"
                " (with options={'reset_mask': ...} to reset these alone)."
            )
        if any(self._rngs[row] is None for row in stale):
            raise gym.error.ResetNeeded("No episode began yet; call reset() first.")


def _mode(mode: AutoresetMode | str) -> AutoresetMode:
    try:
        return AutoresetMode(mode)
    except ValueError:
        known = [mode.value for mode in AutoresetMode]
        raise ConfigError(f"autoreset_mode is {mode!r}; expected one of {known}.") from None


def _check_rows(num_envs: int, group_size: int, action_mode: str) -> None:
    check("num_envs", num_envs, PositiveInt)
    check("group_size", group_size, PositiveInt)
    if num_envs % group_size:
        raise ConfigError(
            f"num_envs is {num_envs}; expected a multiple of group_size={group_size}."
        )
    if group_size > 1 and action_mode == "move":
        raise ConfigError(
            'group_size > 1 keeps rows in step, which action_mode="move" cannot: a frame takes '
            "each row as many moves as it likes. Drop one of the two."
        )
