"""Annotations of a data set without its pictures, each read once."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from typing import ClassVar

from relo_env.datasets.base import Dataset, Sequence
from relo_env.errors import ConfigError, DataError


class Truths(Dataset):
    """Boxes and labels of a data set, kept in memory; no frame is read.

    Evaluations of several trackers share one, so that each annotation is parsed once.

    Args:
        dataset: the annotated sequences; its pictures may be missing.
    """

    name = "Truths"
    splits: ClassVar[tuple[str, ...]] = ()

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.name = dataset.name  # type: ignore[misc]
        self.splits = dataset.splits  # type: ignore[misc]
        self.training_splits = dataset.training_splits  # type: ignore[misc]
        self.split = dataset.split
        self._kept: dict[str, Sequence] = {}

    @classmethod
    def of(cls, dataset: Dataset) -> Truths:
        """The data set itself if it is one, else its truths."""
        return dataset if isinstance(dataset, Truths) else cls(dataset)

    @property
    def names(self) -> SequenceOf[str]:
        """Names of the split's sequences, in the benchmark's order."""
        return self.dataset.names

    def load(self, name: str) -> Sequence:
        """Annotation of one sequence; see ``Dataset.annotation``."""
        if name not in self._kept:
            self._kept[name] = self.dataset.annotation(name)
        return self._kept[name]

    def known_size(self, name: str) -> tuple[int, int] | None:
        """Width and height [px] of a sequence's frames; None if there are no pictures."""
        try:
            return self.dataset.frame_size(name)
        except (DataError, ConfigError):
            return None
