"""Zip files for the evaluation servers of GOT-10k and TrackingNet, and their validation."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from relo_env.benchmark.results import check_folder, format_boxes, read_boxes, read_seconds
from relo_env.datasets.base import Dataset
from relo_env.datasets.verify import official_count
from relo_env.errors import ConfigError, DataError, unknown


@dataclass(frozen=True)
class Server:
    """What an evaluation server expects in its zip, by sequence name ``{0}``.

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
        folder: holds ``<sequence>.txt``, and the time files if the server wants them.
        dataset: the server's test split.
        zip_path: the file to write; its folder is made if need be.

    Raises:
        ConfigError: an unknown server, another split than "test", or a folder instead of a file
            to write.
        DataError: there is no such folder, or a result is missing or malformed; the message lists
            the faults.
    """
    layout, folder, zip_path = _server(server), Path(folder), Path(zip_path)
    if dataset.split != "test":
        raise ConfigError(
            f"The server {server!r} takes results on the split 'test', not on {dataset.split!r}; "
            "pack those of the test split. `relo report` gives the figures of the others."
        )
    check_folder(folder, [dataset.name])
    if zip_path.is_dir():
        raise ConfigError(f"{zip_path} is a folder; give the name of the zip file to write in it.")
    zip_path.parent.mkdir(parents=True, exist_ok=True)
    partial = zip_path.with_name(zip_path.name + ".partial")
    try:
        faults = _write(layout, folder, dataset, partial) or validate(server, partial, dataset)
        if faults:
            raise DataError(
                f"{folder} cannot be submitted to {server}, {len(faults)} faults:\n"
                + _first(faults)
            )
        return partial.replace(zip_path)
    finally:
        partial.unlink(missing_ok=True)


def _write(layout: Server, folder: Path, dataset: Dataset, path: Path) -> list[str]:
    """Write a zip; returns what was wrong with the results, in words."""
    faults = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in dataset.names:
            try:
                for entry, text in _entries(layout, folder, name):
                    archive.writestr(zipfile.ZipInfo(entry, _EPOCH), text, zipfile.ZIP_DEFLATED)
            except DataError as error:
                faults.append(str(error))
    return faults


def _entries(layout: Server, folder: str | Path, name: str) -> Iterator[tuple[str, str]]:
    yield layout.boxes.format(name), format_boxes(read_boxes(folder, name))
    if layout.times:
        seconds = read_seconds(folder, name)
        if seconds is None:
            raise DataError(f"{folder}: no {name}_time.txt; this server wants the times too.")
        yield layout.times.format(name), "".join(f"{value:.8f}\n" for value in seconds)


def validate(server: str, zip_path: str | Path, dataset: Dataset) -> list[str]:
    """Faults of a zip, in words; an empty list if the server should take it.

    Checked are that the data set is whole, the names of the files (none missing, none foreign, no
    folder around them), the number of lines and of columns, and that every value is a finite
    number.

    Raises:
        ConfigError: an unknown server.
    """
    layout = _server(server)
    with zipfile.ZipFile(zip_path) as archive:
        found = {path for path in archive.namelist() if not path.endswith("/")}
        expected: dict[str, tuple[str, int]] = {}
        for name in dataset.names:
            expected[layout.boxes.format(name)] = (name, 4)
            if layout.times:
                expected[layout.times.format(name)] = (name, 1)
        faults = _count_faults(dataset)
        faults += [f"{path}: missing" for path in expected if path not in found]
        for path in sorted(found - set(expected)):
            inner = any(path.endswith("/" + wanted) for wanted in expected)
            faults.append(
                f"{path}: {'inside another folder' if inner else 'not expected'}; files start "
                f"at {next(iter(expected))!r}"
            )
        for path, (name, columns) in expected.items():
            if path in found:
                text = archive.read(path).decode(errors="replace")
                fault = _table_fault(text, len(dataset[name]), columns)
                if fault:
                    faults.append(f"{path}: {fault}")
    return faults


def _count_faults(dataset: Dataset) -> list[str]:
    found, expected = len(dataset.names), official_count(dataset)
    if found >= expected:
        return []
    return [
        f"{dataset.name}, split {dataset.split!r}, has {found} sequences on disk, but the server "
        f"expects all {expected}; download the others and track them"
    ]


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


def _server(name: str) -> Server:
    if name not in SERVERS:
        raise ConfigError(unknown("evaluation server", name, SERVERS))
    return SERVERS[name]


def _first(faults: list[str], count: int = 10) -> str:
    rest = [f"... and {len(faults) - count} more"] if len(faults) > count else []
    return "\n".join([*faults[:count], *rest])
