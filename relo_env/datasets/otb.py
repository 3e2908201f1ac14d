"""OTB-2015, also called OTB-100 (Wu et al., TPAMI 2015)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from relo_env.datasets.annotations import annotate, read_boxes
from relo_env.datasets.base import Sequence
from relo_env.datasets.disk import (
    DiskDataset,
    image_frames,
    numbered_frames,
    read_attributes,
    read_list,
    read_table,
)


class OTB100(DiskDataset):
    """OTB-100: 100 sequences in 98 folders; test only.

    A folder with several targets gives a sequence for each, such as ``Jogging_1``. The boxes are
    1-based in the files and 0-based here. Some sequences are part of their folder's images: the
    split list holds the numbers of their first and last image and how many of those are left out.
    """

    name = "OTB100"
    splits = ("test",)
    layout = (
        "  <root>/<Sequence>/img/0001.jpg ...\n"
        "  <root>/<Sequence>/groundtruth_rect.txt, or groundtruth_rect.<k>.txt for target k\n"
        "  <root>/att/<Sequence>.txt  optional, of the evaluation toolkit: 11 attributes, 0 or 1"
    )

    @property
    def official_names(self) -> tuple[str, ...]:
        """Names of the 100 targets."""
        return read_list("otb100.txt")

    def find(self) -> Iterable[tuple[str, Path]]:
        """Folders of the sequences."""
        for name in self.official_names:
            folder = self.root / name.partition("_")[0]
            if folder.is_dir():
                yield name, folder

    def load(self, name: str) -> Sequence:
        """Read the annotation of one sequence; see ``Dataset.load``."""
        folder = self.locate(name)
        target = name.partition("_")[2]
        file = f"groundtruth_rect.{target}.txt" if target else "groundtruth_rect.txt"
        row = next(row for row in read_table("otb100.txt") if row[0] == name)
        if row[1:]:
            first, last, left_out = map(int, row[1:])
            frames = numbered_frames(folder / "img", first + left_out, last)
        else:
            frames, left_out = image_frames(folder / "img"), 0
        boxes = read_boxes(folder / file, len(frames) + left_out, one_based=True)[left_out:]
        names = read_list("otb100_attributes.txt")
        attributes = read_attributes(self.root / "att" / f"{name}.txt", names)
        return annotate(name, frames, boxes, attributes=attributes)
