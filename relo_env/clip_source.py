"""Clips drawn from episode seeds, decoded ahead of need; unreadable ones are replaced."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import Any

import numpy as np

from relo_env.clips import ClipSampler
from relo_env.config import ClipConfig, CropConfig, check_reset_options
from relo_env.errors import DataError, FrameError
from relo_env.prefetch import LOOKAHEAD, ClipPrefetch, FrameLoader

logger = logging.getLogger(__name__)

MAX_REDRAWS = 20
"""Clips with unreadable frames that are replaced before the environment gives up."""


@dataclass
class Draw:
    """A clip drawn from an episode seed.

    Attributes:
        seed: the episode seed.
        reset_options: ``sequence`` and ``start`` that were asked for, or nothing.
        rng: draws the clip, and another one if that cannot be read.
        frames: the clip's frames.
    """

    seed: int
    reset_options: Mapping[str, Any]
    rng: np.random.Generator
    frames: ClipPrefetch


class ClipSource:
    """Draws clips from episode seeds and has their frames decoded ahead of need.

    Args:
        sampler: draws the clips.
        loader: decodes their frames.
        crop: sizes of the crops.
        official: official crop geometry.
        num_rows: rows of the environment.

    Attributes:
        redraws: clips replaced so far because a frame or an annotation could not be read.
    """

    def __init__(
        self,
        sampler: ClipSampler,
        loader: FrameLoader,
        crop: CropConfig,
        official: bool,
        num_rows: int,
    ) -> None:
        self.sampler, self._loader = sampler, loader
        self._crop, self._official = crop, official
        self._next: list[Draw | None] = [None] * num_rows
        self.redraws = 0

    def draw(
        self,
        rows: SequenceOf[int],
        seeds: SequenceOf[int],
        reset_options: Mapping[str, Any],
        next_seeds: SequenceOf[int] = (),
    ) -> list[Draw]:
        """Draw a clip for each row; rows with equal seeds share one.

        In clip mode all frames are decoded on return, and a clip that cannot be read has been
        replaced. In sequence mode the first frames are.

        Args:
            rows: rows that begin an episode.
            seeds: the episode seed of each.
            reset_options: ``sequence`` and ``start`` of the clips, or nothing.
            next_seeds: probable seed of each row's next episode, without options. These clips are
                decoded ahead, a frame for each frame of the current clip that is settled.

        Raises:
            ConfigError: an unknown option, no such sequence, or no target at ``start``.
            DataError: too many clips cannot be read; in sequence mode, one.
        """
        reset_options = check_reset_options(reset_options)
        draws: dict[int, Draw] = {}
        for row, seed in zip(rows, seeds, strict=True):
            prepared, self._next[row] = self._next[row], None
            if seed not in draws:
                if prepared is None or prepared.seed != seed or reset_options:
                    prepared = self._draw(seed, reset_options)
                prepared.frames.fetch(LOOKAHEAD if self._plays_whole else None)
                draws[seed] = prepared
        self._prepare(rows, next_seeds)
        for draw in draws.values():
            self._make_readable(draw)
        return [draws[seed] for seed in seeds]

    def fetch_next(self, row: int, stop: int) -> None:
        """Have the frames before ``stop`` of the row's next clip decoded, if it is known."""
        draw = self._next[row]
        if draw is not None:
            draw.frames.fetch(stop)

    def wait_for_next(self) -> None:
        """Wait until every frame of the next clips that was fetched has been decoded."""
        for draw in self._next:
            if draw is not None:
                draw.frames.wait()

    def set_clip_config(self, config: ClipConfig) -> None:
        """Draw clips by another configuration from now on."""
        self.sampler.config = config
        self._next = [None] * len(self._next)

    @property
    def _plays_whole(self) -> bool:
        return self.sampler.config.mode == "sequence"

    def _prepare(self, rows: SequenceOf[int], seeds: SequenceOf[int]) -> None:
        if not self._loader.decodes_ahead or self._plays_whole:
            return
        draws: dict[int, Draw] = {}
        for row, seed in zip(rows, seeds, strict=False):
            if seed not in draws:
                try:
                    draws[seed] = self._draw(seed, {})
                except DataError:  # raised again when the episode is started, if it is
                    continue
            self._next[row] = draws[seed]

    def _draw(self, seed: int, reset_options: Mapping[str, Any]) -> Draw:
        rng = np.random.default_rng(seed)
        return Draw(seed, reset_options, rng, self._sample(rng, reset_options))

    def _sample(self, rng: np.random.Generator, reset_options: Mapping[str, Any]) -> ClipPrefetch:
        """A clip whose annotation can be read, its templates being decoded from now on."""
        sequence, start = reset_options.get("sequence"), reset_options.get("start")
        for attempt in range(MAX_REDRAWS + 1):
            try:
                clip = self.sampler.sample(rng, sequence, start)
                break
            except DataError as error:
                self._count_redraw(error, final=attempt == MAX_REDRAWS or sequence is not None)
        frames = ClipPrefetch(clip, self._loader, self._crop, self._official)
        frames.fetch(0)
        return frames

    def _make_readable(self, draw: Draw) -> None:
        """Replace a clip, in clip mode, as long as one of its frames cannot be read."""
        if self._plays_whole:
            draw.frames.frame(0)
            return
        for attempt in range(MAX_REDRAWS + 1):
            try:
                return draw.frames.wait()
            except FrameError as error:
                self._count_redraw(error, final=attempt == MAX_REDRAWS)
            draw.frames = self._sample(draw.rng, draw.reset_options)
            draw.frames.fetch()

    def _count_redraw(self, error: DataError, final: bool) -> None:
        if final or self._plays_whole:
            raise error
        self.redraws += 1
        logger.warning("Clip %d redrawn: %s", self.redraws, error)
