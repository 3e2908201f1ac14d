"""VastTrack (Peng et al., NeurIPS 2024)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from relo_env.datasets.disk import subfolders
from relo_env.datasets.folder import FolderDataset


class VastTrack(FolderDataset):
    """VastTrack: 47110 training and 3500 test sequences, whose names are read from the disk.

    The language descriptions are not read.
    """

    name = "VastTrack"
    splits = ("train", "test")
    boxes_file = "Groundtruth.txt"
    official_counts = {"train": 47110, "test": 3500}
    layout = (
        "  <root>/{train,test}/<Class>/<Class>-<k>/   with\n"
        "    imgs/00001.jpg ...\n"
        "    Groundtruth.txt        x,y,width,height a line, zeros where the target is absent"
    )

    def find(self) -> Iterable[tuple[str, Path]]:
        """Folders of the sequences, by class."""
        for folder in subfolders(self.root / self.split):
            for sequence in subfolders(folder):
                yield sequence.name, sequence
