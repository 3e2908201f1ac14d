"""Any folder of LaSOT-like sequences: the way to bring one's own data."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from relo_env.datasets.annotations import annotate, read_boxes, read_labels
from relo_env.datasets.base import Sequence
from relo_env.datasets.disk import DiskDataset, find_frames, subfolders
from relo_env.datasets.frames import VIDEO_SUFFIXES

ABSENCE_FILES = ("absent.txt", "full_occlusion.txt", "out_of_view.txt")
"""Optional files with one number a frame; the target is absent where any of them is not 0."""


def load_folder(
    name: str,
    folder: Path,
    *,
    boxes_file: str = "groundtruth.txt",
    attributes: tuple[str, ...] = (),
) -> Sequence:
    """Read a LaSOT-like sequence: frames, boxes and optional absence files.

    Raises:
        DataError: a file is missing or malformed, or counts differ.
    """
    frames = find_frames(folder)
    boxes = read_boxes(folder / boxes_file, len(frames))
    absent = np.zeros(len(frames), dtype=bool)
    for file in ABSENCE_FILES:
        if (folder / file).is_file():
            absent |= read_labels(folder / file, len(frames)) != 0
    return annotate(name, frames, boxes, absent, attributes)


class Folder(DiskDataset):
    """Sequences in the subfolders of ``root``, or the one that ``root`` itself is.

    A sequence is a folder with ``groundtruth.txt`` (0-based pixels) and its frames: images in
    ``img/``, a video file, or images beside the annotation. There is one split, "all".
    """

    name = "Folder"
    splits = ("all",)
    training_splits = ("all",)
    layout = (
        "  <root>/<sequence>/img/00000001.jpg ...  or  <root>/<sequence>/<any name>.mp4\n"
        "  <root>/<sequence>/groundtruth.txt       x,y,width,height a line, 0-based pixels\n"
        "  <root>/<sequence>/absent.txt            optional, 1 a line where the target is absent"
    )

    def find(self) -> Iterable[tuple[str, Path]]:
        """The folders that look like a sequence."""
        if (self.root / "groundtruth.txt").is_file():
            return [(self.root.resolve().name, self.root)]
        return [(folder.name, folder) for folder in subfolders(self.root) if _is_sequence(folder)]

    def load(self, name: str) -> Sequence:
        """Read the annotation of one sequence; see ``Dataset.load``."""
        return load_folder(name, self.locate(name))


def _is_sequence(folder: Path) -> bool:
    """Whether there is an annotation or what it would belong to, so that its lack is reported."""
    return (
        (folder / "groundtruth.txt").is_file()
        or (folder / "img").is_dir()
        or any(path.suffix.lower() in VIDEO_SUFFIXES for path in folder.iterdir())
    )
