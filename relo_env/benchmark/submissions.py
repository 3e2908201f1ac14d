"""Zip files for the evaluation servers of GOT-10k and TrackingNet, and their validation."""

from __future__ import annotations

import math
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from relo_env.benchmark.published import Published, find_results, read_entry
from relo_env.benchmark.results import check_folder, format_boxes
from relo_env.datasets.base import Dataset, Sequence
from relo_env.datasets.verify import official_count
from relo_env.errors import ConfigError, DataError, unknown
from relo_env.files import replacing


@dataclass(frozen=True)
class Server:
    """Files that an evaluation server expects in its zip, by sequence name ``{0}``.

    Attributes:
        boxes: path of the file with a comma-separated box a line, the first frame included.
        times: path of the file with the seconds of each frame, or None where none is asked for.
    """

    boxes: str
    times: str | None = None


SERVERS = {
    "got10k": Server(boxes="{0}/{0}_001.txt", times="{0}/{0}_time.txt"),
    "trackingnet": Server(boxes="{0}.txt"),
}

_EPOCH = (1980, 1, 1, 0, 0, 0)  # of every entry, so that equal results give equal zips


def pack(server: str, folder: str | Path, dataset: Dataset, zip_path: str | Path) -> Path:
    """Pack the results in a folder for a server, and validate the zip.

    Args:
        server: "got10k" or "trackingnet".
        folder: holds a box file for each sequence, see :mod:`relo_env.benchmark.published`, and
            the time files if the server wants them. Of several runs the first is packed.
        dataset: the server's test split.
        zip_path: the file to write; its folder is made if need be.

    Raises:
        ConfigError: an unknown server, another split than "test", or a folder instead of a file
            to write.
        DataError: there is no such folder, or a result is missing or malformed; the message lists
            the faults.
        OutputError: the disk refuses.
    """
    layout, folder, zip_path = _server(server), Path(folder), Path(zip_path)
    if dataset.split != "test":
        raise ConfigError(
            f"The server {server!r} takes results on the split 'test', not on {dataset.split!r}; "
            "pack those of the test split. `relo report` gives the figures of the others."
        )
    if not folder.is_file():
        check_folder(folder, [dataset.name])
    if zip_path.is_dir():
        raise ConfigError(f"{zip_path} is a folder; give the name of the zip file to write in it.")
    published = find_results(folder, dataset.names)
    with replacing(zip_path) as temporary:
        faults = _write(layout, published, dataset, temporary)
        faults = faults or validate(server, temporary, dataset)
        if faults:
            raise DataError(
                f"{folder} cannot be submitted to {server}, {len(faults)} faults:\n"
                + _first(faults)
            )
    return zip_path


def _write(layout: Server, published: Published, dataset: Dataset, path: Path) -> list[str]:
    """Write a zip; returns what was wrong with the results, in words."""
    faults = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in dataset.names:
            try:
                for entry, text in _entries(layout, published, name):
                    archive.writestr(zipfile.ZipInfo(entry, _EPOCH), text, zipfile.ZIP_DEFLATED)
            except DataError as error:
                faults.append(str(error))
    return faults


def _entries(layout: Server, published: Published, name: str) -> Iterator[tuple[str, str]]:
    if name not in published.boxes:
        raise DataError(
            f"No result for sequence {name!r} in {published.files.place}; expected {name}.txt. "
            "Run the tracker on it, or check the data set's name and split."
        )
    yield layout.boxes.format(name), format_boxes(published.read(name))
    if layout.times:
        seconds = published.read_seconds(name)
        if seconds is None:
            path = published.files.label(f"{name}_time.txt")
            raise DataError(f"{path}: missing; this server wants the times too.")
        yield layout.times.format(name), "".join(f"{value:.8f}\n" for value in seconds)


def validate(server: str, zip_path: str | Path, dataset: Dataset) -> list[str]:
    """Faults of a zip, in words; an empty list if the server should take it.

    Checked are that the zip is whole and not encrypted; that the data set is whole; the names of
    the files (none missing, twice, foreign or in a folder, parts separated by ``/``); the number
    of lines and columns; that values are finite numbers, sizes and times not negative; and that
    the first box is the given one, within a pixel.

    Raises:
        ConfigError: an unknown server.
    """
    layout = _server(server)
    try:
        with zipfile.ZipFile(zip_path) as archive:
            return list(_faults(layout, archive, dataset))
    except (OSError, zipfile.BadZipFile) as error:
        return [f"{zip_path}: not a whole zip file ({error}); pack it anew"]


