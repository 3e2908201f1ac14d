"""Need for Speed (Galoogahi et al., ICCV 2017), at 30 and at 240 fps."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import numpy as np

from relo_env.datasets.annotations import read_boxes, read_text, require_count
from relo_env.datasets.base import FrameSource, Sequence
from relo_env.datasets.disk import ONE_BASED, DiskDataset, read_table
from relo_env.datasets.frames import NoFrames, image_frames
from relo_env.errors import DataError


class NfS(DiskDataset):
    """NfS at 30 fps: 100 sequences; test only.

    Two layouts are read: the benchmark's own, with corners and flags, and that of the pytracking
    family, with x, y, width, height. In the benchmark's own layout some 30 fps videos have the 240
    fps annotation; every eighth line of it is read. Where the numbers of frames and boxes differ by
    one, the longer is cut.
    """

    name = "NfS"
    splits = ("test",)
    origins = ONE_BASED
    names_file = "nfs.txt"
    toolkit_names: ClassVar[tuple[str, ...]] = ("NFS30", "NFS")
    layout = (
        "  <root>/<sequence>/{30,240}/<sequence>/00001.jpg ... and <root>/<sequence>/{30,240}/"
        "<sequence>.txt\n"
        "  or <root>/sequences/<sequence>/00001.jpg ... and <root>/anno/nfs_<sequence>.txt"
    )
    _fps: ClassVar[int] = 30

    def find(self) -> Iterable[tuple[str, Path]]:
        """Annotation files of the sequences."""
        for name in self.official_names or ():
            places = [self.root / name / str(self._fps) / f"{name}.txt"]
            if self._fps == 30:
                places.append(self.root / "anno" / f"nfs_{name}.txt")
                places.append(self.root / name / "240" / f"{name}.txt")
            path = next((path for path in places if path.is_file()), None)
            if path is not None:
                yield name, path

    def annotation(self, name: str) -> Sequence:
        """Boxes and labels of a sequence; see ``Dataset.annotation``.

        The number of pictures, where there are some, tells of how many frames a second the
        annotation is.
        """
        there = name not in self._listed and self.images(name).is_dir()
        return self[name] if there else super().annotation(name)

    def read(self, name: str) -> Sequence:
        """Read the annotation of one sequence; see `DiskDataset.read`."""
        path, images = self.locate(name), self.images(name)
        own = path.parent.name != "anno"
        boxes = _read_corners(path) if own else read_boxes(path)
        if self._annotated is None:
            frames: FrameSource = image_frames(images)
            count = len(frames)
        else:
            count = self._count_without_pictures(path, len(boxes))
            frames = NoFrames(count, images)
        if abs(len(boxes) / count - 8) < 1:
            boxes = boxes[::8]
        cut = self.cut or (own and abs(len(boxes) - count) == 1)
        require_count(path, len(boxes), None if cut else count, "boxes")
        return self.annotate(name, frames, boxes, cut=cut)

    def images(self, name: str) -> Path:
        """Folder of a sequence's images."""
        if self.locate(name).parent.name == "anno":
            return self.root / "sequences" / name
        return self.root / name / str(self._fps) / name

    def _count_without_pictures(self, path: Path, lines: int) -> int:
        """Number of frames of a video, by its annotation and the benchmark's own number at 30 fps.

        An annotation at 240 fps has eight times as many lines, or lies in the folder 240, or has
        as many as the one there.
        """
        if self._fps == 240:
            return lines
        known = int(read_table("nfs.txt")[path.stem.removeprefix("nfs_")][0])
        if abs(lines - known) <= 1 or abs(lines / known - 8) < 1:
            return known
        other = path.parents[1] / "240" / path.name
        dense = other.is_file() and len(_read_corners(other)) == lines
        return -(-lines // 8) if dense else lines


class NfS240(NfS):
    """NfS at 240 fps: the same 100 sequences; test only."""

    name = "NfS240"
    folders = ("NfS",)
    toolkit_names = ("NFS240",)
    _fps = 240


def _read_corners(path: Path) -> np.ndarray:
    """Boxes ``(n, 4)`` xywh of rows: track, x0, y0, x1, y1, frame, lost, occluded, ..."""
    try:
        lines = list(filter(str.strip, read_text(path).splitlines()))
        rows = [list(map(float, line.split()[1:7])) for line in lines]
        short = [line for line, row in zip(lines, rows, strict=True) if len(row) < 6]
        if short:
            raise ValueError(f"found {short[0]!r}")
        table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    except ValueError as error:
        raise DataError(
            f"{path}: {error}; expected a track, x0, y0, x1, y1, frame and lost flag a line."
        ) from error
    low, high, lost = table[:, :2], table[:, 2:4], table[:, 5] != 0
    present = ~lost & (high > low).all(axis=1)
    return np.where(present[:, None], np.concatenate([low, high - low], axis=1), 0.0)
