"""Is a data set on disk complete and well formed?"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from relo_env.datasets.annotations import read_text
from relo_env.datasets.base import Dataset, Sequence
from relo_env.datasets.disk import DiskDataset, MissingSequenceError
from relo_env.datasets.registry import make_dataset
from relo_env.errors import DataError, FrameError

LABELS = dict.fromkeys(("LaSOT", "LaSOText"), ("full_occlusion.txt", "out_of_view.txt"))
"""By data set, files of a sequence's layout without which it can still be read."""


@dataclass(frozen=True)
class VerifyReport:
    """What ``verify`` found.

    Attributes:
        dataset: name of the data set.
        split: the split that was read.
        found: names of the sequences without fault.
        missing: names of the sequences that are not on disk.
        unnamed: how many more the benchmark has, whose names only its download tells.
        malformed: (name, message) of the faults, any number a sequence.
        frames: number of frames of the sequences without fault.
    """

    dataset: str
    split: str
    found: tuple[str, ...]
    missing: tuple[str, ...]
    malformed: tuple[tuple[str, str], ...]
    frames: int
    unnamed: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is missing or malformed."""
        return not self.missing and not self.malformed and not self.unnamed

    @property
    def table(self) -> str:
        """The report as text: counts, then a line for each fault."""
        faulty = len({name for name, _ in self.malformed})
        counts = [
            ("data set", self.dataset),
            ("split", self.split),
            ("found", f"{len(self.found)} sequences, {self.frames} frames"),
            ("missing", f"{len(self.missing) + self.unnamed} sequences"),
            ("malformed", f"{faulty} sequences"),
        ]
        faults = [("  missing", name) for name in self.missing]
        if self.unnamed:
            faults.append(("  missing", f"{self.unnamed} whose names only the download tells"))
        faults += [("  malformed", f"{name}: {message}") for name, message in self.malformed]
        return "\n".join(f"{key:<12} {value}" for key, value in counts + faults)


def verify(
    name: str,
    *,
    root: Path | str | None = None,
    split: str | None = None,
    decode: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> VerifyReport:
    """Read the annotation of every sequence of a data set and report all faults.

    Args:
        name: see ``make_dataset``.
        root: see ``make_dataset``.
        split: see ``make_dataset``.
        decode: also decode every frame, and check that boxes lie in their frames; slow.
        progress: called with the number of sequences done and of all.

    Raises:
        ConfigError: there is no such data set or split.
        DataError: its folder is missing or holds no sequence of the split.
    """
    dataset = make_dataset(name, root=root, split=split)
    names = _expected_names(dataset)
    found, missing, malformed, frames = [], [], [], 0
    for done, sequence_name in enumerate(names, start=1):
        try:
            sequence = dataset.load(sequence_name)
        except MissingSequenceError:
            missing.append(sequence_name)
        except DataError as error:
            malformed.append((sequence_name, str(error)))
        else:
            faults = _file_faults(dataset, sequence_name)
            faults += _frame_faults(sequence) if decode else []
            malformed += [(sequence_name, fault) for fault in faults]
            if not faults:
                found.append(sequence_name)
                frames += len(sequence)
        if progress is not None:
            progress(done, len(names))
    return VerifyReport(
        dataset=dataset.name,
        split=dataset.split,
        found=tuple(found),
        missing=tuple(missing),
        malformed=tuple(malformed),
        frames=frames,
        unnamed=max(0, official_count(dataset) - len(names)),
    )


def official_count(dataset: Dataset) -> int:
    """How many sequences the benchmark gives the split; 0 where nobody says, or by name."""
    return dataset.official_counts.get(dataset.split, 0) if isinstance(dataset, DiskDataset) else 0


def _expected_names(dataset: Dataset) -> tuple[str, ...]:
    official = dataset.official_names if isinstance(dataset, DiskDataset) else None
    return tuple(dataset.names) if official is None else official


def _file_faults(dataset: Dataset, name: str) -> list[str]:
    """What is wrong with the files of a sequence that can be read nevertheless."""
    if not isinstance(dataset, DiskDataset):
        return []
    path = dataset.locate(name)
    faults = [
        f"there is no {path / file}; copy it anew"
        for file in LABELS.get(dataset.name, ())
        if not (path / file).is_file()
    ]
    for file in [path] if path.suffix == ".txt" else sorted(path.glob("[Gg]roundtruth*.txt")):
        faults += _size_faults(file)
    return faults


def _size_faults(path: Path) -> list[str]:
    """Boxes with a negative side, which count as frames without target when they are read."""
    faults = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        numbers = re.findall(r"[^\s,;]+", line)
        if len(numbers) == 4 and any(side.startswith("-") for side in numbers[2:]):
            faults.append(f"{path}, line {number}: found {line!r}; expected no negative size")
    return faults


def _frame_faults(sequence: Sequence) -> list[str]:
    faults = []
    for index, (box, visible) in enumerate(zip(sequence.boxes, sequence.visible, strict=True)):
        try:
            height, width = sequence.frames.read(index).shape[:2]
        except FrameError as error:
            faults.append(str(error))
            continue
        if visible and not _overlaps(box, width, height):
            faults.append(
                f"box {box.tolist()} of frame {index} lies outside its frame of {width} x {height}"
            )
    return faults


def _overlaps(box: np.ndarray, width: int, height: int) -> bool:
    x, y, w, h = box
    return x < width and y < height and x + w > 0 and y + h > 0
