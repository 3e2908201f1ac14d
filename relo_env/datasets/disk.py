"""What the data sets on disk share: a root folder, split lists, files that may be missing."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import ClassVar

from relo_env.datasets.annotations import read_text
from relo_env.datasets.base import Dataset, FrameSource
from relo_env.datasets.frames import VIDEO_SUFFIXES, ImageFrames, VideoFrames, list_images
from relo_env.errors import DataError

ROOT_VARIABLE = "RELO_DATA"
"""Environment variable that names the folder in which the data sets' folders lie."""


class MissingSequenceError(DataError):
    """A sequence that belongs to the split but has no files on disk."""


class DiskDataset(Dataset):
    """A data set in a folder.

    Subclasses say which names a split has on disk (``list_names``), which it should have
    (``official_names``, where the benchmark says so) and how to ``load`` one.

    Args:
        root: the data set's folder; by default ``$RELO_DATA/<name>``.
        split: one of ``splits``, by default the first.

    Raises:
        ConfigError: there is no such split.
        DataError: the folder is missing, or holds no sequence of the split.
    """

    layout: ClassVar[str]
    """The expected files, as shown to users whose root is missing or empty."""

    def __init__(self, root: Path | str | None = None, split: str | None = None) -> None:
        super().__init__(split)
        self.root = self._find_root(root)
        official = self.official_names
        # An evaluation over part of a benchmark must not pass for the whole: there, missing
        # sequences stay in the list and fail. Training takes what there is.
        if official is None:
            self._names = tuple(self.list_names())
        elif self.is_training:
            present = set(self.list_names())
            self._names = tuple(name for name in official if name in present)
        else:
            self._names = official
        if not self._names:
            raise DataError(
                f"{self.name}: no sequence of split {self.split!r} in {self.root}. {self._expected}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the split's sequences, in the benchmark's order."""
        return self._names

    @property
    def official_names(self) -> tuple[str, ...] | None:
        """Names that the benchmark gives this split; None where the disk decides."""
        return None

    @abstractmethod
    def list_names(self) -> Iterable[str]:
        """Names of the split's sequences that are on disk."""

    def _find_root(self, root: Path | str | None) -> Path:
        if root is None:
            base = os.environ.get(ROOT_VARIABLE)
            if not base:
                raise DataError(
                    f"{self.name}: no root given and {ROOT_VARIABLE} is not set. {self._expected}"
                )
            root = Path(base, self.name)
        root = Path(root).expanduser()
        if not root.is_dir():
            raise DataError(f"{self.name}: there is no folder {root}. {self._expected}")
        return root

    @property
    def _expected(self) -> str:
        return (
            f"Give root=..., or set {ROOT_VARIABLE} to the folder that holds {self.name}/. "
            f"Expected layout:\n{self.layout}"
        )

    def missing(self, name: str, where: Path) -> MissingSequenceError:
        """The error for a sequence that is not on disk."""
        return MissingSequenceError(
            f"{self.name} has no sequence {name!r} on disk; expected it at {where}. "
            "Download it, or choose another split."
        )


def read_list(file: str) -> tuple[str, ...]:
    """A split list that ships with this package: one name a line."""
    text = (resources.files("relo_env.datasets") / "splits" / file).read_text(encoding="utf-8")
    return tuple(text.split())


def read_names(path: Path) -> list[str]:
    """A list of names that ships with a data set: one a line.

    Raises:
        DataError: the file is missing or is not text.
    """
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def subfolders(folder: Path) -> list[str]:
    """Sorted names of the folders in a folder; hidden ones left out, none if it is missing."""
    if not folder.is_dir():
        return []
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def image_frames(folder: Path) -> ImageFrames:
    """The images of a folder as frames.

    Raises:
        DataError: the folder is missing or has no image.
    """
    images = list_images(folder)
    if not images:
        raise DataError(f"No images in {folder}; expected one .jpg or .png file a frame.")
    return ImageFrames(images)


def find_frames(folder: Path) -> FrameSource:
    """Frames of a sequence's folder: images in ``img/``, one video file, or images beside it.

    Raises:
        DataError: there are none, or several videos.
    """
    if (folder / "img").is_dir():
        return image_frames(folder / "img")
    videos = sorted(p for p in folder.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES)
    if len(videos) > 1:
        raise DataError(f"{folder} has {len(videos)} video files; expected one, or images in img/.")
    return VideoFrames(videos[0]) if videos else image_frames(folder)
