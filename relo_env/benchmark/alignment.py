"""Results brought to the coordinates and the length of the annotation that they are scored against.

Published boxes count pixels from 0 or from 1, as the first line of a result tells: the box that the
tracker was given. Some results are a line short or long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from relo_env.benchmark.published import Published
from relo_env.datasets.base import Sequence
from relo_env.errors import DataError

Lengths = Literal["strict", "cut", "hold"]
LENGTHS: tuple[Lengths, ...] = ("strict", "cut", "hold")
SAME = 0.25
"""[px] within which a first line is the given box."""


@dataclass(frozen=True, eq=False)
class Aligned:
    """Boxes of some sequences, as they are scored.

    Attributes:
        published: files that they are read from.
        offsets: by sequence, coordinates of the result's top-left pixel less the annotation
            file's: 0, or -1 where the results are 0-based and the annotation is 1-based.
        lengths: treatment of results with fewer or more lines than the video has frames.
        cut_longer: lines after the last frame are ignored even where lengths are strict.
        notes: sentences for the table.
    """

    published: Published
    offsets: Mapping[str, int]
    lengths: Lengths
    cut_longer: bool
    notes: tuple[str, ...] = ()

    def read(self, sequence: Sequence, run: int = 0) -> np.ndarray:
        """Boxes in the coordinates of ``sequence.boxes``, as many as its frames or, cut, fewer.

        Raises:
            DataError: the file is malformed, or of another length than the video.
        """
        boxes = self.published.read(sequence.name, run)
        return self.shift(self.fit(boxes, sequence, run), sequence)

    def fit(self, boxes: np.ndarray, sequence: Sequence, run: int) -> np.ndarray:
        """Boxes cut, or held to the last frame.

        Raises:
            DataError: they are of another length than the video, and lengths are strict.
        """
        frames, longer = len(sequence), len(boxes) > len(sequence)
        strict = self.lengths == "strict" and not (longer and self.cut_longer)
        if not len(boxes):
            raise DataError(
                f"{self.published.path(sequence.name, run)} has no boxes, expected {frames}: one "
                "for each frame, the first included. Run the tracker on it anew."
            )
        if len(boxes) != frames and strict:
            raise DataError(
                f"{self.published.path(sequence.name, run)} has {len(boxes)} boxes, expected "
                f"{frames}: one for each frame, the first included. To score it all the same, cut "
                "both to the common length or hold the last box: lengths='cut' or 'hold', "
                "--lengths of `relo report`."
            )
        if longer or self.lengths != "hold":
            return boxes[:frames]
        return np.concatenate([boxes, np.tile(boxes[-1], (frames - len(boxes), 1))])

    def shift(self, boxes: np.ndarray, sequence: Sequence) -> np.ndarray:
        """Boxes moved from the results' coordinates to those of the truth."""
        shift = self.offsets.get(sequence.name, 0) + file_shift(sequence)
        return boxes - [shift, shift, 0, 0] if shift else boxes


def file_shift(sequence: Sequence) -> int:
    """[px] added to a sequence's boxes gives the coordinates of its annotation file."""
    return sequence.file_origin - sequence.origin


def align(
    published: Published,
    sequences: Mapping[str, Sequence],
    *,
    origin: int | None = None,
    lengths: Lengths = "strict",
    cut_longer: bool = False,
) -> tuple[Aligned, dict[str, list[np.ndarray]]]:
    """Read results and find out their origin.

    Args:
        published: files of the results.
        sequences: annotated sequences by name, each with a result.
        origin: coordinates of the top-left pixel in the results, 0 or 1; by default as the first
            lines tell, and where they do not, that of the annotation files.
        lengths: see `Aligned`.
        cut_longer: see `Aligned`.

    Returns:
        How they are aligned, and the aligned boxes of each sequence, one array for each run.

    Raises:
        DataError: files are malformed or of another length; the message names all of them.
    """
    aligned = Aligned(published, {}, lengths, cut_longer)
    faults: list[str] = []
    changed: list[str] = []
    boxes: dict[str, list[np.ndarray]] = {}
    published.files.parse_ahead([path for name in sequences for path in published.boxes[name]])
    for name, sequence in sequences.items():
        boxes[name] = []
        for run in range(len(published.boxes[name])):
            try:
                raw = published.read(name, run)
                boxes[name].append(aligned.fit(raw, sequence, run))
            except DataError as error:
                faults.append(str(error))
                continue
            if len(raw) != len(sequence):
                changed.append(f"{name} ({len(raw)} lines, {len(sequence)} frames)")
    if faults:
        count = f"{len(faults)} faulty files:\n" if len(faults) > 1 else ""
        raise DataError(count + "\n".join(faults))
    _refuse_corners({name: runs[0][0] for name, runs in boxes.items()}, sequences)
    first = {name: _first_offset(runs[0][0], sequences[name]) for name, runs in boxes.items()}
    given = any(np.isfinite(runs[0][0]).all() for runs in boxes.values())
    offsets, notes = _offsets(first, sequences, origin, given)
    if changed:
        notes += (f"{_DONE[lengths]} in {len(changed)} files: {first_of(changed)}",)
    aligned = replace(aligned, offsets=offsets, notes=notes)
    return aligned, {
        name: [aligned.shift(each, sequences[name]) for each in runs]
        for name, runs in boxes.items()
    }


