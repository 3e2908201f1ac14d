"""Episodes that step together, sharing one data set, one proposer and one frame loader.

`TrackingEnv` is a batch of one row, `TrackingVectorEnv` one of many; this file is what both mean
by an episode. A call goes: `start` rows, or `act` on them; then `look`, which runs the proposer
once for all rows that have a new frame before them; then `observation`.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field, fields, replace
from typing import Any

import gymnasium as gym
import numpy as np

from relo_env.checks import check
from relo_env.clips import ClipSampler
from relo_env.config import ClipConfig, CropConfig, EnvConfig, RewardConfig
from relo_env.datasets.base import Dataset
from relo_env.datasets.registry import find_dataset, make_dataset
from relo_env.episode import MOVES, Episode, Outcome, check_action, check_box
from relo_env.errors import ConfigError, DataError, FrameError, unknown
from relo_env.footage import LOOKAHEAD, Footage
from relo_env.loading import FrameLoader
from relo_env.proposers import BoxProposer, check_proposals, check_proposer, make_proposer

logger = logging.getLogger(__name__)

MAX_REDRAWS = 20
"""Clips with unreadable frames that are replaced before the environment gives up."""


@dataclass
class _Row:
    """What it takes to run a row's episode again: its seed, its pins, and what was done."""

    seed: int
    pins: Mapping[str, Any]
    actions: list[Any] = field(default_factory=list)


@dataclass
class _Draw:
    """A clip drawn from an episode seed; ``rng`` draws the next one if it cannot be read."""

    seed: int
    rng: np.random.Generator
    footage: Footage


