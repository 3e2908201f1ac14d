"""Episodes that step together, sharing one data set, one proposer and one frame loader.

`TrackingEnv` is a batch of one row, `TrackingVectorEnv` one of many; this file is what both mean
by an episode. A call goes: `start` rows, or `act` on them; then `look`, which runs the proposer
once for all rows that have a new frame before them; then `observation`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field, fields
from typing import Any

import gymnasium as gym
import numpy as np

from relo_env.clips import ClipSampler
from relo_env.config import ClipConfig, EnvConfig, RewardConfig
from relo_env.datasets.base import Dataset
from relo_env.datasets.registry import make_dataset
from relo_env.episode import MOVES, Episode, Outcome, check_action, check_box
from relo_env.errors import ConfigError, FrameError, unknown
from relo_env.loading import FrameLoader
from relo_env.proposers import BoxProposer, make_proposer

logger = logging.getLogger(__name__)

MAX_REDRAWS = 20
"""Clips with unreadable frames that are replaced before the environment gives up."""


@dataclass
class _Row:
    """What it takes to run a row's episode again: its seed, its pins, and what was done."""

    seed: int
    pins: Mapping[str, Any]
    actions: list[Any] = field(default_factory=list)


class EpisodeBatch:
    """``num_rows`` episodes in step; see `TrackingEnv` for the keyword arguments.

    Attributes:
        config, dataset, proposer: what the episodes are made of.
        observation_space, action_space: of one row.
        redraws: clips replaced so far because a frame could not be read.
    """

    def __init__(
        self,
        num_rows: int,
        *,
        dataset: str | Dataset,
        root: str | None = None,
        split: str | None = None,
        num_templates: int | None = None,
        template_size: int | None = None,
        template_factor: float | None = None,
        search_size: int | None = None,
        search_factor: float | None = None,
        stride: int | None = None,
        proposer: str | BoxProposer = "previous-size",
        proposer_kwargs: Mapping[str, Any] | None = None,
        loader: FrameLoader | None = None,
        **options: Any,
    ) -> None:
        self.config, dataset_options = _sort_options(options)
        self.dataset = _open_dataset(dataset, root, split, dataset_options)
        self.proposer = make_proposer(
            proposer,
            proposer_kwargs,
            num_templates=num_templates,
            template_size=template_size,
            template_factor=template_factor,
            search_size=search_size,
            search_factor=search_factor,
            stride=stride,
        ).bind(num_rows)
        self.crop = self.proposer.crop
        if self.config.action_mode == "move" and self.proposer.extra_spaces:
            raise ConfigError(
                'action_mode="move" looks at a frame many times, which a proposer that adds '
                f"{sorted(self.proposer.extra_spaces)} to the observation cannot follow. "
                'Use proposer="previous-size".'
            )
        augment = self.config.augment
        if augment is None:
            augment = self.dataset.is_training and self.config.clip.mode == "clip"
        self.sampler = ClipSampler(self.dataset, self.config.clip, self.crop.num_templates, augment)
        self.loader = loader or FrameLoader()
        self.num_rows = num_rows
        self.redraws = 0
        self.observation_space = self._observation_space()
        self.action_space = self._action_space()
        self.episodes: list[Episode] = [None] * num_rows  # type: ignore[list-item]
        self._rows: list[_Row | None] = [None] * num_rows
        positions = self.crop.num_positions
        self.candidates01 = np.zeros((num_rows, positions, 4))
        self._extras = {
            name: np.zeros((num_rows, *space.shape), space.dtype)  # type: ignore[misc]
            for name, space in self.proposer.extra_spaces.items()
        }

    def start(
        self, rows: SequenceOf[int], seeds: SequenceOf[int], pins: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """Begin an episode on each row.

        Args:
            rows: which rows.
            seeds: the episode seed of each.
            pins: ``sequence`` and ``start`` of the clips, or nothing.

        Returns:
            The info of each row.
        """
        _check_pins(pins)
        opened = {}
        for row, seed in zip(rows, seeds, strict=True):
            rng = np.random.default_rng(seed)
            opened[row] = (rng, self._open(rng, pins))  # all rows decode while the first waits
        for row, seed in zip(rows, seeds, strict=True):
            self.episodes[row] = self._begin(*opened[row], pins)
            self._rows[row] = _Row(seed, dict(pins))
        self.proposer.reset(
            np.asarray(rows),
            np.stack([self.episodes[row].templates for row in rows]),
            np.stack([self.episodes[row].template_boxes for row in rows]),
        )
        return [self.episodes[row].first_info() for row in rows]

    def act(self, rows: SequenceOf[int], actions: SequenceOf[Any]) -> list[Outcome]:
        """Act on each row's current frame."""
        checked = [self._checked(action) for action in actions]
        return [self._act(row, action) for row, action in zip(rows, checked, strict=True)]

    def look(self, rows: SequenceOf[int]) -> None:
        """Run the proposer on the new frames of ``rows``, once for all of them."""
        if not len(rows) or self.config.action_mode == "move":
            return
        episodes = [self.episodes[row] for row in rows]
        proposals = self.proposer.propose(
            np.asarray(rows),
            np.stack([episode.crop_image.transpose(2, 0, 1) for episode in episodes]),
            np.stack([episode.previous_box01 for episode in episodes]),
            np.stack([episode.target_box01 for episode in episodes]),
        )
        self.candidates01[rows] = proposals.boxes
        for name, values in proposals.extras.items():
            self._extras[name][rows] = values

    def observation(self) -> dict[str, np.ndarray]:
        """What all rows see, ``(num_rows, ...)`` each, fresh."""
        crop = self.crop
        n, k = self.num_rows, crop.num_templates
        templates = np.empty((n, 3 * k, crop.template_size, crop.template_size), np.uint8)
        boxes = np.empty((n, 4 * k), np.float32)
        searches = np.empty((n, 3, crop.search_size, crop.search_size), np.uint8)
        for row, episode in enumerate(self.episodes):
            templates[row] = episode.templates.reshape(templates.shape[1:])
            boxes[row] = episode.template_boxes.reshape(-1)
            searches[row] = episode.crop_image.transpose(2, 0, 1)
        extras = {name: values.copy() for name, values in self._extras.items()}
        return {"template": templates, "template_box": boxes, "search": searches, **extras}

    def candidates(self, row: int) -> np.ndarray:
        """Candidate boxes ``(A, 4)`` of a row's current frame, xywh pixels, not clipped."""
        return self.episodes[row].window.to_image(self.candidates01[row])

    def state(self) -> list[dict[str, Any]]:
        """What `restore` needs to bring all rows back to where they are."""
        return [
            {"seed": row.seed, "pins": dict(row.pins), "actions": list(row.actions)}
            for row in self._rows
            if row is not None
        ]

    def restore(self, state: SequenceOf[Mapping[str, Any]]) -> None:
        """Run the episodes of a `state` again, frame by frame, up to where they were."""
        for pins in {tuple(sorted(row["pins"].items())) for row in state}:
            rows = [i for i, row in enumerate(state) if tuple(sorted(row["pins"].items())) == pins]
            self.start(rows, [state[row]["seed"] for row in rows], dict(pins))
        self.look(range(self.num_rows))
        for step in range(max(len(row["actions"]) for row in state)):
            rows = [i for i, row in enumerate(state) if step < len(row["actions"])]
            outcomes = self.act(rows, [state[row]["actions"][step] for row in rows])
            self.look(
                [r for r, out in zip(rows, outcomes, strict=True) if out.moved_on and not out.done]
            )

    def _act(self, row: int, action: Any) -> Outcome:
        episode, record = self.episodes[row], self._rows[row]
        assert record is not None
        record.actions.append(action)
        mode = self.config.action_mode
        if mode == "move":
            return episode.move(action)
        candidates = self.candidates01[row]
        return episode.act(candidates[action] if mode == "grid" else action, candidates)

    def _checked(self, action: Any) -> Any:
        if self.config.action_mode == "box":
            return check_box(action)
        return check_action(action, int(self.action_space.n))  # type: ignore[attr-defined]

    def _open(self, rng: np.random.Generator, pins: Mapping[str, Any]) -> Any:
        clip = self.sampler.sample(rng, pins.get("sequence"), pins.get("start"))
        return clip, self.loader.open(clip, whole=self.config.clip.mode == "clip")

    def _begin(self, rng: np.random.Generator, opened: Any, pins: Mapping[str, Any]) -> Episode:
        """The episode of a clip, or of another if one of its frames cannot be read."""
        for attempt in range(MAX_REDRAWS + 1):
            clip, frames = opened if attempt == 0 else self._open(rng, pins)
            try:
                if self.config.clip.mode == "clip":
                    frames.wait()
                return Episode(clip, frames, self.config, self.crop)
            except FrameError as error:
                if self.config.clip.mode == "sequence" or attempt == MAX_REDRAWS:
                    raise
                self.redraws += 1
                logger.warning("Clip %d redrawn: %s", self.redraws, error)
        raise AssertionError("unreachable")

    def _observation_space(self) -> gym.spaces.Dict:
        crop = self.crop
        return gym.spaces.Dict(
            {
                "template": gym.spaces.Box(
                    0,
                    255,
                    (3 * crop.num_templates, crop.template_size, crop.template_size),
                    np.uint8,
                ),
                "template_box": gym.spaces.Box(0.0, 1.0, (4 * crop.num_templates,), np.float32),
                "search": gym.spaces.Box(0, 255, (3, crop.search_size, crop.search_size), np.uint8),
                **self.proposer.extra_spaces,
            }
        )

    def _action_space(self) -> gym.Space:
        if self.config.action_mode == "box":
            return gym.spaces.Box(-1.0, 2.0, (4,), np.float32)
        moves = self.config.action_mode == "move"
        return gym.spaces.Discrete(len(MOVES) if moves else self.crop.num_positions)


def _sort_options(options: dict[str, Any]) -> tuple[EnvConfig, dict[str, Any]]:
    """Flat keyword arguments as an `EnvConfig`, and those left over for the data set."""
    options = dict(options)

    def take(config: type) -> dict[str, Any]:
        return {f.name: options.pop(f.name) for f in fields(config) if f.name in options}

    clip, reward = ClipConfig(**take(ClipConfig)), RewardConfig(**take(RewardConfig))
    rest = [f.name for f in fields(EnvConfig) if f.name not in ("clip", "reward")]
    config = EnvConfig(clip, reward, **{n: options.pop(n) for n in rest if n in options})
    return config, options


def _open_dataset(
    dataset: str | Dataset, root: str | None, split: str | None, options: dict[str, Any]
) -> Dataset:
    if isinstance(dataset, str):
        return make_dataset(dataset, root=root, split=split, **options)
    given = {"root": root, "split": split, **options}
    extra = sorted(name for name, value in given.items() if value is not None)
    if extra:
        raise ConfigError(
            f"{extra} cannot change a data set that is given as an instance "
            f"({type(dataset).__name__}); pass them where it is made."
        )
    return dataset


def _check_pins(pins: Mapping[str, Any]) -> None:
    for name in pins:
        if name not in ("sequence", "start"):
            raise ConfigError(unknown("reset option", name, ("sequence", "start")))
