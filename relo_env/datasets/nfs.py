"""Need for Speed (Galoogahi et al., ICCV 2017), at 30 and at 240 fps."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import numpy as np

from relo_env.datasets.annotations import annotate, read_boxes, read_text, require_count
from relo_env.datasets.base import Sequence
from relo_env.datasets.disk import ONE_BASED, DiskDataset, read_list
from relo_env.datasets.frames import image_frames
from relo_env.errors import DataError


class NfS(DiskDataset):
    """NfS at 30 fps: 100 sequences; test only.

    Two layouts are read: the benchmark's own, whose files hold corners and flags, and the one
    that trackers of the pytracking family use, whose files hold x, y, width, height. In the
    benchmark's own some 30 fps videos come with the 240 fps annotation, of which every eighth row
    is taken, and some counts differ by one, where the longer is cut.
    """

    name = "NfS"
    splits = ("test",)
    layout = (
        "  <root>/<sequence>/{30,240}/<sequence>/00001.jpg ... and <root>/<sequence>/{30,240}/"
        "<sequence>.txt\n"
        "  or <root>/sequences/<sequence>/00001.jpg ... and <root>/anno/nfs_<sequence>.txt"
    )
    _fps: ClassVar[int] = 30

    @property
    def official_names(self) -> tuple[str, ...]:
        """Names of the 100 sequences."""
        return read_list("nfs.txt")

    def find(self) -> Iterable[tuple[str, Path]]:
        """Annotation files of the sequences."""
        for name in self.official_names:
            own = self.root / name / str(self._fps) / f"{name}.txt"
            family = self.root / "anno" / f"nfs_{name}.txt"
            for path in (own, family) if self._fps == 30 else (own,):
                if path.is_file():
                    yield name, path
                    break

    def annotation(self, name: str) -> Sequence:
        """Boxes and labels of a sequence; see ``Dataset.annotation``.

        In the benchmark's own layout the number of pictures, where there are some, tells of how
        many frames a second the annotation is.
        """
        path = self.locate(name)
        return self[name] if (path.parent / name).is_dir() else super().annotation(name)

    def load(self, name: str) -> Sequence:
        """Read the annotation of one sequence; see ``Dataset.load``."""
        path = self.locate(name)
        if path.parent.name == "anno":
            frames = self.open(image_frames, self.root / "sequences" / name)
            boxes = read_boxes(path, self.count(frames))
            return annotate(name, frames, boxes, cut=self.cut, **ONE_BASED)
        frames = self.open(image_frames, path.parent / name)
        boxes = _read_corners(path)
        if abs(len(boxes) / len(frames) - 8) < 1:
            boxes = boxes[::8]
        cut = self.cut or abs(len(boxes) - len(frames)) == 1
        require_count(path, len(boxes), None if cut else len(frames), "boxes")
        return annotate(name, frames, boxes, cut=cut, **ONE_BASED)


class NfS240(NfS):
    """NfS at 240 fps: the same 100 sequences; test only."""

    name = "NfS240"
    folders = ("NfS",)
    _fps = 240


def _read_corners(path: Path) -> np.ndarray:
    """Boxes ``(n, 4)`` xywh of rows: track, x0, y0, x1, y1, frame, lost, occluded, ..."""
    try:
        lines = filter(str.strip, read_text(path).splitlines())
        rows = [list(map(float, line.split()[1:7])) for line in lines]
        table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    except ValueError as error:
        raise DataError(
            f"{path}: {error}; expected a track, x0, y0, x1, y1, frame and lost flag a line."
        ) from error
    low, high, lost = table[:, :2], table[:, 2:4], table[:, 5] != 0
    present = ~lost & (high > low).all(axis=1)
    return np.where(present[:, None], np.concatenate([low, high - low], axis=1), 0.0)
