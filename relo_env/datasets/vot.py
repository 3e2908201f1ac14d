"""The VOT challenges' data sets (Kristan et al., 2013 and later)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from relo_env.datasets.annotations import read_boxes, read_labels, require_count
from relo_env.datasets.base import Sequence
from relo_env.datasets.disk import ONE_BASED, DiskDataset, read_names
from relo_env.datasets.frames import image_frames, natural_order


class VOT(DiskDataset):
    """One VOT data set: any year's short-term or long-term one; test only.

    ``list.txt`` names the sequences. Rectangles, polygons and masks become the boxes around them.
    Of a video with several objects (``groundtruth_1.txt``, VOTS) each is a sequence ``<name>_1``;
    the frames that its annotation does not reach are not labelled. A sequence has the attributes
    that mark at least one of its frames. Evaluation with restarts needs the vot-toolkit.
    """

    name = "VOT"
    splits = ("test",)
    origins = ONE_BASED
    layout = (
        "  <root>/list.txt  (or <root>/sequences/list.txt, the toolkit's workspace)\n"
        "  beside it <sequence>/color/00000001.jpg ...  or  <sequence>/00000001.jpg ...\n"
        "  <sequence>/groundtruth.txt   a rectangle, polygon or mask a line\n"
        "  <sequence>/<attribute>.tag or .label   optional, 0 or 1 a line"
    )

    @property
    def official_names(self) -> tuple[str, ...] | None:
        """Names in ``list.txt``, with the numbers of their objects."""
        return tuple(name for name, _ in self.find())

    def find(self) -> Iterable[tuple[str, Path]]:
        """Folders of the sequences, or the annotation files of their objects."""
        for name in read_names(self._folder / "list.txt"):
            folder = self._folder / name
            objects = natural_order([p.name for p in folder.glob("groundtruth_*.txt")])
            if not objects or (folder / "groundtruth.txt").is_file():
                yield name, folder
                continue
            for file in objects:
                number = file.removeprefix("groundtruth_").removesuffix(".txt")
                yield f"{name}_{number}", folder / file

    def read(self, name: str) -> Sequence:
        """Read the annotation of one sequence; see `DiskDataset.read`."""
        path = self.locate(name)
        folder = path if path.is_dir() else path.parent
        color = folder / "color"
        frames = self.open(image_frames, color if color.is_dir() else folder)
        marks = sorted((*folder.glob("*.tag"), *folder.glob("*.label")))
        attributes = tuple(mark.stem for mark in marks if read_labels(mark).any())
        if path == folder:
            boxes = read_boxes(folder / "groundtruth.txt", self.count(frames), polygons=True)
            return self.annotate(name, frames, boxes, attributes=attributes)
        boxes = read_boxes(path, polygons=True)
        labelled = np.arange(len(frames)) < len(boxes)
        require_count(path, max(len(boxes), len(frames)), self.count(frames), "boxes")
        boxes = np.concatenate([boxes, np.zeros((max(0, len(frames) - len(boxes)), 4))])
        return self.annotate(name, frames, boxes, labelled=labelled, attributes=attributes)

    @property
    def _folder(self) -> Path:
        workspace = self.root / "sequences"
        return workspace if (workspace / "list.txt").is_file() else self.root
