"""What a study is: a table at some scale, its runs, and where their files lie."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from agents.ablations.playing import HeldBack
from agents.ablations.tables import TABLES, Row, Table, WarmStart
from agents.training import PolicyConfig
from relo_env.checks import PositiveInt, check_fields
from relo_env.errors import CheckpointError, ConfigError, nearest, unknown

STUDY, RESULT = "study.json", "result.json"
CURVE = (0.0, 1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1.0)
"""Where on the way a policy is kept and played, as shares of its training."""


@dataclass(frozen=True)
class Study:
    """What is run.

    Attributes:
        table: a name of `TABLES`.
        network: the frozen network that policies start from: a preset that ships, or a checkpoint;
            None: one with random weights.
        preset: of that one, and of networks that rows warm up themselves.
        frames: that every policy learns from.
        seeds: runs of every row; more may be added later.
        rows: names of the rows to run; empty: all.
        held_back: clips that everything is judged on.
        warmup_steps: gradient steps of a row's own warm-up.
        backbone: file with a pretrained ViT that those start from; None: random weights.
        half: the frozen network computes features in bfloat16.
        cache_bytes: features that each process may keep.
        device: where networks run.
    """

    table: str
    network: str | None = "nano"
    preset: str = "nano"
    frames: PositiveInt = 2048
    seeds: PositiveInt = 5
    rows: tuple[str, ...] = ()
    held_back: HeldBack = field(default_factory=HeldBack)
    warmup_steps: PositiveInt = 300
    backbone: str | None = None
    half: bool = False
    cache_bytes: int = 2**30
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_fields(self)
        if self.table not in TABLES:
            raise ConfigError(unknown("table", self.table, TABLES))
        for name in self.rows:
            names = [row.name for row in TABLES[self.table].rows]
            if name not in names:
                advice = nearest(name, names)
                raise ConfigError(f"Table {self.table!r} has no row {name!r}. {advice}")
        for row in self.selected:
            config = row.config(self.frames, 0)
            update = config.num_envs * config.clip_length
            if self.frames % update:
                raise ConfigError(
                    f"frames is {self.frames}; expected a multiple of the {update} frames of an "
                    f"update (row {row.name!r})."
                )

    @property
    def selected(self) -> tuple[Row, ...]:
        """The rows that are run."""
        return tuple(row for row in self.whole.rows if not self.rows or row.name in self.rows)

    @property
    def whole(self) -> Table:
        """The table."""
        return TABLES[self.table]

    def runs(self) -> list[tuple[Row, int]]:
        """Every row with its seeds; a seed's rows follow each other, as they share clips."""
        return [
            (row, seed)
            for seed in range(self.seeds)
            for row in self.selected
            if seed == 0 or row.by_chance
        ]

    def warm_starts(self) -> dict[str, tuple[WarmStart, int]]:
        """The warm-ups that rows need, by their folder."""
        return {
            warm_folder(row.warm, seed): (row.warm, seed)
            for row, seed in self.runs()
            if row.warm is not None and row.warm.settings is not None
        }


def warm_folder(warm: WarmStart, seed: int) -> str:
    """Folder of a warm-up in a study's."""
    return f"warmups/{warm.name}/seed-{seed}"


def run_folder(row: Row, seed: int) -> str:
    """Folder of a run in a study's."""
    return f"runs/{row.name}/seed-{seed}"


def points(config: PolicyConfig) -> tuple[int, ...]:
    """Frames at which a policy is kept: whole updates near `CURVE`'s shares."""
    update = config.num_envs * config.clip_length
    return tuple(sorted({round(share * config.steps / update) * update for share in CURVE}))


def read_result(path: Path) -> dict[str, Any]:
    """A finished run.

    Raises:
        CheckpointError: the file is not one.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        return {**result, "figures": {n: np.array(v) for n, v in result["figures"].items()}}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is not the result of a run: {error}. Remove it to run it again."
        ) from error
