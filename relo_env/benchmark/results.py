"""Tracking results on disk: a folder ``<tracker>/<dataset>/`` with text files for each sequence.

``<sequence>.txt`` holds one box a line, ``<sequence>_time.txt`` the seconds each frame took the
tracker. Where known, ``<sequence>_read_time.txt`` and ``<sequence>_model_time.txt`` hold what
reading the frame and the network alone took, and ``<sequence>_score_maps.npz`` the score maps.

The box file is written last and in one move, so that a sequence that has one is finished. A
sequence whose own name ends as one of these files does (``a_time``) has its files in a folder of
its own, ``a_time/a_time_001.txt`` and so on, as GOT-10k's toolkit lays them out.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from relo_env.benchmark import box_files
from relo_env.claims import Claim
from relo_env.datasets.base import Dataset
from relo_env.errors import DataError
from relo_env.files import write_atomically, write_text

SETTINGS_FILE = "_run.json"
"""Beside the results of a run: the tracker, the options and the data set that made them."""

LIST_OF_SEQUENCES = ("names", "boxes")
"""Entries of a data set's fingerprint that change when sequences are added."""

_TIME_FILES = {"tracker": "_time", "read": "_read_time", "model": "_model_time"}
_SCORE_MAPS = "_score_maps"


@dataclass(frozen=True, eq=False)
class SequenceResult:
    """Result of a tracker on one sequence of n frames.

    Attributes:
        boxes: float64 ``(n, 4)``, xywh pixels; the first row is the box that was given.
        seconds: by kind, ``(n,)`` seconds a frame: "tracker" (init, then every update), "read"
            (reading and decoding the frame) and, if the tracker tells, "model" (its network).
        score_maps: uint8 ``(n, H, W)``, each frame's score map scaled to its own range (the
            first is empty), or None.
    """

    boxes: np.ndarray
    seconds: Mapping[str, np.ndarray]
    score_maps: np.ndarray | None = None


def write_result(folder: str | Path, sequence: str, result: SequenceResult) -> None:
    """Write the files of one sequence; the box file comes last.

    Raises:
        DataError: the sequence's name leads out of the folder.
        OutputError: the disk refuses.
    """
    stem = _stem(folder, sequence)
    for kind, seconds in result.seconds.items():
        lines = "".join(f"{value:.6f}\n" for value in seconds)
        write_text(_with_suffix(stem, f"{_TIME_FILES[kind]}.txt"), lines)
    if result.score_maps is not None:
        maps = _with_suffix(stem, f"{_SCORE_MAPS}.npz")
        buffer = io.BytesIO()
        np.savez_compressed(buffer, score_maps=result.score_maps)
        write_atomically(maps, buffer.getvalue())
    write_text(_boxes_places(folder, sequence)[0], format_boxes(result.boxes))


def check_name(sequence: str) -> None:
    """Check that files named after a sequence lie inside the folder that they are written to.

    Raises:
        DataError: the name is empty, absolute or holds ``..``.
    """
    paths = PurePosixPath(sequence), PureWindowsPath(sequence)
    if not paths[0].name or any(p.is_absolute() or p.drive or ".." in p.parts for p in paths):
        raise DataError(
            f"A sequence is called {sequence!r}, and its results would lie outside their folder; "
            "expected a relative name without '..'. Rename it in the data set."
        )


def _stem(folder: str | Path, sequence: str) -> Path:
    """Path of a sequence's files without their endings."""
    check_name(sequence)
    path = Path(folder) / sequence
    return path / path.name if _is_ambiguous(sequence) else path


def _is_ambiguous(sequence: str) -> bool:
    """True if a file of this sequence could have the name of another sequence's file."""
    return sequence.endswith((*_TIME_FILES.values(), _SCORE_MAPS, "_read", "_model"))


def _with_suffix(stem: Path, suffix: str) -> Path:
    return stem.with_name(stem.name + suffix)


def format_boxes(boxes: np.ndarray) -> str:
    """One box a line, comma-separated, with as many digits as give the same floats again."""
    return "".join(",".join(repr(float(value)) for value in box) + "\n" for box in boxes)


def check_data(folder: str | Path, dataset: Dataset) -> None:
    """Check that the results in a folder, where RELO made them, are on the same data.

    Folders of older versions and published ones, which have no ``_run.json`` with a fingerprint,
    pass.

    Args:
        folder: ``<tracker>/<dataset>``.
        dataset: the data to evaluate on.

    Raises:
        DataError: the results were made on a data set with other options, or the file is damaged.
    """
    claim = Claim(
        Path(folder) / SETTINGS_FILE,
        {},
        {dataset.split: dataset.fingerprint},
        DataError,
        "Evaluate them with those options (--dataset-option), or run the tracker anew.",
    )
    claim.check(free_data=LIST_OF_SEQUENCES)