class EpisodeBatch:
    """``num_rows`` episodes in step; see `TrackingEnv` for the keyword arguments.

    Rows that start from equal seeds share their clip's pixels. In an open loop, where no action
    changes a crop, rows of a group also share what a proposer gives that looks at crops only.

    Attributes:
        config, dataset, proposer: what the episodes are made of.
        observation_space, action_space: of one row.
        redraws: clips replaced so far because a frame could not be read.
        proposed_rows: int ``(num_rows,)``, the row whose proposals each row takes.
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
        group_size: int = 1,
        reduced_decoding: bool = False,
        **options: Any,
    ) -> None:
        self.config, dataset_options = _sort_options(options)
        self.dataset = _open_dataset(dataset, root, split, dataset_options)
        asked = make_proposer(
            proposer,
            proposer_kwargs,
            num_templates=num_templates,
            template_size=template_size,
            template_factor=template_factor,
            search_size=search_size,
            search_factor=search_factor,
            stride=stride,
        )
        self.proposer = check_proposer(asked.bind(num_rows), f"{type(asked).__name__}.bind gives")
        self.crop = self.proposer.crop
        check("reduced_decoding", reduced_decoding, bool)
        if reduced_decoding and self.config.clip.mode == "sequence":
            raise ConfigError(
                'reduced_decoding changes pixels; mode="sequence" is for evaluation and shows them '
                "as they are. Drop one of the two."
            )
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
        self._next: list[_Draw | None] = [None] * num_rows
        self._reduced_decoding = reduced_decoding
        shares = self.config.clip.open_loop and getattr(self.proposer, "crops_only", False)
        self._proposed_group = group_size if shares else 1
        self.proposed_rows = np.arange(num_rows) // self._proposed_group * self._proposed_group
        self.candidates01 = np.zeros((num_rows, self.crop.num_positions, 4))
        self._seen = {
            name: np.zeros((num_rows, *space.shape), space.dtype)  # type: ignore[misc]
            for name, space in self.observation_space.items()
        }

    def start(
        self,
        rows: SequenceOf[int],
        seeds: SequenceOf[int],
        pins: Mapping[str, Any],
        next_seeds: SequenceOf[int] = (),
    ) -> list[dict[str, Any]]:
        """Begin an episode on each row.

        Args:
            rows: which rows.
            seeds: the episode seed of each.
            pins: ``sequence`` and ``start`` of the clips, or nothing.
            next_seeds: what each will probably start from next, unpinned: these clips are decoded
                ahead, a frame coming in for each frame of the current clip that goes out.

        Returns:
            The info of each row.
        """
        _check_pins(pins)
        draws = self._draws(rows, seeds, pins)
        self._prepare(rows, next_seeds)
        for draw in draws.values():
            self._make_readable(draw, pins)
        for row, seed in zip(rows, seeds, strict=True):
            self._begin(row, draws[seed].footage)
            self._rows[row] = _Row(seed, dict(pins))
        proposed, _ = self._proposed(rows)
        self.proposer.reset(
            np.asarray(proposed),
            np.stack([self.episodes[row].templates for row in proposed]),
            np.stack([self.episodes[row].template_boxes for row in proposed]),
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
        proposed, source = self._proposed(rows)
        episodes = [self.episodes[row] for row in proposed]
        proposals = self.proposer.propose(
            np.asarray(proposed),
            self._seen["search"][proposed],
            np.stack([episode.previous_box01 for episode in episodes]),
            np.stack([episode.target_box01 for episode in episodes]),
        )
        proposals = check_proposals(proposals, self.proposer, len(proposed))
        self.candidates01[rows] = proposals.boxes[source]
        for name, values in proposals.extras.items():
            self._seen[name][rows] = values[source]

    def observation(self, copy: bool = True) -> dict[str, np.ndarray]:
        """What all rows see, ``(num_rows, ...)`` each.

        Args:
            copy: return fresh arrays; else those that the next step writes to.
        """
        return {n: values.copy() if copy else values for n, values in self._seen.items()}

    def observation_of(self, row: int) -> dict[str, np.ndarray]:
        """What one row sees, in fresh arrays."""
        return {name: values[row].copy() for name, values in self._seen.items()}

    def candidates(self, row: int) -> np.ndarray:
        """Candidate boxes ``(A, 4)`` of a row's current frame, xywh pixels, not clipped."""
        return self.episode(row).window.to_image(self.candidates01[row])

    def episode(self, row: int) -> Episode:
        """The episode of a row.

        Raises:
            ResetNeeded: none began.
        """
        if self._rows[row] is None:
            raise gym.error.ResetNeeded("No episode began yet; call reset() first.")
        return self.episodes[row]

    def set_clip_length(self, length: int) -> None:
        """Search frames of the clips that begin from now on; those that are played stay as long."""
        clip = replace(self.config.clip, clip_length=length)
        self.config = replace(self.config, clip=clip)
        self.sampler.config = clip
        self._next = [None] * self.num_rows

    @property
    def origin(self) -> dict[str, Any]:
        """What a `state` belongs to; in another environment it would mean other episodes."""
        return {
            "dataset": self.dataset.name,
            "split": self.dataset.split,
            "num_rows": self.num_rows,
            "action_mode": self.config.action_mode,
            "search_window": self.config.clip.search_window,
        }

    def check_origin(self, state: Mapping[str, Any]) -> None:
        """See that a ``state_dict`` is one of an environment like this.

        Raises:
            ConfigError: it is not.
        """
        found = state.get("origin", {})
        differing = [name for name, value in self.origin.items() if found.get(name) != value]
        if differing:
            here = {name: self.origin[name] for name in differing}
            there = {name: found.get(name) for name in differing}
            raise ConfigError(
                f"The state belongs to an environment with {there}; this one has {here}. Make it "
                "as the other was made."
            )

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
            outcome = episode.move(action)
        else:
            candidates = self.candidates01[row]
            outcome = episode.act(candidates[action] if mode == "grid" else action, candidates)
        following = self._next[row]
        if following is not None:
            following.footage.fetch(episode.turn)
        return outcome

    def _proposed(self, rows: SequenceOf[int]) -> tuple[list[int], np.ndarray]:
        """The rows that the proposer sees, and which of these each of ``rows`` takes after."""
        leaders = self.proposed_rows[list(rows)].tolist()
        order = {row: i for i, row in enumerate(dict.fromkeys(leaders))}
        return list(order), np.array([order[row] for row in leaders])

    def _checked(self, action: Any) -> Any:
        if self.config.action_mode == "box":
            return check_box(action)
        return check_action(action, int(self.action_space.n))  # type: ignore[attr-defined]

    def _draws(
        self, rows: SequenceOf[int], seeds: SequenceOf[int], pins: Mapping[str, Any]
    ) -> dict[int, _Draw]:
        """The clips of some seeds, all being decoded; those that were prepared mostly are."""
        draws: dict[int, _Draw] = {}
        for row, seed in zip(rows, seeds, strict=True):
            prepared, self._next[row] = self._next[row], None
            if seed not in draws:
                known = prepared is not None and prepared.seed == seed and not pins
                draws[seed] = prepared if known else self._draw(seed, pins)  # type: ignore[assignment]
                draws[seed].footage.fetch(None if self.config.clip.mode == "clip" else LOOKAHEAD)
        return draws

    def _prepare(self, rows: SequenceOf[int], seeds: SequenceOf[int]) -> None:
        if not self.loader.decodes_ahead or self.config.clip.mode == "sequence":
            return
        draws: dict[int, _Draw] = {}
        for row, seed in zip(rows, seeds, strict=False):
            if seed not in draws:
                try:
                    draws[seed] = self._draw(seed, {})
                except DataError:  # told when the episode is started, if it is
                    continue
            self._next[row] = draws[seed]

    def _draw(self, seed: int, pins: Mapping[str, Any]) -> _Draw:
        rng = np.random.default_rng(seed)
        return _Draw(seed, rng, self._footage(rng, pins))

    def _footage(self, rng: np.random.Generator, pins: Mapping[str, Any]) -> Footage:
        """The pixels of a clip, its templates being decoded from now on."""
        clip = self.sampler.sample(rng, pins.get("sequence"), pins.get("start"))
        official, reduced = self.config.official, self._reduced_decoding
        footage = Footage(clip, self.loader, self.crop, official, reduced)
        footage.fetch(0)
        return footage

    def _make_readable(self, draw: _Draw, pins: Mapping[str, Any]) -> None:
        """Replace a clip, in clip mode, as long as one of its frames cannot be read."""
        if self.config.clip.mode == "sequence":
            return
        for attempt in range(MAX_REDRAWS + 1):
            try:
                return draw.footage.wait()
            except FrameError as error:
                if attempt == MAX_REDRAWS:
                    raise
                self.redraws += 1
                logger.warning("Clip %d redrawn: %s", self.redraws, error)
            draw.footage = self._footage(draw.rng, pins)
            draw.footage.fetch()

    def _begin(self, row: int, footage: Footage) -> None:
        seen = self._seen
        episode = Episode(footage, self.config, self.crop, seen["search"][row])
        seen["template"][row] = episode.templates.reshape(seen["template"].shape[1:])
        seen["template_box"][row] = episode.template_boxes.reshape(-1)
        self.episodes[row] = episode

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
        hint = _meant(find_dataset(dataset).unknown_options(options))
        try:
            return make_dataset(dataset, root=root, split=split, **options)
        except ConfigError as error:
            raise ConfigError(f"{error}{hint}") from None
    given = {"root": root, "split": split, **options}
    extra = sorted(name for name, value in given.items() if value is not None)
    if extra:
        raise ConfigError(
            f"{extra} cannot change a data set that is given as an instance "
            f"({type(dataset).__name__}); pass them where it is made."
        )
    return dataset


def _meant(options: Iterable[str]) -> str:
    """Arguments of the environment that look like those that were taken for the data set's."""
    known = [f.name for c in (EnvConfig, ClipConfig, RewardConfig, CropConfig) for f in fields(c)]
    near = [n for name in options for n in difflib.get_close_matches(name, known, n=1)]
    return f" Did you mean the environment's {' or '.join(map(repr, near))}?" if near else ""


def _check_pins(pins: Mapping[str, Any]) -> None:
    for name in pins:
        if name not in ("sequence", "start"):
            raise ConfigError(unknown("reset option", name, ("sequence", "start")))
    sequence, start = pins.get("sequence"), pins.get("start")
    if not isinstance(sequence, str | None):
        raise ConfigError(
            f"Reset option sequence is {sequence!r}; expected one name, for all rows."
        )
    if not isinstance(start, int | np.integer | None):
        raise ConfigError(f"Reset option start is {start!r}; expected the number of a frame.")
