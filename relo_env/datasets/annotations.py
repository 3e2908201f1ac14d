"""Annotation files as arrays: boxes, polygons and labels in the forms that benchmarks use."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from relo_env.datasets.base import FrameSource, Sequence
from relo_env.errors import DataError

_SEPARATORS = str.maketrans(",;\t", "   ")


def read_text(path: Path) -> str:
    """Text of a file.

    Raises:
        DataError: the file is missing or is not text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(
            f"Cannot read {path}: {error.strerror}. Copy the data set's annotations anew."
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file ({error.reason}).") from error


def read_boxes(path: Path, count: int | None = None, *, one_based: bool = False) -> np.ndarray:
    """Read one box a line: x, y, width, height, or a polygon x0, y0, x1, y1, ...

    Numbers may be separated by commas, semicolons, tabs or spaces. A polygon (6 numbers or more)
    becomes the box around it, VOT's mask (``m`` and four numbers, then its runs) the window it is
    given in. An empty line, a number that is not finite, or a box without area is a frame without
    target.

    Args:
        path: text file.
        count: frames of the video, where known; a file of another length is an error.
        one_based: the file's top-left pixel is (1, 1), as in MATLAB.

    Returns:
        float64 ``(n, 4)`` xywh in 0-based pixels; zeros where the target is absent.

    Raises:
        DataError: the file is missing, a line is malformed, or the counts differ.
    """
    text = read_text(path).translate(_SEPARATORS)
    boxes = _parse_plain(text)
    if boxes is None or len(boxes) != (count or len(boxes)):
        boxes = _parse_lines(text, path, count)
    require_count(path, len(boxes), count, "boxes")
    present = np.isfinite(boxes).all(axis=1) & (boxes[:, 2] > 0) & (boxes[:, 3] > 0)
    boxes[:, :2] -= one_based
    return np.where(present[:, None], boxes, 0.0)


def read_first_box(path: Path, count: int) -> np.ndarray:
    """Boxes ``(count, 4)`` of a video whose annotation stops after its first frame.

    Later boxes are zeros: unknown, which is treated as absent.

    Raises:
        DataError: the file is missing or malformed, or does not hold exactly one box.
    """
    given = read_boxes(path)
    if len(given) != 1:
        raise DataError(f"{path} has {len(given)} boxes; expected the first frame's only.")
    return np.concatenate([given, np.zeros((count - 1, 4))])


def _parse_plain(text: str) -> np.ndarray | None:
    """Boxes of a file with four numbers a line and nothing else, as most are, 5 times as fast."""
    lines = text.rstrip().splitlines()
    try:
        boxes = np.loadtxt(lines, ndmin=2, comments=None) if lines else np.zeros((0, 4))
    except ValueError:
        return None
    return boxes if boxes.shape == (len(lines), 4) else None


def _parse_lines(text: str, path: Path, count: int | None) -> np.ndarray:
    rows = [line.split() for line in text.splitlines()]
    while rows and not rows[-1] and len(rows) != count:
        rows.pop()  # the file's end, not a frame without target
    boxes = [_parse_box(row, path, k) for k, row in enumerate(rows, 1)]
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def _parse_box(fields: list[str], path: Path, line: int) -> list[float]:
    if not fields:
        return [0.0] * 4
    if fields[0].startswith("m"):
        fields = [fields[0][1:], *fields[1:4]]
    try:
        values = list(map(float, fields))
    except ValueError:
        values = []
    if len(values) == 4:
        return values
    if len(values) >= 6 and len(values) % 2 == 0:
        return polygon_to_box(np.array(values)).tolist()
    raise DataError(
        f"{path}, line {line}: found {' '.join(fields)!r}; expected x, y, width, height "
        "or the corners of a polygon. Copy the annotation anew."
    )


def polygon_to_box(polygons: np.ndarray) -> np.ndarray:
    """Axis-aligned boxes xywh ``(..., 4)`` around polygons ``(..., 2 * corners)``."""
    corners = polygons.reshape(*polygons.shape[:-1], -1, 2)
    low, high = corners.min(axis=-2), corners.max(axis=-2)
    return np.concatenate([low, high - low], axis=-1)


def read_labels(path: Path, count: int | None = None) -> np.ndarray:
    """Read one whole number a frame, on one line or on one line each.

    This is the form of LaSOT's ``full_occlusion.txt`` and ``out_of_view.txt`` (one comma line),
    GOT-10k's ``absence.label`` and ``cover.label``, and our own ``absent.txt``.

    Args:
        path: text file.
        count: frames of the video, where known; a file of another length is an error.

    Returns:
        int64 ``(n,)``.

    Raises:
        DataError: the file is missing, a field is not a whole number, or the counts differ.
    """
    fields = read_text(path).translate(_SEPARATORS).split()
    try:
        labels = np.array([int(float(field)) for field in fields], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path}: {error}; expected one whole number a frame.") from error
    require_count(path, len(labels), count, "labels")
    return labels


def require_count(path: Path, found: int, frames: int | None, kind: str) -> None:
    """Check that an annotation file has as many entries as its video has frames.

    Raises:
        DataError: it has not; the message names the file and both counts.
    """
    if frames is not None and found != frames:
        raise DataError(
            f"{path} has {found} {kind} but its video has {frames} frames; "
            "expected one a frame. Copy the sequence anew."
        )


def annotate(
    name: str,
    frames: FrameSource,
    boxes: np.ndarray,
    absent: np.ndarray | None = None,
    attributes: tuple[str, ...] = (),
) -> Sequence:
    """Make a sequence of boxes as read by ``read_boxes`` and of labels.

    Args:
        name: the sequence's name.
        frames: n frames.
        boxes: ``(n, 4)`` xywh, zeros where the target is absent.
        absent: bool ``(n,)``, further frames where the target is absent.
        attributes: names of the challenges that the benchmark marks this sequence with.

    Raises:
        DataError: the first box has no area, or no frame shows the target.
    """
    if len(boxes) and not boxes[0].any():
        raise DataError(
            f"Sequence {name!r}: the first frame's box is empty or not finite; expected a box "
            "with positive width and height, since tracking starts from it."
        )
    visible = (boxes[:, 2] > 0) & (boxes[:, 3] > 0)
    if absent is not None:
        visible = visible & ~absent
    return Sequence(name, frames, np.where(visible[:, None], boxes, 0.0), visible, attributes)