def check_folder(folder: Path, datasets: Iterable[str]) -> None:
    """See that there is a folder of results, and that it is not the one around such folders.

    Args:
        folder: usually ``<tracker>/<dataset>``.
        datasets: names of the data sets that it may be the folder around.

    Raises:
        DataError: there is no such folder, or it holds one that is called as a data set.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; expected one of results.")
    inside = [str(folder / name) for name in datasets if (folder / name).is_dir()]
    if inside:
        raise DataError(f"{folder} holds no results itself; did you mean {' or '.join(inside)}?")


def boxes_file(folder: str | Path, sequence: str) -> Path | None:
    """Path of the boxes of a sequence, or None if the folder has none.

    Published results come flat (``<sequence>.txt``) or as GOT-10k's toolkit writes them
    (``<sequence>/<sequence>_001.txt``, the first repetition).

    Raises:
        DataError: the sequence's name leads out of the folder.
    """
    return next((path for path in _boxes_places(folder, sequence) if path.is_file()), None)


def _boxes_places(folder: str | Path, sequence: str) -> tuple[Path, Path]:
    """Paths where boxes may lie; they are written to the first."""
    check_name(sequence)
    flat = Path(folder) / f"{sequence}.txt"
    inside = Path(folder) / sequence / f"{Path(sequence).name}_001.txt"
    return (inside, flat) if _is_ambiguous(sequence) else (flat, inside)


def read_boxes(folder: str | Path, sequence: str) -> np.ndarray:
    """Boxes ``(n, 4)`` of a sequence, separated by commas, tabs, semicolons or blanks.

    Raises:
        DataError: there is no such file, or a line of it is not four finite numbers.
    """
    path = boxes_file(folder, sequence)
    if path is None:
        raise DataError(
            f"No result for sequence {sequence!r} in {folder}; expected {sequence}.txt. "
            "Run the tracker on it, or check the data set's name and split."
        )
    return parse_boxes(path)


def parse_boxes(path: Path) -> np.ndarray:
    """Boxes ``(n, 4)`` of one text file; raises as :func:`read_boxes`."""
    return box_files.parse_boxes(_read_bytes(path), path)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def is_finished(folder: str | Path, sequence: str, length: int) -> bool:
    """True if the folder has a readable box for each of the sequence's ``length`` frames."""
    path = boxes_file(folder, sequence)
    if path is None:
        return False
    try:
        return len(parse_boxes(path)) == length
    except DataError:
        return False


def read_score_maps(folder: str | Path, sequence: str) -> np.ndarray | None:
    """uint8 ``(n, H, W)`` score maps of a sequence; None if they were not kept.

    Raises:
        DataError: the file is damaged.
    """
    path = _with_suffix(_stem(folder, sequence), f"{_SCORE_MAPS}.npz")
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file) as archive:
            maps = archive["score_maps"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged: {error}. Remove it to go without maps.") from error
    if maps.ndim != 3:
        raise DataError(f"{path} holds an array of shape {maps.shape}; expected (n, H, W).")
    return maps


@dataclass(frozen=True)
class Speed:
    """[frames/s] over all frames but first ones; None where it was not measured.

    Attributes:
        tracker: of ``update`` alone.
        model: of the tracker's network alone.
        end_to_end: with reading and decoding frames.
    """

    tracker: float | None
    model: float | None
    end_to_end: float | None


def speed_of(read: Callable[[str, str], np.ndarray | None], sequences: Iterable[str]) -> Speed:
    """Speed over some sequences.

    Args:
        read: gives the seconds a frame of a sequence and kind, or None where they were not kept.
        sequences: names.
    """
    totals = dict.fromkeys(_TIME_FILES, 0.0)
    frames = dict.fromkeys(_TIME_FILES, 0)
    for sequence in sequences:
        for kind in _TIME_FILES:
            seconds = read(sequence, kind)
            if seconds is not None:
                totals[kind] += float(seconds[1:].sum())
                frames[kind] += len(seconds) - 1

    def rate(*kinds: str) -> float | None:
        total = sum(totals[kind] for kind in kinds)
        counts = {frames[kind] for kind in kinds}
        return counts.pop() / total if total > 0 and len(counts) == 1 else None

    return Speed(tracker=rate("tracker"), model=rate("model"), end_to_end=rate("tracker", "read"))
