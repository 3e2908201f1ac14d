"""Annotations as evaluation toolkits ship them: JSON of pysot, flat folder ``annos/`` of LaSOT."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from relo_env.datasets.annotations import (
    parse_boxes,
    polygon_to_box,
    read_bytes,
    read_labels,
    read_text,
)
from relo_env.errors import DataError

FLAT_FOLDERS = ("annos", "anno", ".")
"""Folders in a data set's root in which ``<sequence>.txt`` is looked for."""
ATTRIBUTES = {
    "aspect ratio change": "ARC",
    "background clutter": "BC",
    "background clutters": "BC",
    "camera motion": "CM",
    "deformation": "DEF",
    "fast motion": "FM",
    "full occlusion": "FOC",
    "illumination variation": "IV",
    "in-plane rotation": "IPR",
    "low resolution": "LR",
    "motion blur": "MB",
    "occlusion": "OCC",
    "out-of-plane rotation": "OPR",
    "out-of-view": "OV",
    "partial occlusion": "POC",
    "rotation": "ROT",
    "scale variation": "SV",
    "similar object": "SOB",
    "viewpoint change": "VC",
}
"""Short names of the attributes that pysot's files write out."""


@dataclass(frozen=True, eq=False)
class ToolkitAnnotation:
    """Annotation of one sequence.

    Attributes:
        boxes: float64 ``(n, 4)`` xywh as in the file; NaN where there is none.
        absent: bool ``(n,)``; True where the target is marked absent. None: no marks.
        attributes: names of the challenges of the sequence, short where they are known.
        images: paths of the frames, where the file names them; they need not exist.
    """

    boxes: np.ndarray
    absent: np.ndarray | None = None
    attributes: tuple[str, ...] = ()
    images: tuple[Path, ...] = ()


class Found(NamedTuple):
    """File of an annotation, and a function that reads it."""

    path: Path
    read: Callable[[], ToolkitAnnotation]


def find_annotations(
    root: Path, titles: Iterable[str], names: Iterable[str] | None
) -> dict[str, Found]:
    """Annotations in a toolkit's files, by name of the sequence.

    Args:
        root: folder of the data set.
        titles: names of the data set, as its JSON file may be called, in any case.
        names: sequences to look for, whose case and punctuation may differ in the JSON; None: all
            of the JSON.

    Raises:
        DataError: a JSON file is malformed.
    """
    found = dict(_find_json(root, {_plain(title) for title in titles}, names))
    for name in names or ():
        for folder in FLAT_FOLDERS:
            path = root / folder / f"{name}.txt"
            if name not in found and path.is_file():
                found[name] = Found(path, partial(_read_flat, path))
    return found


def _plain(name: str) -> str:
    """Name in lower case with ``_`` for any punctuation, without pytracking's prefix."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).removeprefix("nfs_")


def _find_json(
    root: Path, titles: set[str], names: Iterable[str] | None
) -> Iterator[tuple[str, Found]]:
    for path in sorted(root.glob("*.json")):
        if re.sub(r"_", "", _plain(path.stem)) in {title.replace("_", "") for title in titles}:
            entries = _load_json(path)
            own = None if names is None else {_plain(name): name for name in names}
            for title, entry in entries.items():
                name = title if own is None else own.get(_plain(title))
                if name is not None:
                    yield name, Found(path, partial(_read_entry, entry, path, title))


def _load_json(path: Path) -> dict[str, Any]:
    try:
        entries = json.loads(read_text(path))
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}); copy it anew.") from error
    if not isinstance(entries, dict) or not all(isinstance(e, dict) for e in entries.values()):
        raise DataError(f"{path}: expected an object for each sequence, as pysot's files have it.")
    return entries


def _read_entry(entry: dict[str, Any], path: Path, name: str) -> ToolkitAnnotation:
    """Annotation in pysot's JSON: ``gt_rect``, ``img_names``, ``attr``, ``absent``."""
    try:
        rows = [_box(row) for row in entry["gt_rect"]]
        absent = entry.get("absent")
        marks = None if absent is None else np.array(absent, dtype=np.float64) != 0
        words = entry.get("attr") or ()
        words = (words,) if isinstance(words, str) else words
        return ToolkitAnnotation(
            boxes=np.array(rows, dtype=np.float64).reshape(-1, 4),
            absent=marks,
            attributes=tuple(ATTRIBUTES.get(str(word).lower(), str(word)) for word in words),
            images=tuple(path.parent / str(image) for image in entry.get("img_names") or ()),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}, sequence {name!r}: {type(error).__name__}: {error}; expected `gt_rect`, four "
            "numbers or a polygon a frame, and `img_names`."
        ) from error


def _box(row: list[float] | None) -> list[float]:
    """A box of four numbers, the box around a polygon, or NaN where a frame has none."""
    if row is None or (isinstance(row, list) and len(row) < 2):
        return [np.nan] * 4
    values = [np.nan if value is None else float(value) for value in row]
    if len(values) == 4:
        return values
    if len(values) >= 6 and len(values) % 2 == 0:
        return polygon_to_box(np.array(values)).tolist()
    raise ValueError(f"found {row}")


def _read_flat(path: Path) -> ToolkitAnnotation:
    """Annotation of LaSOT's toolkit: boxes, and ``absent/<sequence>.txt``."""
    marks = path.parent / "absent" / path.name
    absent = read_labels(marks) != 0 if marks.is_file() else None
    return ToolkitAnnotation(parse_boxes(read_bytes(path), path), absent)
