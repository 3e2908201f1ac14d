"""OTB-100 of 2015, its harder half OTB-50 (Wu et al., TPAMI 2015) and OTB-2013 (CVPR 2013)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from relo_env.datasets.annotations import annotate, read_boxes
from relo_env.datasets.base import Sequence
from relo_env.datasets.disk import DiskDataset, read_list, read_table
from relo_env.datasets.frames import image_frames, numbered_frames


class OTB100(DiskDataset):
    """OTB-100: 100 sequences in 98 folders; test only.

    A folder with several targets gives a sequence for each, such as ``Jogging_1``. The boxes are
    1-based in the files and 0-based here. Some sequences are part of their folder's images: those
    numbered from ``first`` to ``last``, of which the first few may be left out. Each has its
    attributes, out of 11. The layout of pysot, with a folder for each target, is read as well.
    """

    name = "OTB100"
    folders: ClassVar[tuple[str, ...]] = ("OTB100", "OTB2015", "OTB")
    splits = ("test",)
    layout = (
        "  <root>/<Sequence>/img/0001.jpg ...\n"
        "  <root>/<Sequence>/groundtruth_rect.txt, or groundtruth_rect.<k>.txt for target k"
    )
    _list: ClassVar[str] = "otb100.txt"

    @property
    def official_names(self) -> tuple[str, ...]:
        """Names of the targets."""
        return read_list(self._list)

    def find(self) -> Iterable[tuple[str, Path]]:
        """Folders of the sequences."""
        for name in self.official_names:
            # Jogging, as the benchmark's; or Jogging-1, a copy for each target, as pysot's.
            for folder in (name.partition("_")[0], name.replace("_", "-")):
                if (self.root / folder).is_dir():
                    yield name, self.root / folder
                    break

    def load(self, name: str) -> Sequence:
        """Read the annotation of one sequence; see ``Dataset.load``."""
        folder = self.locate(name)
        target = name.partition("_")[2]
        file = f"groundtruth_rect.{target}.txt" if target else "groundtruth_rect.txt"
        ranges = read_table("otb100_ranges.txt")
        if name in ranges:
            first, last, left_out = map(int, ranges[name])
            frames = numbered_frames(folder / "img", first + left_out, last)
        else:
            frames, left_out = image_frames(folder / "img"), 0
        if target and folder.name != name.partition("_")[0] and not (folder / file).is_file():
            file = "groundtruth_rect.txt"
        count = None if self.cut else len(frames) + left_out
        boxes = read_boxes(folder / file, count, one_based=True)[left_out:]
        attributes = read_table("otb100_attributes.txt")[name]
        sequence = annotate(name, frames, boxes, attributes=attributes, cut=self.cut)
        return replace(sequence, file_origin=1)


class OTB50(OTB100):
    """OTB-50: the 50 harder targets of OTB-100; test only."""

    name = "OTB50"
    folders = ("OTB50", *OTB100.folders)
    _list = "otb50.txt"


class OTB2013(OTB100):
    """OTB-2013, also called CVPR2013: 51 targets in 50 videos, all of OTB-100; test only."""

    name = "OTB2013"
    folders = ("OTB2013", *OTB100.folders)
    _list = "otb2013.txt"
