"""Base of the data sets on disk: a root folder, split lists, files that may be missing."""

from __future__ import annotations

import copy
import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Sequence as SequenceOf
from contextlib import suppress
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np

from relo_env.checks import check
from relo_env.datasets.annotations import (
    count_lines,
    read_boxes,
    read_bytes,
    read_text,
    require_count,
    without_empty,
)
from relo_env.datasets.base import Dataset, FrameSource, Sequence
from relo_env.datasets.frames import (
    ImageFrames,
    NoFrames,
    cut_frames,
    describe,
    image_frames,
    is_clutter,
    missing_numbers,
)
from relo_env.datasets.toolkits import Found, find_annotations
from relo_env.errors import DataError

ROOT_VARIABLE = "RELO_DATA"
"""Environment variable that names the folder in which the data sets' folders lie."""
Lengths = Literal["strict", "cut"]
"""Treatment of sequences whose frames, boxes and labels differ in number, see `DiskDataset`."""
ONE_BASED: Mapping[str, Any] = MappingProxyType({"origin": 1, "file_origin": 1})
"""`DiskDataset.origins` of a benchmark that counts pixels from 1 and whose boxes are kept so."""
BOX_FILES = ("groundtruth.txt", "Groundtruth.txt", "groundtruth_rect.txt")
"""Annotation of a sequence in its folder."""
RECENT = 256
"""Sequences whose annotations stay in memory: some 100 MB where they have 2500 frames each."""


class MissingSequenceError(DataError):
    """A sequence that belongs to the split but has no files on disk."""


