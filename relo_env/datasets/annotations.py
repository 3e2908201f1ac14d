"""Annotation files as arrays: boxes, polygons and labels in the forms that benchmarks use."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from relo_env.errors import DataError

_TO_SPACES = bytes.maketrans(b",;\t", b"   ")
_SEPARATORS = str.maketrans(",;\t", "   ")
_EMPTY_FIELD = re.compile(r"[,;]\s*[,;]|^\s*[,;]")
_NO_BOX = [float("nan")] * 4


def read_text(path: Path) -> str:
    """Text of a file; DataError if it is missing or not text."""
    return decode_text(read_bytes(path), path)


def read_bytes(path: Path) -> bytes:
    """Content of an annotation file; DataError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        others = sorted(p.name for p in path.parent.glob("*.txt")) if not path.exists() else []
        found = f" Text files there: {', '.join(others[:5])}." if others else ""
        raise DataError(
            f"Cannot read {path}: {error.strerror}.{found} Copy the data set's annotations anew."
        ) from error


def decode_text(data: bytes, path: Path | str) -> str:
    """Text of a file without its byte order mark; DataError if it is not text."""
    utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # PowerShell's `>`
    try:
        return data.decode("utf-16" if utf_16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file ({error.reason}).") from error


def read_boxes(
    path: Path, count: int | None = None, *, one_based: bool = False, polygons: bool = False
) -> np.ndarray:
    """Read one box a line.

    Args:
        path: text file, in a form of `parse_boxes`.
        count: frames of the video, where known; a file of another length is an error.
        one_based: the file's top-left pixel is (1, 1), as in MATLAB.
        polygons: lines may hold polygons or masks.

    Returns:
        float64 ``(n, 4)`` xywh in 0-based pixels; zeros where the target is absent.

    Raises:
        DataError: the file is missing, a line is malformed, or the counts differ.
    """
    boxes = parse_boxes(read_bytes(path), path, count, polygons=polygons)
    require_count(path, len(boxes), count, "boxes")
    boxes[:, :2] -= one_based
    return without_empty(boxes)


def without_empty(boxes: np.ndarray) -> np.ndarray:
    """Boxes ``(n, 4)`` with zeros where one is not finite or has no area."""
    present = np.isfinite(boxes).all(axis=1) & (boxes[:, 2] > 0) & (boxes[:, 3] > 0)
    return np.where(present[:, None], boxes, 0.0)


def parse_boxes(
    data: bytes, path: Path | str, count: int | None = None, *, polygons: bool = False
) -> np.ndarray:
    """Boxes of an annotation or a result: four numbers a line.

    Numbers are separated by commas, semicolons, tabs or spaces. A line that is empty or of ``nan``,
    or a lone ``0`` (VOT's sign), is a frame without box. Empty lines at the end do not count,
    unless the video has as many frames. A line of column names before the first box is skipped.

    Args:
        data: content of the file.
        path: its name, for messages.
        count: frames of the video, where known.
        polygons: also read polygons ``x0, y0, x1, y1, ...`` as the box around them, and VOT's masks
            (``m``, a window, its runs) as their window.

    Returns:
        float64 ``(n, 4)`` as in the file; NaN where a line has no box.

    Raises:
        DataError: a line is malformed; the message has its number.
    """
    boxes = parse_table(data)
    if boxes is None or boxes.shape[1] != 4:
        rows = [_parse_line(line, path, k, polygons) for k, line in split_lines(data, path)]
        boxes = np.array(rows, dtype=np.float64).reshape(-1, 4)
    if count and len(boxes) < count:
        blank = len(data.splitlines()) - len(data.rstrip().splitlines())
        if count <= len(boxes) + blank:
            boxes = np.concatenate([boxes, np.full((count - len(boxes), 4), np.nan)])
    return boxes


def count_lines(data: bytes, path: Path | str) -> int:
    """Number of lines with boxes, blank ones at the end left out; see `parse_boxes`."""
    if data[:1].isdigit():
        return len(data.rstrip().splitlines())
    return len(split_lines(data, path))


def split_lines(data: bytes, path: Path | str) -> list[tuple[int, str]]:
    """Lines of a table with their numbers, without a line of column names at its head.

    Raises:
        DataError: it is not text.
    """
    lines = list(enumerate(decode_text(data, path).rstrip().splitlines(), 1))
    fields = lines[0][1].translate(_SEPARATORS).split() if len(lines) > 1 else []
    return lines[1:] if fields and not any(map(parse_numbers, fields)) else lines


def parse_table(data: bytes) -> np.ndarray | None:
    """Numbers ``(lines, columns)`` of a plain table of text, several times as fast as line by line.

    Columns stand between commas, semicolons, tabs or blanks. Numbers are exact. None of anything
    else: a line of another length, an empty field, a header, a blank line, no line at all.
    """
    import pandas as pd  # half a second, which programs that read no text are spared

    data = data.removeprefix(codecs.BOM_UTF8).rstrip()
    commas = b"," in data  # pandas is quickest with them
    newest = tuple(map(int, pd.__version__.split(".")[:2])) >= (3, 1)  # its only parser is exact
    exact: dict[str, Any] = {} if newest else {"float_precision": "round_trip"}
    try:
        table = pd.read_csv(
            io.BytesIO(data if commas else data.translate(_TO_SPACES)),
            sep="," if commas else r"\s+",
            header=None,
            dtype=np.float64,
            skip_blank_lines=False,
            **exact,
        ).to_numpy()
    except ValueError:  # pandas' own errors are ValueErrors
        return None
    between = len(table) * (table.shape[1] - 1)
    regular = commas or data.count(b";") in (0, between)
    unread = np.count_nonzero(np.isnan(table))  # written as NaN, or empty fields
    full = not unread or unread == data.lower().count(b"nan")
    return table if regular and full else None


def parse_numbers(line: str) -> list[float]:
    """Numbers of a line; none where a field is empty or is another text."""
    try:
        fields = line.translate(_SEPARATORS).split()
        return [] if _EMPTY_FIELD.search(line) else list(map(float, fields))
    except ValueError:
        return []


def _parse_line(line: str, path: Path | str, number: int, polygons: bool) -> list[float]:
    fields = line.translate(_SEPARATORS).split()
    if not fields or (len(fields) == 1 and fields[0].lower() in ("nan", "0")):
        return _NO_BOX
    is_mask = polygons and fields[0].startswith("m")
    values = parse_numbers(" ".join([fields[0][1:], *fields[1:4]]) if is_mask else line)
    mixed = "," in line and ";" in line
    if len(values) == 4 and (polygons or not mixed):
        return values
    if polygons and len(values) >= 6 and len(values) % 2 == 0:
        return polygon_to_box(np.array(values)).tolist()
    raise DataError(f"{path}, line {number}: found {line!r}; {_advice(values, mixed, polygons)}")


def _advice(values: list[float], mixed: bool, polygons: bool) -> str:
    if len(values) == 1:
        return (
            "a lone 1 or 2 is what results of the VOT toolkit have where a tracker is started or "
            "has failed; expected the ground truth, x, y, width, height a line."
        )
    expected = "expected x, y, width, height" + (
        " or the corners of a polygon. " if polygons else ". "
    )
    if mixed or len(values) == 8:
        return expected + "Write decimals with a point, not a comma, and the box of a polygon."
    if len(values) > 4:
        return expected + f"Remove the other {len(values) - 4} columns (of a multi-object file?)."
    return expected + "Copy the annotation anew."


def polygon_to_box(polygons: np.ndarray) -> np.ndarray:
    """Axis-aligned boxes xywh ``(..., 4)`` around polygons ``(..., 2 * corners)``."""
    corners = polygons.reshape(*polygons.shape[:-1], -1, 2)
    low, high = corners.min(axis=-2), corners.max(axis=-2)
    return np.concatenate([low, high - low], axis=-1)


def read_labels(path: Path, count: int | None = None) -> np.ndarray:
    """Read one whole number a frame, on one line or on one line each.

    This is the form of LaSOT's ``full_occlusion.txt`` and ``out_of_view.txt`` (one comma line),
    GOT-10k's ``absence.label`` and ``cover.label``, and our own ``absent.txt``.

    Returns:
        int64 ``(n,)``.

    Raises:
        DataError: the file is missing, a field is not a whole number, or there are not ``count``.
    """
    data = read_bytes(path)
    plain = data.strip()
    digits, separator = plain[::2], plain[1:2]
    try:
        if digits.isdigit() and separator in b",;\t\n " and not plain[1::2].strip(separator):
            labels = np.frombuffer(digits, dtype=np.uint8).astype(np.int64) - ord("0")
        else:
            fields = decode_text(data, path).translate(_SEPARATORS).split()
            numbers = list(map(float, fields))
            parts = [f for f, number in zip(fields, numbers, strict=True) if number % 1]
            if parts:
                raise ValueError(f"found {parts[0]}")
            labels = np.array(list(map(int, numbers)), dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path}: {error}; expected one whole number a frame.") from error
    require_count(path, len(labels), count, "labels")
    return labels


def require_count(path: Path, found: int, frames: int | None, kind: str) -> None:
    """Raise DataError, with the known cause, unless each frame of a video has an entry."""
    if frames is None or found == frames:
        return
    cause = ""
    if found == frames - 1 and kind == "boxes":
        cause = " Some copies of LaSOT (airplane-14, bus-4) have one image too many."
    elif found == 2 * frames:
        cause = " Some copies of TNL2K have twice the lines."
    raise DataError(
        f"{path} has {found} {kind} but its video has {frames} frames; expected one a frame.{cause}"
        " Copy the sequence anew, or read what both have with the option lengths='cut' "
        "(`--dataset-option lengths=cut`)."
    )


def read_marks(
    marks: Mapping[Path, Callable[[np.ndarray], np.ndarray]], count: int | None
) -> np.ndarray | None:
    """Frames bool ``(n,)`` that any file of labels marks, None without such files.

    Args:
        marks: function from a file's labels to the frames that they mark, by its path.
        count: see `read_labels`.
    """
    marked = [marks[path](read_labels(path, count)) for path in marks if path.is_file()]
    n = min(map(len, marked), default=0)
    return np.any([each[:n] for each in marked], axis=0) if marked else None


def read_attributes(path: Path, known: tuple[str, ...]) -> tuple[str, ...]:
    """Attributes that a file of 0 and 1 marks, as toolkits ship it; none if there is no file.

    Args:
        path: the file: a number for each attribute, maybe after one that stands for all sequences.
        known: names of the attributes, in the file's order.
    """
    if not path.is_file():
        return ()
    marks = read_labels(path)
    if len(marks) - len(known) not in (0, 1):
        raise DataError(f"{path} has {len(marks)} numbers; expected one for each of {known}.")
    marks = marks[len(marks) - len(known) :]
    return tuple(name for name, mark in zip(known, marks, strict=True) if mark)
