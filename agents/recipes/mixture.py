"""Data sets made of other data sets."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import replace
from typing import Any

import numpy as np

from relo_env.datasets.base import Dataset, Sequence
from relo_env.errors import DataError


class Mixture(Dataset):
    """Training sequences of several data sets, drawn with given probabilities.

    Args:
        parts: each data set and its weight, by a short name that goes before its sequences' names.
    """

    name = "Mixture"
    splits = ("train",)

    def __init__(self, parts: Mapping[str, tuple[Dataset, float]]) -> None:
        super().__init__()
        self._parts = {name: dataset for name, (dataset, _) in parts.items()}
        weights = np.array([weight for _, weight in parts.values()])
        self._probabilities = weights / weights.sum()
        self._names = _Names(self._parts)

    @property
    def names(self) -> SequenceOf[str]:
        """``"<part>/<its name>"``; a lazy sequence, as a part may be endless."""
        return self._names

    def draw(self, rng: np.random.Generator) -> Sequence:
        """A sequence of a part drawn by weight."""
        part = list(self._parts)[rng.choice(len(self._parts), p=self._probabilities)]
        sequence = self._parts[part].draw(rng)
        return replace(sequence, name=f"{part}/{sequence.name}")

    def load(self, name: str) -> Sequence:
        """One of `names`."""
        part, _, own = name.partition("/")
        return replace(self._parts[part][own], name=name)


class _Names(SequenceOf[str]):
    """The names of all parts, one part after the other, without a list."""

    def __init__(self, parts: Mapping[str, Dataset]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts.values())

    def __getitem__(self, index: Any) -> Any:
        for name, part in self._parts.items():
            if index < len(part):
                return f"{name}/{part.names[index]}"
            index -= len(part)
        raise IndexError(index)

    def __contains__(self, name: object) -> bool:
        part, _, own = str(name).partition("/")
        return part in self._parts and own in self._parts[part].names


class Sizeable(Dataset):
    """A data set without targets that are too small to show anything.

    Frames whose target is smaller count as absent; sequences with few others are left out.

    Args:
        dataset: what is filtered; its annotations are all read at once.
        least: [px] smallest sqrt(width * height) that is kept.
        frames: fewest frames left in a sequence.

    Raises:
        DataError: no sequence is left.
    """

    name = "Sizeable"
    splits = ("train",)

    def __init__(self, dataset: Dataset, *, least: float, frames: int = 30) -> None:
        super().__init__()
        filtered = [_without_small(sequence, least) for sequence in dataset]
        kept = [sequence for sequence in filtered if sequence is not None]
        self._sequences = {s.name: s for s in kept if s.visible.sum() >= frames}
        if not self._sequences:
            raise DataError(f"{dataset.name}: no sequence has {frames} targets of {least} px.")

    @property
    def names(self) -> SequenceOf[str]:
        """Names of the sequences that are left."""
        return list(self._sequences)

    def load(self, name: str) -> Sequence:
        """One of them."""
        return self._sequences[name]


def _without_small(sequence: Sequence, least: float) -> Sequence | None:
    large = sequence.visible & (sequence.boxes[:, 2:].prod(1) >= least**2)
    if not large.any():
        return None
    boxes = np.where(large[:, None], sequence.boxes, 0.0)
    return replace(sequence, boxes=boxes, visible=large)