class DiskDataset(Dataset):
    """A data set in a folder.

    Subclasses say where the sequences of a split are (``find``) and their ``images``, which the
    benchmark says there should be (``official_names``), and, where more than boxes and images has
    to be read, how to ``read`` one. Of sequences that are not found, the annotation in a toolkit's
    files is taken: ``<root>/<data set>.json`` as pysot has it, or ``<root>/annos/<sequence>.txt``
    as LaSOT's toolkit has it.

    Args:
        root: the data set's folder; by default ``$RELO_DATA/<name>``.
        split: one of ``splits``, by default the first.
        lengths: "strict" refuses a sequence whose frames, boxes and labels differ in number; "cut"
            keeps what all of them have.

    Raises:
        ConfigError: there is no such split, or ``lengths`` is another word.
        DataError: the folder is missing, or holds no sequence of the split.
    """

    layout: ClassVar[str]
    """The expected files, as shown to users whose root is missing or empty."""
    folders: ClassVar[tuple[str, ...]] = ()
    """Possible names of its folder in ``$RELO_DATA``, the preferred one first."""
    official_counts: ClassVar[Mapping[str, int]] = {}
    """Number of sequences of each split whose names only the download tells."""
    toolkit_names: ClassVar[tuple[str, ...]] = ()
    """Further names of its JSON file in pysot's toolkit."""
    names_file: ClassVar[str] = ""
    """Table of ``splits/`` with the benchmark's names; ``{split}`` stands for the split."""
    attributes_file: ClassVar[str] = ""
    """Table of ``splits/`` with the attributes that the benchmark marks its sequences with."""
    origins: ClassVar[Mapping[str, Any]] = {}
    """``origin`` and ``file_origin`` of its sequences, where they are not 0."""

    def __init__(
        self,
        root: Path | str | None = None,
        split: str | None = None,
        *,
        lengths: Lengths = "strict",
    ) -> None:
        super().__init__(split)
        check("lengths", lengths, Lengths)
        self.cut = lengths == "cut"
        self._annotated: int | None = None
        self.root = self._find_root(root)
        self._recent: dict[str, Sequence] = {}
        self._paths = dict(self.find())
        self._listed = self._find_listed()
        self._paths.update({name: found.path for name, found in self._listed.items()})
        self._names = self._list_names()
        if not any(name in self._paths for name in self._names):
            raise DataError(
                f"{self.name}: no sequence of split {self.split!r} in {self.root} (splits: "
                f"{', '.join(self.splits)}), which holds {describe(self.root)}. {self._expected}"
            )

    @classmethod
    def folder_names(cls) -> tuple[str, ...]:
        """Possible names of its folder in ``$RELO_DATA``: ``folders``, or its own name."""
        return cls.folders or (cls.name,)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the split's sequences, in the benchmark's order."""
        return self._names

    def __getitem__(self, key: int | str) -> Sequence:
        """A sequence; annotations of the last `RECENT` ones are not read again."""
        name = key if isinstance(key, str) else self.names[key]
        sequence = self._recent.pop(name, None) or super().__getitem__(name)
        if isinstance(sequence.frames, ImageFrames):  # an open video would hold a decoder
            self._recent[name] = sequence
        if len(self._recent) > RECENT:
            del self._recent[next(iter(self._recent))]
        return sequence

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_recent": {}}

    @property
    def official_names(self) -> tuple[str, ...] | None:
        """Names that the benchmark gives this split; None where the disk decides."""
        return read_list(self.names_file.format(split=self.split)) if self.names_file else None

    @abstractmethod
    def find(self) -> Iterable[tuple[str, Path]]:
        """Names and folders (or annotation files) of the sequences on disk, in order.

        May include those of other splits where ``official_names`` are known.
        """

    def images(self, name: str) -> Path:
        """Folder of a sequence's images."""
        return self.locate(name)

    def read(self, name: str) -> Sequence:
        """Read the annotation of a sequence that ``find`` gives; see ``Dataset.load``."""
        frames = self.open(image_frames, self.images(name))
        boxes = read_boxes(self.annotation_file(name), self.count(frames))
        return self.annotate(name, frames, boxes)

    def read_first_box(self, name: str) -> Sequence:
        """Read a sequence of which only the first frame is labelled; see ``Dataset.load``."""
        frames, path = self.open(image_frames, self.images(name)), self.annotation_file(name)
        given = read_boxes(path)
        if len(given) != 1:
            raise DataError(f"{path} has {len(given)} boxes; expected the first frame's only.")
        boxes = np.concatenate([given, np.zeros((len(frames) - 1, 4))])
        return self.annotate(name, frames, boxes, labelled=np.arange(len(frames)) == 0)

    def annotate(
        self,
        name: str,
        frames: FrameSource,
        boxes: np.ndarray,
        absent: np.ndarray | None = None,
        labelled: np.ndarray | None = None,
        attributes: tuple[str, ...] | None = None,
        *,
        cut: bool = False,
    ) -> Sequence:
        """Make a sequence of boxes and labels that were read.

        Args:
            name: the sequence's name.
            frames: n frames.
            boxes: ``(n, 4)`` xywh, zeros where the target is absent.
            absent: bool ``(n,)``, further frames where the target is absent.
            labelled: bool ``(n,)``, frames that somebody annotated; by default all.
            attributes: names of its challenges; by default `attributes` gives them.
            cut: where frames, boxes and labels differ in number, keep what all have, whatever
                ``lengths`` says.

        Raises:
            DataError: the first box has no area, no frame shows the target, or images between
                others are missing.
        """
        if len(boxes) and not boxes[0].any():
            raise DataError(
                f"Sequence {name!r}: the first frame's box is empty or not finite; expected a box "
                "with positive width and height, since tracking starts from it."
            )
        absent = np.zeros(len(boxes), dtype=bool) if absent is None else absent
        labelled = np.ones(len(boxes), dtype=bool) if labelled is None else labelled
        if cut or self.cut:
            if lacking := missing_numbers(frames, len(boxes)):
                raise DataError(
                    f"Sequence {name!r}: between the images, those numbered {lacking[:5]} are "
                    "missing; boxes that are cut at the end would belong to other frames. Copy "
                    "them anew."
                )
            n = min(len(frames), len(boxes), len(absent), len(labelled))
            frames = cut_frames(frames, n)
            boxes, absent, labelled = boxes[:n], absent[:n], labelled[:n]
        visible = (boxes[:, 2:] > 0).all(axis=1) & ~absent & labelled
        boxes = np.where(visible[:, None], boxes, 0.0)
        attributes = self.attributes(name) if attributes is None else attributes
        return Sequence(name, frames, boxes, visible, attributes, labelled, **self.origins)

    def load(self, name: str) -> Sequence:
        """Read the annotation of one sequence; see ``Dataset.load``.

        Raises:
            DataError: the annotation is malformed, or the disk refuses a file or folder of it.
        """
        try:
            return self._read_listed(name) if name in self._listed else self.read(name)
        except OSError as error:
            raise DataError(
                f"Sequence {name!r} cannot be read: {error.filename}: {error.strerror}. Look at "
                "its permissions and links, or copy it anew."
            ) from error

    def attributes(self, name: str) -> tuple[str, ...]:
        """Challenges that the benchmark marks a sequence with; none where it is not known."""
        return read_table(self.attributes_file).get(name, ()) if self.attributes_file else ()

    def locate(self, name: str) -> Path:
        """Folder (or annotation file) of a sequence; MissingSequenceError if it is not there."""
        path = self._paths.get(name)
        if path is None or not path.exists():
            raise MissingSequenceError(
                f"{self.name}: there is no sequence {name!r} in {path or self.root}. "
                "Download it, or choose some that are there: --sequences NAME, or "
                f"reset(options={{'sequence': NAME}}). Expected layout:\n{self.layout}"
            )
        return path

    def annotation(self, name: str) -> Sequence:
        """Boxes and labels of a sequence without its frames; see ``Dataset.annotation``."""
        path = self.annotation_file(name)
        if name in self._listed:
            return self._read_listed(name, pictures=False)
        if not path.is_file():
            try:
                return self[name]
            except DataError as error:  # no pictures, but figures need none
                raise DataError(f"There is no annotation {path}. {error}") from error
        data = read_bytes(path)
        if len(data[len(data.rstrip()) :].splitlines()) > 1:  # blank lines may be frames
            with suppress(DataError):
                return self[name]
        view = copy.copy(self)
        view._annotated = count_lines(data, path)
        return view.load(name)

    def annotation_file(self, name: str) -> Path:
        """Path of the file with a sequence's boxes, which may be missing."""
        place = self.locate(name)
        if place.is_file():
            return place
        return next(
            (p for p in map(place.joinpath, BOX_FILES) if p.is_file()), place / BOX_FILES[0]
        )

    def open(self, find: Callable[..., FrameSource], *where: Any, skip: int = 0) -> FrameSource:
        """Frames of a video, or a stand-in for them where only its annotation is read.

        Args:
            find: gives the frames.
            where: its arguments, the folder first.
            skip: lines of the annotation that belong to frames left out.
        """
        if self._annotated is None:
            return find(*where)
        return NoFrames(self._annotated - skip, where[0])

    def count(self, frames: FrameSource) -> int | None:
        """Number of boxes and labels that a video must have; None: any, to be cut."""
        return None if self.cut else len(frames)

    def _find_listed(self) -> dict[str, Found]:
        official = self.official_names
        lacking = None if official is None else [n for n in official if n not in self._paths]
        if lacking == [] or (official is None and self._paths):
            return {}
        titles = (self.name, *self.folder_names(), *self.toolkit_names)
        return find_annotations(self.root, titles, lacking)

    def _read_listed(self, name: str, *, pictures: bool = True) -> Sequence:
        """Sequence by a toolkit's annotation; without ``pictures``, none need to be there."""
        path, read = self._listed[name]
        found = read()
        if pictures and not (found.images and found.images[0].is_file()):
            looked = f" in {found.images[0].parent}" if found.images else ""
            raise MissingSequenceError(
                f"{self.name}: {path} has the boxes of sequence {name!r}, but there are no pictures"
                f"{looked}. Figures of results need none; for all else copy them. Expected "
                f"layout:\n{self.layout}"
            )
        shift = self.origins.get("file_origin", 0) - self.origins.get("origin", 0)
        boxes = found.boxes - [shift, shift, 0, 0]
        frames = ImageFrames(found.images) if pictures else NoFrames(len(boxes), path)
        for kind, given in (("boxes", boxes), ("labels", found.absent)):
            require_count(path, len(boxes if given is None else given), self.count(frames), kind)
        attributes = self.attributes(name) or found.attributes
        return self.annotate(
            name, frames, without_empty(boxes), found.absent, attributes=attributes
        )

    def _list_names(self) -> tuple[str, ...]:
        official = self.official_names
        if official is None:
            return tuple(self._paths)
        # An evaluation over part of a benchmark must not pass for the whole: there, missing
        # sequences stay in the list and fail. Training takes what there is.
        if self.is_training:
            return tuple(name for name in official if name in self._paths)
        return official

    def _find_root(self, root: Path | str | None) -> Path:
        if root is None:
            base = os.environ.get(ROOT_VARIABLE)
            if not base:
                raise DataError(
                    f"{self.name}: no root given and {ROOT_VARIABLE} is not set. {self._expected}"
                )
            root = find_folder(Path(base), self.folder_names())
        root = Path(root).expanduser()
        if not root.is_dir():
            raise DataError(f"{self.name}: there is no folder {root}. {self._expected}")
        return root

    @property
    def _expected(self) -> str:
        return (
            f"Give root=..., or set {ROOT_VARIABLE} to the folder that holds "
            f"{self.folder_names()[0]}/. "
            f"Expected layout:\n{self.layout}"
        )


