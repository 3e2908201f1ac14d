"""OTB-100 of 2015, its harder half OTB-50 (Wu et al., TPAMI 2015) and OTB-2013 (CVPR 2013)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from relo_env.datasets.annotations import read_boxes
from relo_env.datasets.base import Sequence
from relo_env.datasets.disk import DiskDataset, read_table
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
    origins: ClassVar[Mapping[str, Any]] = {"file_origin": 1}
    layout = (
        "  <root>/<Sequence>/img/0001.jpg ...\n"
        "  <root>/<Sequence>/groundtruth_rect.txt, or groundtruth_rect.<k>.txt for target k"
    )
    names_file: ClassVar[str] = "otb100.txt"
    attributes_file = "otb100_attributes.txt"

    def find(self) -> Iterable[tuple[str, Path]]:
        """Folders of the sequences."""
        for name in self.official_names or ():
            # Jogging, as the benchmark's; or Jogging-1, a copy for each target, as pysot's.
            for folder in (name.partition("_")[0], name.replace("_", "-")):
                if (self.root / folder).is_dir():
                    yield name, self.root / folder
                    break

    def annotation_file(self, name: str) -> Path:
        """The file of the sequence's target; see ``DiskDataset.annotation_file``."""
        folder, target = self.locate(name), name.partition("_")[2]
        numbered = folder / f"groundtruth_rect.{target}.txt"
        own = folder.name != name.partition("_")[0] and not numbered.is_file()
        return numbered if target and not own else folder / "groundtruth_rect.txt"

    def read(self, name: str) -> Sequence:
        """Read the annotation of one sequence; see `DiskDataset.read`."""
        folder = self.locate(name)
        ranges = read_table("otb100_ranges.txt")
        if name in ranges:
            first, last, left_out = map(int, ranges[name])
            images = (folder / "img", first + left_out, last)
            frames = self.open(numbered_frames, *images, skip=left_out)
        else:
            frames, left_out = self.open(image_frames, folder / "img"), 0
        count = None if self.cut else len(frames) + left_out
        boxes = read_boxes(self.annotation_file(name), count, one_based=True)[left_out:]
        return self.annotate(name, frames, boxes)


class OTB50(OTB100):
    """OTB-50: the 50 harder targets of OTB-100; test only."""

    name = "OTB50"
    folders = ("OTB50", *OTB100.folders)
    names_file = "otb50.txt"


class OTB2013(OTB100):
    """OTB-2013, also called CVPR2013: 51 targets in 50 videos, all of OTB-100; test only."""

    name = "OTB2013"
    folders = ("OTB2013", *OTB100.folders)
    toolkit_names = ("CVPR13", "CVPR2013")
    names_file = "otb2013.txt"
