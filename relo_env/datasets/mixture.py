"""`Mixture`: several data sets as one."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from relo_env.datasets.base import Dataset, Sequence
from relo_env.datasets.disk import find_folder
from relo_env.datasets.registry import find_dataset, make_dataset
from relo_env.errors import ConfigError


class Mixture(Dataset):
    """Several data sets, drawn with weights.

    Sequences are called ``<part>/<name>``.

    Args:
        parts: names between commas, in any case, such as ``"lasot,got10k,trackingnet,coco"``; or
            data sets; or data sets by the names that go before their sequences'.
        weights: relative frequency at which each part is drawn from; equal by default. The
            sequences of one part are drawn as it draws them.
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
        parts: str | SequenceOf[str | Dataset] | Mapping[str, Dataset],
        weights: SequenceOf[float] | None = None,
        *,
        root: Path | str | None = None,
        split: str | None = None,
    ) -> None:
        super().__init__(split)
        if not isinstance(parts, Mapping):
            listed = parts.split(",") if isinstance(parts, str) else parts
            made = [
                _make_part(part.strip(), root, split) if isinstance(part, str) else part
                for part in listed
            ]
            names = [part.name for part in made]
            if len(set(names)) != len(names):
                raise ConfigError(f"Mixture of {names}: expected different data sets.")
            parts = dict(zip(names, made, strict=True))
        if not parts:
            raise ConfigError("Mixture of no data set; expected one at least.")
        self._parts = dict(parts)
        self.weights = _shares(weights, len(self._parts))

    @property
    def names(self) -> SequenceOf[str]:
        """Names of all parts' sequences; a lazy sequence, as a part may be endless."""
        return _Names(self._parts)

    def load(self, name: str) -> Sequence:
        """Read the annotation of one sequence; see ``Dataset.load``."""
        part, _, own = name.partition("/")
        return replace(self._parts[part][own], name=name)

    def annotation(self, name: str) -> Sequence:
        """Boxes and labels of one sequence; see ``Dataset.annotation``."""
        part, _, own = name.partition("/")
        return replace(self._parts[part].annotation(own), name=name)

    def frame_size(self, name: str) -> tuple[int, int]:
        """Width and height [px] of one sequence's frames; see ``Dataset.frame_size``."""
        part, _, own = name.partition("/")
        return self._parts[part].frame_size(own)

    def draw(self, rng: np.random.Generator) -> Sequence:
        """A sequence at random: a part by its weight, then a sequence of it."""
        part = list(self._parts)[rng.choice(len(self.weights), p=self.weights)]
        sequence = self._parts[part].draw(rng)
        return replace(sequence, name=f"{part}/{sequence.name}")


def _make_part(name: str, root: Path | str | None, split: str | None) -> Dataset:
    spec = find_dataset(name)
    folder = None if root is None or not spec.needs_root else find_folder(Path(root), spec.folders)
    return make_dataset(name, root=folder, split=None if split == "train" else split)


def _shares(weights: SequenceOf[float] | None, count: int) -> np.ndarray:
    given = np.ones(count) if weights is None else np.asarray(weights, dtype=np.float64)
    if given.shape != (count,) or not (np.isfinite(given) & (given >= 0)).all():
        raise ConfigError(f"weights={weights}; expected {count} numbers, none negative.")
    if not given.any():
        raise ConfigError(f"weights={weights}; expected one above 0 at least.")
    return given / given.sum()


class _Names(SequenceOf[str]):
    """The names of all parts, one part after the other, without a list."""

    def __init__(self, parts: Mapping[str, Dataset]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts.values())

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        index = index + len(self) if index < 0 else index
        for name, part in self._parts.items():
            if 0 <= index < len(part):
                return f"{name}/{part.names[index]}"
            index -= len(part)
        raise IndexError("The mixture has no sequence of this index.")

    def __contains__(self, name: object) -> bool:
        part, _, own = str(name).partition("/")
        return part in self._parts and own in self._parts[part]
