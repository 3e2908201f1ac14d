"""N episodes in step, sharing one data set, one proposer and one frame loader.

A step is `act`, `commit`, `observe`. `act` computes the outcome of each row's action and changes
nothing. `commit` applies the outcomes. `observe` cuts the new search crops and runs the proposer on
them, once for all rows; `observation` returns the result. `begin` starts episodes on clips that
`clips` drew. `TrackingEnv` is an engine of one row, `TrackingVectorEnv` of many.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import asdict, replace
from typing import Any

import gymnasium as gym
import numpy as np

from relo_env.clip_source import ClipSource, Draw
from relo_env.clips import ClipSampler
from relo_env.config import CropConfig, EnvConfig, open_dataset
from relo_env.datasets.base import Dataset
from relo_env.datasets.fingerprint import plain
from relo_env.episode import Episode, Outcome
from relo_env.errors import ConfigError
from relo_env.prefetch import FrameLoader
from relo_env.proposers import BoxProposer, check_proposals, check_proposer, make_proposer
from relo_env.spaces import MAX_RENEWAL_AGE, action_space, check_action, observation_space
from relo_env.states import Record, check_state, read_records, reading_state


class Engine:
    """``num_rows`` episodes in step.

    Rows that start from equal seeds share their clip's pixels. In an open loop, where no action
    changes a crop, rows of a group also share the proposals of a proposer that sees crops only.

    Args:
        num_rows: rows N.
        dataset: source of the clips.
        proposer: candidate boxes; it is bound to the rows, not changed.
        config: clips, rewards and actions.
        loader: decodes frames; None decodes in the caller's thread.
        group_size: rows that play the same clips.

    Raises:
        ConfigError: arguments that do not go together.
        DataError: the data set is empty.

    Attributes:
        config, dataset, proposer, crop: configuration, data, bound proposer, sizes of the crops.
        observation_space, action_space: of one row.
        clips: draws the clips, and counts those that could not be read.
        episodes: the episode of each row; None before its first.
        proposing_rows: int ``(N,)``, the row whose proposals each row uses.
        candidates01: ``(N, A, 4)`` candidate boxes, cxcywh01 of each search crop.
    """

    def __init__(
        self,
        num_rows: int,
        *,
        dataset: Dataset,
        proposer: BoxProposer,
        config: EnvConfig,
        loader: FrameLoader | None = None,
        group_size: int = 1,
    ) -> None:
        augment = config.augment
        if augment is None:
            augment = dataset.is_training and config.clip.mode == "clip"
        self.config, self.dataset = replace(config, augment=bool(augment)), dataset
        bound = proposer.bind(num_rows)
        self.proposer = check_proposer(bound, f"{type(proposer).__name__}.bind gives")
        self.crop = self.proposer.crop
        _check_fit(self.config, self.proposer)
        self.num_rows, self.group_size = num_rows, group_size
        self.loader = loader or FrameLoader()
        sampler = ClipSampler(dataset, config.clip, self.crop.num_templates, bool(augment))
        self.clips = ClipSource(sampler, self.loader, self.crop, config.official, num_rows)
        self.observation_space = observation_space(
            self.crop, self.proposer.extra_spaces, config.controls
        )
        self.action_space = action_space(self.config, self.crop)
        self.episodes: list[Episode] = [None] * num_rows  # type: ignore[list-item]
        self._records: list[Record | None] = [None] * num_rows
        self._renewed: list[int] = []  # rows whose new template the proposer has not seen
        shares = config.clip.open_loop and getattr(self.proposer, "crops_only", False)
        group = group_size if shares else 1
        self.proposing_rows = np.arange(num_rows) // group * group
        self.candidates01 = np.zeros((num_rows, self.crop.num_positions, 4))
        self._observed = {
            name: np.zeros((num_rows, *space.shape), space.dtype)  # type: ignore[misc]
            for name, space in self.observation_space.items()
        }

    def begin(self, rows: SequenceOf[int], draws: SequenceOf[Draw]) -> list[dict[str, Any]]:
        """Begin an episode on each row with a clip of `ClipSource.draw`; returns their infos."""
        for row, draw in zip(rows, draws, strict=True):
            self.episodes[row] = Episode(draw.frames, self.config, self.crop)
            self._show_templates(row)
            self._show_controls(row)
            options, length = dict(draw.reset_options), int(self.config.clip.clip_length)
            self._records[row] = Record(draw.seed, options, length)
        proposing = np.unique(self.proposing_rows[list(rows)])
        self.proposer.reset(
            proposing,
            np.stack([self.episodes[row].templates for row in proposing]),
            np.stack([self.episodes[row].template_boxes for row in proposing]),
        )
        return [self.episodes[row].first_info() for row in rows]

    def act(self, rows: SequenceOf[int], actions: SequenceOf[Any]) -> list[Outcome]:
        """Outcome of each row's action. Nothing changes before `commit`, nor if this raises.

        Raises:
            ConfigError: an action is not in the action space, or a reward is not a number.
            FrameError: the frame after this one cannot be decoded.
        """
        checked = [check_action(action, self.config, self.crop) for action in actions]
        outcomes = []
        for row, action in zip(rows, checked, strict=True):
            episode, boxes01 = self.episodes[row], self.candidates01[row]
            if self.config.action_mode == "move":
                outcomes.append(episode.move(action))
            elif self.config.action_mode == "box":
                outcomes.append(episode.choose(action, boxes01))
            else:
                outcomes.append(episode.choose(boxes01[action.position], boxes01, action))
        return outcomes

    def commit(
        self, rows: SequenceOf[int], actions: SequenceOf[Any], outcomes: SequenceOf[Outcome]
    ) -> None:
        """Apply the outcomes of `act`, and go to the next frames."""
        for row, action, outcome in zip(rows, actions, outcomes, strict=True):
            record, episode = self._records[row], self.episodes[row]
            assert record is not None
            record.actions.append(np.asarray(action).tolist())
            episode.apply(outcome)
            if outcome.done:
                continue
            self.clips.fetch_next(row, episode.t)
            if self.config.controls:
                self._show_controls(row)
            if outcome.choice is not None and outcome.choice.renew:
                self._show_templates(row)
                self._renewed.append(row)

    def observe(self, rows: SequenceOf[int]) -> None:
        """Cut the search crops of ``rows`` and run the proposer on them, once for all of them."""
        if not len(rows):
            return
        searches = self._observed["search"]

        def cut(row: int) -> None:
            episode = self.episodes[row]
            episode.frames.cut(episode.t, episode.window, searches[row])

        self.loader.spread(cut, list(rows))
        if self._renewed:
            self._pass_on_renewals()
        if self.config.action_mode == "move":
            return
        proposing, source = np.unique(self.proposing_rows[list(rows)], return_inverse=True)
        boxes01 = np.stack([self.episodes[row].boxes01 for row in proposing])
        proposals = self.proposer.propose(
            proposing, searches[proposing], boxes01[:, 0], boxes01[:, 1]
        )
        check_proposals(proposals, self.proposer, len(proposing))
        self.candidates01[rows] = proposals.boxes[source]
        for name, values in proposals.extras.items():
            self._observed[name][rows] = values[source]

    def observation(self, copy: bool = True) -> dict[str, np.ndarray]:
        """Observation of all rows; without ``copy`` in the arrays that the next step writes to."""
        return {n: values.copy() if copy else values for n, values in self._observed.items()}

    def observation_of(self, row: int) -> dict[str, np.ndarray]:
        """Observation of one row, in fresh arrays."""
        return {name: values[row].copy() for name, values in self._observed.items()}

    def episode(self, row: int) -> Episode:
        """Episode of a row; ResetNeeded if none began."""
        if self._records[row] is None:
            raise gym.error.ResetNeeded("No episode began yet; call reset() first.")
        return self.episodes[row]

    def candidates(self, row: int) -> np.ndarray:
        """Candidate boxes ``(A, 4)`` of a row's current frame, xywh pixels, not clipped."""
        return self.episode(row).window.to_image(self.candidates01[row])

    def candidate_ious(self, row: int) -> np.ndarray:
        """IoU ``(A,)`` of a row's candidates with the target; 0 where it is absent."""
        return self.episode(row).true_overlaps(self.candidates01[row])

    def set_clip_length(self, length: int) -> None:
        """Set the search frames of clips that begin later; running episodes keep theirs."""
        clip = replace(self.config.clip, clip_length=length)
        self.config = replace(self.config, clip=clip)
        self.clips.set_clip_config(clip)

    def state(self) -> dict[str, Any]:
        """State of all rows as plain JSON, for `restore`."""
        return {
            "fingerprint": self.dataset.fingerprint,
            "settings": self._settings(),
            "clip_length": int(self.config.clip.clip_length),
            "rows": [None if record is None else asdict(record) for record in self._records],
        }

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Check that a `state` fits this engine; see `relo_env.states.check_state`."""
        check_state(state, self._settings(), self.dataset)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Replay the episodes of a checked `state`, frame by frame, up to where they were.

        Raises:
            ConfigError: it is malformed.
        """
        with reading_state():
            clip_length = state.get("clip_length", self.config.clip.clip_length)
            records = read_records(state["rows"], self.num_rows, clip_length)
        self._records = [None] * self.num_rows
        alike: dict[str, list[int]] = {}  # rows whose clips are drawn in one call
        for row, record in records.items():
            alike.setdefault(str((record.clip_length, record.reset_options)), []).append(row)
        for rows in alike.values():
            first = records[rows[0]]
            self.set_clip_length(first.clip_length)
            seeds = [records[row].seed for row in rows]
            self.begin(rows, self.clips.draw(rows, seeds, first.reset_options))
        self.set_clip_length(clip_length)
        self.observe(list(records))
        self._replay({row: record.actions for row, record in records.items()})

    def _replay(self, actions: Mapping[int, SequenceOf[Any]]) -> None:
        for step in range(max(map(len, actions.values()), default=0)):
            rows = [row for row, taken in actions.items() if step < len(taken)]
            if any(self.episodes[row].is_over for row in rows):
                raise ConfigError("The state is malformed: it has more actions than frames.")
            chosen = [actions[row][step] for row in rows]
            outcomes = self.act(rows, chosen)
            self.commit(rows, chosen, outcomes)
            self.observe([r for r, out in zip(rows, outcomes, strict=True) if not out.done])

    def _show_templates(self, row: int) -> None:
        seen, episode = self._observed, self.episodes[row]
        seen["template"][row] = episode.templates.reshape(seen["template"].shape[1:])
        seen["template_box"][row] = episode.template_boxes.reshape(-1)

    def _show_controls(self, row: int) -> None:
        if "zoom" in self.config.controls:
            self._observed["zoom"][row] = self.episodes[row].zoom
        if "renew" in self.config.controls:
            age = min(self.episodes[row].renewal_age, MAX_RENEWAL_AGE)
            self._observed["renewal_age"][row] = age

    def _pass_on_renewals(self) -> None:
        rows, self._renewed = self._renewed, []
        self.proposer.renew(  # type: ignore[attr-defined]
            np.asarray(rows),
            np.stack([self.episodes[row].templates[-1] for row in rows]),
            np.stack([self.episodes[row].template_boxes[-1] for row in rows]),
        )

    def _settings(self) -> dict[str, Any]:
        """Settings that change episodes, as plain JSON."""
        config, clip = self.config, self.config.clip
        flat = {**vars(self.crop), **vars(clip), **vars(config), **vars(config.reward)}
        flat |= {"frame_sampling": clip.sampling, "proposer": type(self.proposer)}
        flat |= {"num_rows": self.num_rows, "group_size": self.group_size}
        ignored = ("clip", "clip_length", "candidate_info")
        return {name: plain(value) for name, value in flat.items() if name not in ignored}


