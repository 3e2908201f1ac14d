"""The VOT challenges' data sets (Kristan et al., 2013 and later)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from relo_env.datasets.annotations import annotate, read_boxes, read_labels
from relo_env.datasets.base import Sequence
from relo_env.datasets.disk import DiskDataset, image_frames, read_names


class VOT(DiskDataset):
    """One VOT data set: any year's short-term or long-term one; test only.

    ``list.txt`` names the sequences. Rectangles, polygons and masks become the boxes around them.
    A sequence has the attributes that mark at least one of its frames. Evaluation with restarts
    is the business of the vot-toolkit.
    """

    name = "VOT"
    splits = ("test",)
    layout = (
        "  <root>/list.txt  (or <root>/sequences/list.txt, the toolkit's workspace)\n"
        "  beside it <sequence>/color/00000001.jpg ...  or  <sequence>/00000001.jpg ...\n"
        "  <sequence>/groundtruth.txt   a rectangle, polygon or mask a line\n"
        "  <sequence>/<attribute>.tag or .label   optional, 0 or 1 a line"
    )

    @property
    def official_names(self) -> tuple[str, ...] | None:
        """Names in ``list.txt``."""
        return tuple(read_names(self._folder / "list.txt"))

    def find(self) -> Iterable[tuple[str, Path]]:
        """Folders of the sequences."""
        return [(name, self._folder / name) for name in self.official_names or ()]

    def load(self, name: str) -> Sequence:
        """Read the annotation of one sequence; see ``Dataset.load``."""
        folder = self.locate(name)
        color = folder / "color"
        frames = image_frames(color if color.is_dir() else folder)
        boxes = read_boxes(folder / "groundtruth.txt", len(frames))
        marks = sorted((*folder.glob("*.tag"), *folder.glob("*.label")))
        attributes = tuple(path.stem for path in marks if read_labels(path).any())
        return annotate(name, frames, boxes, attributes=attributes)

    @property
    def _folder(self) -> Path:
        workspace = self.root / "sequences"
        return workspace if (workspace / "list.txt").is_file() else self.root
