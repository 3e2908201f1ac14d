"""UAV123, its 10 fps version and UAV20L (Mueller et al., ECCV 2016)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from relo_env.datasets.annotations import read_attributes, read_boxes
from relo_env.datasets.base import Sequence
from relo_env.datasets.disk import ONE_BASED, DiskDataset, read_table
from relo_env.datasets.frames import numbered_frames

ATTRIBUTES = ("SV", "ARC", "LR", "FM", "FOC", "POC", "OV", "BC", "IV", "VC", "CM", "SOB")
"""In the order of the benchmark's files."""


class UAV123(DiskDataset):
    """UAV123: 123 aerial sequences at 30 fps; test only.

    Several sequences are parts of one folder of images: the split list holds each one's folder
    and the numbers of its first and last image. Each has its attributes, out of 12.
    """

    name = "UAV123"
    splits = ("test",)
    origins = ONE_BASED
    layout = (
        "  <root>/data_seq/{UAV123,UAV123_10fps}/<folder>/000001.jpg ...\n"
        "  <root>/anno/{UAV123,UAV123_10fps,UAV20L}/<sequence>.txt   x,y,width,height a line"
    )
    names_file: ClassVar[str] = "uav123.txt"
    attributes_file = "uav123_attributes.txt"
    _images: ClassVar[str] = "UAV123"
    _frame_step: ClassVar[int] = 1
    """Every how many of the 30 fps frames there is one, from the first."""

    def find(self) -> Iterable[tuple[str, Path]]:
        """Annotation files of the sequences."""
        for path in sorted((self.root / "anno" / self.name).glob("*.txt")):
            yield path.stem, path

    def read(self, name: str) -> Sequence:
        """Read the annotation of one sequence; see `DiskDataset.read`."""
        folder, *ends = read_table(self.names_file)[name]
        first, last = ((int(end) - 1) // self._frame_step + 1 for end in ends)
        images = self.root / "data_seq" / self._images / folder
        frames = self.open(numbered_frames, images, first, last)
        return self.annotate(name, frames, read_boxes(self.locate(name), self.count(frames)))


class UAV123At10fps(UAV123):
    """UAV123 at 10 fps: every third frame of the same 123 sequences; test only."""

    name = "UAV123_10fps"
    folders = ("UAV123_10fps", "UAV123")
    toolkit_names = ("UAV10FPS",)
    _images = "UAV123_10fps"
    _frame_step = 3


class UAV20L(UAV123):
    """UAV20L: 20 long sequences, over the images of UAV123; test only.

    Their attributes are read from the download (``anno/UAV20L/att/<sequence>.txt``).
    """

    name = "UAV20L"
    folders = ("UAV123",)
    names_file = "uav20l.txt"

    def attributes(self, name: str) -> tuple[str, ...]:
        """Attributes in the download."""
        return read_attributes(self.root / "anno" / self.name / "att" / f"{name}.txt", ATTRIBUTES)
