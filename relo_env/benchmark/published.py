"""Folders and zips of results as trackers are published: files matched to a data set's sequences.

Box files may lie flat or as GOT-10k's toolkit lays them out (``<sequence>/<sequence>_001.txt``, a
file for each run), in any case, with ``-``, ``.`` or ``_`` between the parts of a name, and with a
prefix or suffix that they share: ``uav_bike1.txt``, ``Jogging.1.txt``, ``Basketball_ECO.mat``.
"""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as SequenceOf
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath

import numpy as np

from relo_env.benchmark.box_files import SUFFIXES, parse_boxes, parse_seconds, plain_boxes
from relo_env.datasets.annotations import parse_table
from relo_env.datasets.frames import is_clutter
from relo_env.errors import DataError

BATCH = 64
"""Files that are parsed at a time."""
DEPTH = 3
"""Folders below that of the results that are looked into."""
_TIME = re.compile(r"(.+?)_(read_|model_)?time", re.IGNORECASE)
_RUN = re.compile(r"(.+)_(\d{3})")
_TIME_FOLDERS = ("time", "times")
_KINDS = {"": "tracker", "read_": "read", "model_": "model"}


class Files:
    """Files of a folder or a zip, by their path in it with ``/`` between its parts.

    Hidden files and those that macOS leaves behind are left out.

    Args:
        place: folder or zip file.
        unwrap: leave out the folders that hold all of the files.

    Raises:
        DataError: there is no such folder, or the zip is cut or encrypted.
    """

    def __init__(self, place: str | Path, *, unwrap: bool = True) -> None:
        self.place = Path(place)
        self.parsed: dict[str, np.ndarray] = {}
        self._archive: zipfile.ZipFile | None = None
        found = self._list_folder() if self.place.is_dir() else self._list_zip()
        self._paths = _unwrapped(found) if unwrap else found

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def label(self, path: str) -> str:
        """Name of a file for messages."""
        return str(self.place / path)

    def read(self, path: str) -> bytes:
        """Content of a file.

        Raises:
            DataError: it cannot be read.
        """
        try:
            if self._archive is None:
                return Path(self._paths[path]).read_bytes()
            return read_entry(self._archive, self._paths[path])
        except OSError as error:
            reason = str(error).rstrip(".")
            raise DataError(
                f"{self.label(path)} cannot be read: {reason}. Copy it anew."
            ) from error

    def parse_ahead(self, paths: SequenceOf[str]) -> None:
        """Parse files many at a time, which takes half as long as one by one.

        ``parsed`` gets the tables. It may lack those beside a file that is no plain table.
        """
        for batch in (paths[k : k + BATCH] for k in range(0, len(paths), BATCH)):
            with suppress(DataError):
                contents = [self.read(path).rstrip() for path in batch]
                table = parse_table(b"\n".join(contents))
                ends = np.cumsum([content.count(b"\n") + 1 for content in contents])
                if table is not None and len(table) == ends[-1]:
                    self.parsed.update(zip(batch, np.split(table, ends[:-1]), strict=True))

    def _list_folder(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for folder, inside, names in os.walk(self.place):
            parts = Path(folder).relative_to(self.place).parts
            inside[:] = sorted(n for n in inside if not is_clutter(n)) if len(parts) < DEPTH else []
            for name in sorted(names):
                if not is_clutter(name):
                    found["/".join((*parts, name))] = os.path.join(folder, name)
        return found

    def _list_zip(self) -> dict[str, str]:
        try:
            self._archive = zipfile.ZipFile(self.place)
        except FileNotFoundError:
            raise DataError(
                f"There is no folder {self.place}; expected one of results, or their zip file."
            ) from None
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{self.place} is neither a folder nor a whole zip file ({error}); expected "
                "results. Copy it anew, or unpack it if it is an archive of another kind."
            ) from error
        entries = {entry.replace("\\", "/"): entry for entry in self._archive.namelist()}
        return {
            path: entry
            for path, entry in entries.items()
            if not path.endswith("/") and not any(map(is_clutter, path.split("/")))
        }


def _unwrapped(files: dict[str, str]) -> dict[str, str]:
    """The same files without the folders that hold all of them."""
    if len(files) < 2:
        return files
    folders = [path.split("/")[:-1] for path in files]
    first, last = min(folders), max(folders)  # in order, so that these two differ the most
    depth = next((k for k, part in enumerate(first) if part != last[k]), len(first))
    return {"/".join(path.split("/")[depth:]): own for path, own in files.items()}