def find_folder(base: Path, names: SequenceOf[str]) -> Path:
    """The folder in ``base`` that has one of some names, in any case and with any punctuation.

    ``got-10k`` will do for ``GOT10k``. Where there is none, the path of the first name.
    """
    best = base / names[0]
    if best.is_dir():
        return best
    found = {letters(folder.name): folder for folder in subfolders(base)}
    return next((found[letters(name)] for name in names if letters(name) in found), best)


def letters(name: str) -> str:
    """Letters and digits of a name, in lower case."""
    return "".join(filter(str.isalnum, name)).lower()


@cache
def read_table(file: str) -> dict[str, tuple[str, ...]]:
    """A table of ``splits/``: the first field of each line and the others, between spaces."""
    text = (resources.files("relo_env.datasets") / "splits" / file).read_text(encoding="utf-8")
    rows = (line.split() for line in text.splitlines())
    return {name: tuple(fields) for name, *fields in rows}


def read_list(file: str) -> tuple[str, ...]:
    """The first fields of a table of ``splits/``, such as the names of a split."""
    return tuple(read_table(file))


def read_names(path: Path) -> list[str]:
    """List of names that ships with a data set, one a line; DataError if it is missing."""
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted, none if it is missing; without those of the system."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if not is_clutter(p.name) and p.is_dir())
