"""Any folder of LaSOT-like sequences: the way to bring one's own data."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from relo_env.checks import check
from relo_env.datasets.annotations import (
    parse_boxes,
    read_bytes,
    read_labels,
    read_marks,
    require_count,
    without_empty,
)
from relo_env.datasets.base import Sequence
from relo_env.datasets.disk import DiskDataset, Lengths, subfolders
from relo_env.datasets.frames import find_frames, list_videos

ABSENCE_FILES = ("absent.txt", "full_occlusion.txt", "out_of_view.txt")
"""Optional files with one number a frame; the target is absent where any of them is not 0."""
LABELLED_FILE = "labelled.txt"
"""Optional file with one number a frame; 0 where nobody annotated the frame."""


def read_absence(folder: Path, count: int | None) -> np.ndarray | None:
    """Frames bool ``(n,)`` that absence files mark, None without such files; see `read_marks`."""
    return read_marks({folder / file: lambda labels: labels != 0 for file in ABSENCE_FILES}, count)


class FolderDataset(DiskDataset):
    """A data set of LaSOT-like sequence folders: frames, boxes and optional files of labels."""

    boxes_file: ClassVar[str] = "groundtruth.txt"
    unlabelled_nan = False
    """A line without box is a frame that nobody labelled, not an absent target."""

    def read(self, name: str) -> Sequence:
        """Read the annotation of one sequence; see `DiskDataset.read`."""
        folder = self.locate(name)
        frames = self.open(find_frames, folder)
        count, path = self.count(frames), folder / self.boxes_file
        boxes = parse_boxes(read_bytes(path), path, count)
        require_count(path, len(boxes), count, "boxes")
        labelled = np.isfinite(boxes).all(axis=1) | (not self.unlabelled_nan)
        if (folder / LABELLED_FILE).is_file():
            labels = read_labels(folder / LABELLED_FILE, count)
            n = min(len(labels), len(labelled))
            labelled = labelled[:n] & (labels[:n] != 0)
        absent = read_absence(folder, count)
        return self.annotate(name, frames, without_empty(boxes), absent, labelled)


class Folder(FolderDataset):
    """Sequences in the subfolders of ``root``, or ``root`` itself as the only one.

    A sequence is a folder with ``groundtruth.txt`` (0-based pixels) and its frames: images in
    ``img/``, a video file, or images beside the annotation. There is one split, "all".

    Args:
        root: see `DiskDataset`.
        split: "all".
        lengths: see `DiskDataset`.
        nan: meaning of a line of ``nan`` or an empty one: "absent", the target is absent;
            "unlabelled", nobody annotated the frame. A line of zeros is always an absent target.

    Raises:
        ConfigError: an unknown value of an argument.
        DataError: see `DiskDataset`.
    """

    name = "Folder"
    splits = ("all",)
    training_splits = ("all",)
    layout = (
        "  <root>/<sequence>/img/00000001.jpg ...  or  <root>/<sequence>/<any name>.mp4\n"
        "  <root>/<sequence>/groundtruth.txt       x,y,width,height a line, 0-based pixels\n"
        "  <root>/<sequence>/absent.txt            optional, 1 a line where the target is absent\n"
        "  <root>/<sequence>/labelled.txt          optional, 0 a line where nobody annotated"
    )

    def __init__(
        self,
        root: Path | str | None = None,
        split: str | None = None,
        *,
        lengths: Lengths = "strict",
        nan: Literal["absent", "unlabelled"] = "absent",
    ) -> None:
        check("nan", nan, Literal["absent", "unlabelled"])
        self.unlabelled_nan = nan == "unlabelled"
        super().__init__(root, split, lengths=lengths)

    def find(self) -> Iterable[tuple[str, Path]]:
        """The folders that look like a sequence."""
        if (self.root / "groundtruth.txt").is_file():
            return [(self.root.resolve().name, self.root)]
        return [(folder.name, folder) for folder in subfolders(self.root) if _is_sequence(folder)]


def _is_sequence(folder: Path) -> bool:
    """True if there is an annotation, or frames whose missing annotation is to be reported."""
    return (
        (folder / "groundtruth.txt").is_file()
        or (folder / "img").is_dir()
        or bool(list_videos(folder))
    )