_DONE = {
    "strict": "boxes after the last frame are ignored",
    "cut": "boxes and truth are cut to the common length",
    "hold": "the last box is held to the end, longer results are cut",
}


def _refuse_corners(first: Mapping[str, np.ndarray], sequences: Mapping[str, Sequence]) -> None:
    """Refuse results whose first lines are mostly the given boxes as left, top, right, bottom."""
    corners = []
    for name, box in first.items():
        given = sequences[name].boxes[0]
        as_corners = np.concatenate([given[:2], given[:2] + given[2:]])
        apart = np.abs(as_corners - given).max() > 2 * (1 + SAME)
        if apart and (np.abs(box - as_corners) <= 1 + SAME).all():
            corners.append(name)
    if 2 * len(corners) > len(first):
        raise DataError(
            f"The first lines of {first_of(corners)} are the given boxes as left, top, right, "
            "bottom; expected left, top, width, height. Convert the results."
        )


def _first_offset(box: np.ndarray, sequence: Sequence) -> int | None:
    """Offset of a result by its first box; None if that is not the given one."""
    difference = box - sequence.boxes[0]
    possible = (0, -1) if sequence.file_origin else (0, -1, 1)
    for offset in possible:
        shift = file_shift(sequence) + offset
        if (np.abs(difference - [shift, shift, 0, 0]) <= SAME).all():
            return offset
    return None


def _offsets(
    found: Mapping[str, int | None],
    sequences: Mapping[str, Sequence],
    origin: int | None,
    given: bool,
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Offset of every sequence's result, and a sentence about them where it matters.

    ``given`` is False where no first line has a box, as in results of VOT's toolkit.
    """
    if origin is not None:
        offsets = {name: origin - sequences[name].file_origin for name in sequences}
        return offsets, (f"results are taken as {origin}-based, as asked",)
    told = Counter(offset for offset in found.values() if offset is not None)
    usual = told.most_common(1)[0][0] if told else 0
    offsets = {name: usual if offset is None else offset for name, offset in found.items()}
    one_based = any(sequence.file_origin for sequence in sequences.values())
    if told and not one_based and not any(offsets.values()):
        return offsets, ()
    if not told:
        doubt = (
            "no first line is the given box, nor it less one pixel: are they results on these "
            "sequences? They"
            if given
            else "first lines have no box to tell the coordinates: results"
        )
        return offsets, (
            f"{doubt} are taken to count pixels as the annotation files do; say --origin 0 or 1 if "
            "they do not",
        )
    kinds = " and ".join(f"{count} {_KIND[offset]}" for offset, count in sorted(told.items())[::-1])
    unknown = len(found) - sum(told.values())
    rest = f"; {unknown} others are taken as most are" if unknown else ""
    origins = "1-based" if one_based else "0-based"
    return offsets, (f"annotation files are {origins}; by first lines, results are {kinds}{rest}",)


_KIND = {
    0: "in their coordinates",
    -1: "a pixel less and moved by it",
    1: "a pixel more and moved by it",
}


def first_of(names: SequenceOf[str], count: int = 5) -> str:
    """The first of some names, for messages."""
    return ", ".join(names[:count]) + (" ..." if len(names) > count else "")
