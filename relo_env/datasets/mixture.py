"""Several data sets as one."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import replace
from pathlib import Path

import numpy as np

from relo_env.datasets.base import Dataset, Sequence
from relo_env.datasets.registry import find_dataset, make_dataset
from relo_env.errors import ConfigError


class Mixture(Dataset):
    """Several data sets, each drawn from with its own weight.

    Sequences are called ``<data set>/<name>``.

    Args:
        parts: names between commas, such as ``"lasot,got10k,trackingnet,coco"``, or data sets.
        weights: how often each part is drawn from, relative to the others; equal by default. The
            sequences of one part are equally likely.
        root: folder that holds the parts' folders, by default ``$RELO_DATA``.
        split: "train", each part's default split; or another name that all parts know.

    Raises:
        ConfigError: an unknown or repeated part, or weights that do not fit.
        DataError: a part's folder is missing.
    """

    name = "Mixture"
    splits = ("train", "val", "test")

    def __init__(
        self,
        parts: str | SequenceOf[Dataset],
        weights: SequenceOf[float] | None = None,
        *,
        root: Path | str | None = None,
        split: str | None = None,
    ) -> None:
        super().__init__(split)
        if isinstance(parts, str):
            parts = [_make_part(name.strip(), root, split) for name in parts.split(",")]
        self._parts = {part.name: part for part in parts}
        if len(self._parts) != len(parts) or not parts:
            raise ConfigError(
                f"Mixture of {[p.name for p in parts]}: expected different data sets."
            )
        chosen = np.ones(len(parts)) if weights is None else np.asarray(weights, dtype=np.float64)
        if chosen.shape != (len(parts),) or not (np.isfinite(chosen) & (chosen >= 0)).all():
            raise ConfigError(f"weights={weights}; expected {len(parts)} numbers, none negative.")
        if not chosen.any():
            raise ConfigError(f"weights={weights}; expected one above 0 at least.")
        self.weights = chosen / chosen.sum()
        self._names = tuple(f"{p.name}/{name}" for p in parts for name in p.names)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all parts' sequences."""
        return self._names

    def load(self, name: str) -> Sequence:
        """Read the annotation of one sequence; see ``Dataset.load``."""
        prefix, _, inner = name.partition("/")
        part = self._parts[prefix]
        return _rename(part.load(inner), part)

    def draw(self, rng: np.random.Generator) -> Sequence:
        """A sequence at random: a part by its weight, then a sequence of it."""
        part = list(self._parts.values())[rng.choice(len(self.weights), p=self.weights)]
        return _rename(part.draw(rng), part)


def _make_part(name: str, root: Path | str | None, split: str | None) -> Dataset:
    spec = find_dataset(name)
    folder = None if root is None or not spec.needs_root else Path(root, spec.folder)
    return make_dataset(name, root=folder, split=None if split == "train" else split)


def _rename(sequence: Sequence, part: Dataset) -> Sequence:
    return replace(sequence, name=f"{part.name}/{sequence.name}")