def make_engine(num_rows: int, arguments: Mapping[str, Any], **own: Any) -> Engine:
    """Engine from an environment's keyword arguments.

    Args:
        num_rows: rows N.
        arguments: arguments of `TrackingEnv` by name, with ``dataset_options``; others are ignored.
        **own: further arguments of `Engine`.
    """
    config = EnvConfig.from_arguments(arguments)
    dataset, options = arguments["dataset"], arguments["dataset_options"]
    crop = {name: arguments[name] for name in vars(CropConfig())}
    return Engine(
        num_rows,
        dataset=open_dataset(dataset, arguments["root"], arguments["split"], options),
        proposer=make_proposer(arguments["proposer"], arguments["proposer_kwargs"], **crop),
        config=config,
        **own,
    )


def _check_fit(config: EnvConfig, proposer: BoxProposer) -> None:
    """Check that a proposer can serve the action mode and the controls."""
    if config.action_mode == "move" and proposer.extra_spaces:
        raise ConfigError(
            'action_mode="move" looks at a frame many times, which a proposer that adds '
            f"{sorted(proposer.extra_spaces)} to the observation cannot follow. "
            'Use proposer="previous-size".'
        )
    if "renew" in config.controls and not callable(getattr(proposer, "renew", None)):
        raise ConfigError(
            f'controls=("renew",) needs a proposer with renew(rows, templates, boxes), which '
            f"{type(proposer).__name__} lacks (relo_env.proposers.BoxProposer)."
        )
    if "renew" in config.controls and proposer.crop.num_templates < 2:
        raise ConfigError(
            'controls=("renew",) replaces the last template and keeps the first; num_templates is '
            f"{proposer.crop.num_templates}. Make the proposer with 2 or more."
        )
