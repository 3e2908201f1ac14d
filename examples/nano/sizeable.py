"""A data set without its smallest targets."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import replace

import numpy as np

from relo_env.datasets.base import Dataset, Sequence
from relo_env.errors import DataError


class Sizeable(Dataset):
    """A data set without targets that are too small to show anything.

    Frames whose target is smaller count as absent; sequences with few others are left out.

    Args:
        dataset: the data set to filter; all its annotations are read at once.
        least: [px] smallest sqrt(width * height) that is kept.
        frames: fewest frames left in a sequence.

    Raises:
        DataError: no sequence is left.
    """

    name = "Sizeable"
    splits = ("train",)

    def __init__(self, dataset: Dataset, *, least: float, frames: int = 30) -> None:
        super().__init__()
        filtered = (_without_small(sequence, least) for sequence in dataset)
        self._sequences = {s.name: s for s in filtered if s and s.visible.sum() >= frames}
        if not self._sequences:
            raise DataError(f"{dataset.name}: no sequence has {frames} targets of {least} px.")

    @property
    def names(self) -> SequenceOf[str]:
        """Names of the sequences that are left."""
        return tuple(self._sequences)

    def load(self, name: str) -> Sequence:
        """One of them."""
        return self._sequences[name]


def _without_small(sequence: Sequence, least: float) -> Sequence | None:
    large = sequence.visible & (sequence.boxes[:, 2:].prod(1) >= least**2)
    if not large.any():
        return None
    boxes = np.where(large[:, None], sequence.boxes, 0.0)
    return replace(sequence, boxes=boxes, visible=large)