@dataclass(frozen=True)
class Published:
    """Box and time files of sequences in a folder or zip.

    Attributes:
        files: that hold them.
        boxes: paths by sequence, one for each run.
        seconds: paths by kind ("tracker", "read", "model") and sequence.
        unmatched: paths of the box files of no sequence.
    """

    files: Files
    boxes: Mapping[str, tuple[str, ...]]
    seconds: Mapping[tuple[str, str], str]
    unmatched: tuple[str, ...]

    @property
    def runs(self) -> int:
        """Greatest number of runs of a sequence."""
        return max((len(paths) for paths in self.boxes.values()), default=0)

    def path(self, sequence: str, run: int = 0) -> str:
        """Name of a sequence's box file for messages."""
        return self.files.label(self._path(sequence, run))

    def read(self, sequence: str, run: int = 0) -> np.ndarray:
        """Boxes ``(n, 4)`` of a run in the file's own coordinates; NaN where none is predicted.

        Where a sequence has fewer runs than others, as GOT-10k's toolkit leaves it for trackers
        that repeat themselves, its first run stands for the others.

        Raises:
            DataError: the file is malformed.
        """
        path = self._path(sequence, run)
        plain = plain_boxes(self.files.parsed.pop(path, None))
        if plain is not None:
            return plain
        return parse_boxes(self.files.read(path), self.files.label(path))

    def read_seconds(self, sequence: str, kind: str = "tracker") -> np.ndarray | None:
        """Seconds a frame ``(n,)``; None if there are none.

        Raises:
            DataError: the file is malformed.
        """
        path = self.seconds.get((kind, sequence))
        if path is None:
            return None
        if path in self.files.parsed:
            return self.files.parsed.pop(path)[:, 0]
        return parse_seconds(self.files.read(path), self.files.label(path))

    def _path(self, sequence: str, run: int) -> str:
        paths = self.boxes[sequence]
        return paths[run if run < len(paths) else 0]


def find_results(place: str | Path, names: Iterable[str]) -> Published:
    """Match the files of a folder or zip to sequences.

    Args:
        place: folder or zip file.
        names: of the sequences.

    Raises:
        DataError: there is no such folder, or the zip is damaged.
    """
    names = list(dict.fromkeys(names))
    files = Files(place, unwrap=not any("/" in name for name in names))
    candidates, times = _sort_out(files, set(names))
    boxes: dict[str, dict[int, str]] = defaultdict(dict)
    for match in (_match_exactly, _match_alike, _match_affixed):
        rest = [name for name in names if name not in boxes]
        taken = {path for runs in boxes.values() for path in runs.values()}
        left = [path for path in candidates if path not in taken]
        for name, run, path in match(left, rest, len(boxes)):
            boxes[name].setdefault(run, path)
    ordered = {
        name: tuple(path for _, path in sorted(runs.items())) for name, runs in boxes.items()
    }
    taken = {path for paths in ordered.values() for path in paths}
    return Published(
        files,
        ordered,
        _match_times(times, ordered),
        tuple(path for path in candidates if path not in taken),
    )


