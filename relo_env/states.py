"""States of an engine as plain JSON: records of episodes, checked before they are replayed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Sequence as SequenceOf
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium.utils import seeding

from relo_env.config import check_reset_options
from relo_env.datasets.base import Dataset
from relo_env.datasets.fingerprint import fingerprint_differences
from relo_env.errors import ConfigError


@dataclass
class Record:
    """Record of a row's episode: enough to replay it. Plain JSON values.

    Attributes:
        seed: the episode seed.
        reset_options: ``sequence`` and ``start``, where they were given.
        clip_length: search frames that its clip was drawn with.
        actions: the actions so far.
    """

    seed: int
    reset_options: dict[str, Any]
    clip_length: int
    actions: list[Any] = field(default_factory=list)


def check_state(state: Mapping[str, Any], settings: Mapping[str, Any], dataset: Dataset) -> None:
    """Check that a state belongs to an engine with these settings and this data set.

    Raises:
        ConfigError: it is not, or it is malformed.
    """
    with reading_state():
        found, expected = state.get("settings", {}), dict(settings)
        if "origin" in state:  # version 0.1.0 wrote these few
            names = ("num_rows", "action_mode", "search_window")
            expected = {name: settings[name] for name in names}
            expected |= {"dataset": dataset.name, "split": dataset.split}
            found = state["origin"]
        there = {n: found.get(n) for n, value in expected.items() if found.get(n) != value}
        others = fingerprint_differences(
            state.get("fingerprint", dataset.fingerprint), dataset.fingerprint
        )
    if there:
        here = {name: expected[name] for name in there}
        raise ConfigError(
            f"The state belongs to an environment with {there}; this one has {here}. Make it "
            "as the other was made."
        )
    if others:
        raise ConfigError(
            f"The state belongs to other data: {'; '.join(others)}. Make the data set as the "
            "other was made."
        )


def read_records(rows: SequenceOf[Any], num_rows: int, clip_length: int) -> dict[int, Record]:
    """Records of the rows with an episode; older ones lack ``clip_length``, and get this one."""
    if rows and len(rows) != num_rows:
        raise ValueError(f"{len(rows)} rows instead of {num_rows}")
    records = {}
    for row, record in enumerate(rows):
        if record is not None:
            options = record["pins"] if "pins" in record else record["reset_options"]
            seed, actions = int(record["seed"]), list(record["actions"])
            if seed < 0:
                raise ValueError(f"seed {seed} of row {row}")
            length = record.get("clip_length", clip_length)
            records[row] = Record(seed, check_reset_options(options), length, actions)
    return records


def read_generator(state: Mapping[str, Any]) -> np.random.Generator:
    """Generator in a state of its ``bit_generator``."""
    generator, _ = seeding.np_random(0)
    generator.bit_generator.state = state
    return generator


@contextmanager
def reading_state() -> Iterator[None]:
    """Within, errors of reading a malformed state become a ConfigError."""
    try:
        yield
    except ConfigError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise ConfigError(
            f"The state is malformed ({type(error).__name__}: {error}); expected the value of a "
            "state_dict(), as plain JSON."
        ) from error
