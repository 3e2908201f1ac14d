"""Boxes and times in result files of any toolkit: text with any separator, MATLAB's ``.mat``."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from relo_env.datasets.annotations import (
    decode_text,
    parse_numbers,
    parse_table,
    split_lines,
)
from relo_env.datasets.annotations import parse_boxes as parse_regions
from relo_env.errors import DataError

SUFFIXES = (".txt", ".csv", ".mat")
"""Of files that may hold boxes, the best first."""
_SEPARATORS = str.maketrans(",;", "  ")


def parse_boxes(data: bytes, name: str | Path) -> np.ndarray:
    """Boxes ``(n, 4)`` of a result file, in its own coordinates.

    Text holds four numbers a line between commas, semicolons, tabs or blanks. A byte order mark, a
    line of column names and blank lines at the end are skipped. A line of NaN is a frame without
    prediction. A file that begins with a lone 1 is one of VOT's toolkit, of rectangles, polygons
    or masks. A ``.mat`` file is that of OTB's toolkit: ``results{1}.res`` of type "rect".

    Args:
        data: content of the file.
        name: of the file, for messages; its suffix says the format.

    Raises:
        DataError: a line is malformed, or the file is of another kind.
    """
    if str(name).lower().endswith(".mat"):
        return _parse_mat(data, name)
    boxes = plain_boxes(parse_table(data))
    if boxes is not None:
        return boxes
    lines = split_lines(data, name)
    if lines and lines[0][1].strip() == "1":
        return _parse_vot(lines, name)
    rows = [_parse_line(line, name, k) for k, line in lines]
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def plain_boxes(table: np.ndarray | None) -> np.ndarray | None:
    """The table of a file if each of its lines has four finite numbers, or four NaN; else None."""
    if table is None or table.shape[1] != 4:
        return None
    finite = np.isfinite(table)
    plain = finite.all() or (finite.all(1) | np.isnan(table).all(1)).all()
    return table if plain else None


def _parse_line(line: str, name: str | Path, number: int) -> list[float]:
    row = [] if "," in line and ";" in line else parse_numbers(line)
    if row and np.isnan(row).all() and len(row) in (1, 4):
        return [np.nan] * 4
    if len(row) != 4 or not np.isfinite(row).all():
        more = " Keep four columns, and the box around a polygon." if len(row) > 4 else ""
        raise DataError(
            f"{name}, line {number}: found {line!r}, expected four finite numbers "
            f"(left, top, width, height), or NaN where there is no prediction.{more}"
        )
    return row


def _parse_vot(lines: list[tuple[int, str]], name: str | Path) -> np.ndarray:
    """Boxes of the VOT toolkit: 1 for the given one, then regions, or 0 where there is none."""
    for number, line in lines[1:]:
        if line.strip() in ("1", "2"):
            raise DataError(
                f"{name}, line {number}: found {line!r}, where VOT's toolkit has seen the tracker "
                "fail or has started it again; figures here are of one pass. Give results of its "
                "unsupervised experiment, or evaluate these with the toolkit."
            )
    regions = "\n".join(["nan", *(line for _, line in lines[1:])])
    return parse_regions(regions.encode(), name, polygons=True)


def parse_seconds(data: bytes, name: str | Path) -> np.ndarray:
    """Seconds a frame ``(n,)``; of a file with a column for each run, the first run's.

    Raises:
        DataError: a field is not a number.
    """
    text = decode_text(data, name)
    first = text.partition("\n")[0].strip()
    fields = text.split()
    if len(first.translate(_SEPARATORS).split()) > 1:  # a column for each run
        lines = text.translate(_SEPARATORS).splitlines()
        fields = [line.split()[0] for line in lines if line.strip()]
    try:
        return np.array(list(map(float, fields)))
    except ValueError as error:
        raise DataError(f"{name}: {error}; expected the seconds of a frame a line.") from error


def _parse_mat(data: bytes, name: str | Path) -> np.ndarray:
    results = _read_v73(data, name) if data[:128].find(b"MATLAB 7.3") >= 0 else _read_v5(data, name)
    if len(results) != 1:
        raise DataError(
            f"{name} has {len(results)} results, as of another evaluation than one pass (OPE); "
            "expected one."
        )
    kind, boxes = results[0]
    if kind not in ("", "rect"):
        raise DataError(f"{name}: results are of type {kind!r}; expected 'rect', boxes xywh.")
    boxes = np.atleast_2d(boxes)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or np.isinf(boxes).any():
        raise DataError(f"{name}: `res` has shape {boxes.shape}; expected (frames, 4) numbers.")
    return boxes


def _read_v5(data: bytes, name: str | Path) -> list[tuple[str, np.ndarray]]:
    """Type and boxes of each result in a MATLAB file up to version 7."""
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ImportError as error:
        raise _needs("scipy", name) from error
    try:
        content = loadmat(io.BytesIO(data), simplify_cells=True)
    except (MatReadError, ValueError, TypeError, NotImplementedError, OSError) as error:
        raise _no_results(name, error) from error
    found = content.get("results", content.get("res"))
    if found is None:
        raise _no_results(name, KeyError("results"))
    structs = isinstance(found, dict) or (
        np.ndim(found) and len(found) and isinstance(found[0], dict)
    )
    results = [found] if isinstance(found, dict) else list(found) if structs else [{"res": found}]
    try:
        return [(str(result.get("type", "")), _numbers(result["res"])) for result in results]
    except (KeyError, ValueError, TypeError) as error:
        raise _no_results(name, error) from error


def _read_v73(data: bytes, name: str | Path) -> list[tuple[str, np.ndarray]]:
    """Type and boxes of each result in a MATLAB file of version 7.3, which is HDF5."""
    try:
        import h5py
    except ImportError as error:
        raise _needs("h5py", name) from error
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            found = file["results"] if "results" in file else file["res"]
            groups = [found]
            if isinstance(found, h5py.Dataset) and h5py.check_ref_dtype(found.dtype):
                groups = [file[reference] for reference in np.ravel(found[()])]
            return [_hdf5_result(group) for group in groups]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise _no_results(name, error) from error


def _hdf5_result(node: Any) -> tuple[str, np.ndarray]:
    """Type and boxes of a struct, or of boxes alone; MATLAB's columns are HDF5's first axis."""
    if not hasattr(node, "keys"):
        return "", _numbers(node[()]).T
    letters = np.ravel(node["type"][()]) if "type" in node else ()
    return "".join(map(chr, letters)), _numbers(node["res"][()]).T


def _numbers(values: Any) -> np.ndarray:
    """Float64 array; TypeError of text, complex numbers and references."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"found {array.dtype}, expected real numbers")
    return array.astype(np.float64)


def _needs(package: str, name: str | Path) -> DataError:
    return DataError(
        f"{name} is a MATLAB file, and {package}, which reads it, is not installed: "
        "pip install 'relo[mat]'."
    )


def _no_results(name: str | Path, error: Exception) -> DataError:
    return DataError(
        f"{name} cannot be read as a result of OTB's toolkit ({type(error).__name__}: {error}); "
        "expected `results`, a cell of one struct with `res`, boxes (frames, 4), and `type`."
    )