def read_entry(archive: zipfile.ZipFile, name: str) -> bytes:
    """Content of a zip's file.

    Raises:
        OSError: it is damaged, encrypted or cut; the message is the reason.
    """
    try:
        return archive.read(name)
    except (RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise OSError(str(error) or "it ends early") from error


def folders_of_results(published: Published, names: Iterable[str]) -> list[str]:
    """Folders inside a folder or zip that have unmatched files called as sequences."""
    known = set(map(_key, names))
    found: dict[str, None] = {}
    for path in published.unmatched:
        parts = path.split("/")
        for k in range(1, len(parts)):
            if any(_key(name) in known for name, _ in _readings("/".join(parts[k:]))):
                found["/".join(parts[:k])] = None
                break
    return list(found)


Match = tuple[str, int, str]
"""Sequence, run and path of a box file."""


def _sort_out(files: Files, names: set[str]) -> tuple[list[str], list[str]]:
    """Paths that may hold boxes, the best kind first, and those that hold times."""
    boxes: list[str] = []
    times: list[str] = []
    by_suffix = [[p for p in files if p.lower().endswith(suffix)] for suffix in SUFFIXES]
    for path in chain.from_iterable(by_suffix):
        stem = _stem(path)
        timed = _TIME.fullmatch(PurePosixPath(stem).name)
        # `a_time.txt` holds the times of `a`, unless only a sequence `a_time` is known.
        own = stem in names and not (timed and timed[1] in names)
        in_times = PurePosixPath(path).parent.name.lower() in _TIME_FOLDERS
        (times if (timed or in_times) and not own else boxes).append(path)
    return boxes, times


def _stem(path: str) -> str:
    return os.path.splitext(path)[0]


def _readings(path: str) -> Iterator[tuple[str, int]]:
    """Names that a path may stand for, with the run: as it is, and of a folder of its own."""
    *folders, stem = _stem(path).split("/")
    yield "/".join((*folders, stem)), 1
    numbered = _RUN.fullmatch(stem)
    base, run = (numbered[1], int(numbered[2])) if numbered else (stem, 1)
    if folders and _key(folders[-1]) == _key(base):
        yield "/".join(folders), run
    elif numbered:
        yield "/".join((*folders, base)), run


def _match_exactly(paths: list[str], names: list[str], found: int) -> Iterable[Match]:
    known = set(names)
    for path in paths:
        for name, run in _readings(path):
            if name in known:
                yield name, run, path
                break


def _match_alike(paths: list[str], names: list[str], found: int) -> Iterable[Match]:
    """Matches but for case, and for the signs between the parts of a name."""
    known = _by_key(names)
    for path in paths:
        for name, run in _readings(path):
            if _key(name) in known:
                yield known[_key(name)], run, path
                break


def _match_affixed(paths: list[str], names: list[str], found: int) -> Iterable[Match]:
    """Matches of files whose names have the same words before and after a sequence's name.

    The words are those that fit the most sequences; they must fit more than have been found.
    """
    known = _by_key(names)
    by_affix: dict[tuple[str, str], list[Match]] = defaultdict(list)
    for path in paths:
        for reading, run in _readings(path):
            words = _key(reading).split("_")
            for start in range(len(words)):
                for end in range(start + 1, len(words) + 1):
                    name = known.get("_".join(words[start:end]))
                    affix = "_".join(words[:start]), "_".join(words[end:])
                    if name is not None and "/" not in "".join(affix):
                        by_affix[affix].append((name, run, path))
    sizes = {affix: len({name for name, *_ in each}) for affix, each in by_affix.items()}
    if not sizes or max(sizes.values()) <= found:
        return []
    return by_affix[max(sizes, key=lambda affix: (sizes[affix], -len("".join(affix))))]


def _match_times(
    paths: list[str], boxes: Mapping[str, tuple[str, ...]]
) -> dict[tuple[str, str], str]:
    """Time files by kind and sequence: named after the sequence, or after its box file."""
    known = _by_key(boxes)
    for name, (first, *_) in boxes.items():
        known.setdefault(_key(_stem(first)), name)
    matched: dict[tuple[str, str], str] = {}
    for path in paths:
        for base, kind in _time_readings(path):
            if _key(base) in known:
                matched.setdefault((kind, known[_key(base)]), path)
                break
    return matched


def _time_readings(path: str) -> Iterator[tuple[str, str]]:
    """Names that a time file may belong to, with its kind."""
    *folders, stem = _stem(path).split("/")
    for own, kind in (("_time", ""), ("_read_time", "read_"), ("_model_time", "model_")):
        if folders and stem == folders[-1] + own:
            yield "/".join(folders), _KINDS[kind]
    timed = _TIME.fullmatch(stem)
    base, kind = (timed[1], (timed[2] or "").lower()) if timed else (stem, "")
    if folders and folders[-1].lower() in _TIME_FOLDERS:
        folders = folders[:-1]
    yield "/".join((*folders, base)), _KINDS[kind]


def _by_key(names: Iterable[str]) -> dict[str, str]:
    """Names by their keys; also by that without the target's number where only one has it."""
    names = list(names)
    keys = {_key(name): name for name in names}
    bases = Counter(re.sub(r"_\d+$", "", key) for key in keys)
    for key, name in list(keys.items()):
        base = re.sub(r"_\d+$", "", key)
        if bases[base] == 1 and re.fullmatch(r".*_\d", key):
            keys.setdefault(base, name)
    return keys


def _key(name: str) -> str:
    """A name in lower case with one sign between its parts."""
    return re.sub(r"[-._\s]+", "_", name).lower()