def _faults(layout: Server, archive: zipfile.ZipFile, dataset: Dataset) -> Iterator[str]:
    expected: dict[str, tuple[str, int]] = {}
    for name in dataset.names:
        expected[layout.boxes.format(name)] = (name, 4)
        if layout.times:
            expected[layout.times.format(name)] = (name, 1)
    found = Counter(entry.orig_filename for entry in archive.infolist() if not entry.is_dir())
    yield from _count_faults(dataset)
    yield from _name_faults(found, expected)
    for path, (name, columns) in expected.items():
        if path in found:
            fault = _file_fault(archive, path, dataset[name], columns)
            if fault:
                yield f"{path}: {fault}"


def _name_faults(found: Counter[str], expected: dict[str, tuple[str, int]]) -> Iterator[str]:
    for path in expected:
        if path not in found:
            yield f"{path}: missing"
    for path, count in sorted(found.items()):
        if count > 1:
            yield f"{path}: {count} entries of this name, expected one"
        if path in expected:
            continue
        if path.replace("\\", "/") in expected:
            fault = "has a backslash, expected / between folder and file"
        elif any(path.replace("\\", "/").endswith("/" + wanted) for wanted in expected):
            fault = "inside another folder"
        else:
            fault = "not expected"
        yield f"{path}: {fault}; files start at {next(iter(expected))!r}"


def _count_faults(dataset: Dataset) -> list[str]:
    found, expected = len(dataset.names), official_count(dataset)
    if found >= expected:
        return []
    return [
        f"{dataset.name}, split {dataset.split!r}, has {found} sequences on disk, but the server "
        f"expects all {expected}; download the others and track them"
    ]


def _file_fault(
    archive: zipfile.ZipFile, path: str, sequence: Sequence, columns: int
) -> str | None:
    """Faults of a file of boxes or times."""
    if archive.getinfo(path).flag_bits & 1:
        return "encrypted; pack it without a password"
    try:
        text = read_entry(archive, path).decode(errors="replace")
    except OSError as error:
        return f"damaged ({error}); pack it anew"
    return _table_fault(text, len(sequence), columns) or _value_fault(text, sequence, columns)


def _table_fault(text: str, rows: int, columns: int) -> str | None:
    lines = text.splitlines()
    if len(lines) != rows:
        return f"{len(lines)} lines, expected {rows}, one for each frame"
    for number, line in enumerate(lines, start=1):
        cells = line.split(",")
        if len(cells) != columns:
            return f"line {number} has {len(cells)} comma-separated columns, expected {columns}"
        try:
            finite = all(math.isfinite(float(cell)) for cell in cells)
        except ValueError:
            finite = False
        if not finite:
            return f"line {number} is {line!r}, expected finite numbers"
    return None


def _value_fault(text: str, sequence: Sequence, columns: int) -> str | None:
    """A negative size or time, or another first box, in a table of numbers."""
    lines = text.splitlines()
    values = np.array([[float(cell) for cell in line.split(",")] for line in lines])
    negative = np.flatnonzero((values[:, 2:] if columns == 4 else values).min(axis=1) < 0)
    if negative.size:
        kind = "width and height" if columns == 4 else "seconds"
        return f"line {negative[0] + 1} is {lines[negative[0]]!r}, expected {kind} of at least 0"
    given = sequence.boxes[0]
    if columns == 4 and np.abs(values[0] - given).max() > 1:
        box = ",".join(f"{value:g}" for value in given)
        return f"line 1 is {lines[0]!r}, expected the given box {box}"
    return None


def _server(name: str) -> Server:
    if name not in SERVERS:
        raise ConfigError(unknown("evaluation server", name, SERVERS))
    return SERVERS[name]


def _first(faults: list[str], count: int = 10) -> str:
    rest = [f"... and {len(faults) - count} more"] if len(faults) > count else []
    return "\n".join([*faults[:count], *rest])
