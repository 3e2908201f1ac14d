"""Check of a data set on disk: complete and well formed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from relo_env.boxes import iou
from relo_env.datasets.annotations import parse_boxes, read_bytes
from relo_env.datasets.base import Dataset, Sequence
from relo_env.datasets.disk import DiskDataset, MissingSequenceError
from relo_env.datasets.folder import read_absence
from relo_env.datasets.frames import is_complete
from relo_env.datasets.registry import make_dataset
from relo_env.errors import DataError, FrameError

LABELS = {
    **dict.fromkeys(("LaSOT", "LaSOText"), ("full_occlusion.txt", "out_of_view.txt")),
    "GOT10k": ("absence.label", "cover.label"),
}
"""By data set, files of a sequence's layout without which it can still be read."""


@dataclass(frozen=True)
class VerifyReport:
    """Result of `verify`.

    Attributes:
        dataset: name of the data set.
        split: the split that was read.
        found: names of the sequences without fault.
        missing: names of the sequences that are not on disk.
        unnamed: number of further missing sequences, whose names only the download tells.
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
        """True if nothing is missing or malformed."""
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
    **options: Any,
) -> VerifyReport:
    """Read the annotation of every sequence of a data set and report all faults.

    Args:
        name: see ``make_dataset``.
        root: see ``make_dataset``.
        split: see ``make_dataset``.
        decode: also decode every frame, and check that boxes lie in their frames; slow.
        progress: called with the number of sequences done and of all.
        **options: further arguments of the data set, such as ``lengths="cut"``.

    Raises:
        ConfigError: there is no such data set or split.
        DataError: its folder is missing or holds no sequence of the split.
    """
    dataset = make_dataset(name, root=root, split=split, **options)
    official = dataset.official_names if isinstance(dataset, DiskDataset) else None
    names = tuple(dataset.names) if official is None else official
    found, missing, malformed, frames = [], [], [], 0
    for done, sequence_name in enumerate(names, start=1):
        try:
            sequence = dataset.load(sequence_name)
        except MissingSequenceError:
            missing.append(sequence_name)
        except DataError as error:
            malformed.append((sequence_name, str(error)))
        else:
            faults = _file_faults(dataset, sequence, sequence_name)
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
    """Number of sequences that the benchmark gives the split; 0 where it names them, or none."""
    return dataset.official_counts.get(dataset.split, 0) if isinstance(dataset, DiskDataset) else 0


def _file_faults(dataset: Dataset, sequence: Sequence, name: str) -> list[str]:
    """Faults of the files of a sequence that can be read nevertheless."""
    faults = _box_faults(sequence)
    if not isinstance(dataset, DiskDataset):
        return faults
    path = dataset.locate(name)
    faults += [
        f"there is no {path / file}; copy it anew"
        for file in LABELS.get(dataset.name, ())
        if path.is_dir() and sequence.labelled[1:].any() and not (path / file).is_file()
    ]
    absent = read_absence(path, None) if path.is_dir() else None
    for file in [path] if path.suffix == ".txt" else sorted(path.glob("[Gg]roundtruth*.txt")):
        faults += _size_faults(file, absent)
    return faults


def _box_faults(sequence: Sequence) -> list[str]:
    faults = []
    if not sequence.visible[0]:
        faults.append("the first frame is marked absent; expected the target, to start from")
    small = np.flatnonzero(sequence.visible & (sequence.boxes[:, 2:] < 1).any(axis=1))
    faults += [
        f"box {sequence.boxes[k].tolist()} of frame {k} is smaller than a pixel" for k in small
    ]
    return faults


def _size_faults(path: Path, absent: np.ndarray | None) -> list[str]:
    """Boxes with a negative side or an infinite number in frames that no label marks as absent."""
    try:
        boxes = parse_boxes(read_bytes(path), path)
    except DataError:  # another form, which the data set's own reader has read
        return []
    wrong = np.asarray((boxes[:, 2:] < 0).any(axis=1) | np.isinf(boxes).any(axis=1))
    if absent is not None:
        wrong[: len(absent)] &= ~absent[: len(wrong)]
    return [
        f"{path}, line {k + 1}: found {boxes[k].tolist()}; expected finite numbers and no negative "
        "size"
        for k in np.flatnonzero(wrong)
    ]


def _frame_faults(sequence: Sequence) -> list[str]:
    faults = []
    paths = getattr(sequence.frames, "paths", None)
    for index, (box, visible) in enumerate(zip(sequence.boxes, sequence.visible, strict=True)):
        try:
            height, width = sequence.frames.read(index).shape[:2]
        except FrameError as error:
            faults.append(str(error))
            continue
        if paths is not None and not is_complete(paths[index]):
            faults.append(f"{paths[index]} is cut off or has lost its end; copy it anew")
        if visible and not iou(box, np.array([0, 0, width, height])):
            faults.append(
                f"box {box.tolist()} of frame {index} lies outside its frame of {width} x {height}"
            )
    return faults
