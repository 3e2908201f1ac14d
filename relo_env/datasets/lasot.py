"""LaSOT (Fan et al., CVPR 2019) and its extension (Fan et al., IJCV 2021)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from relo_env.datasets.disk import subfolders
from relo_env.datasets.folder import FolderDataset


class LaSOT(FolderDataset):
    """LaSOT: 1120 training and 280 test sequences of 70 classes, protocol II.

    Both forms of the download are read: a folder a class, or all sequences in one folder. Figures
    need only the evaluation toolkit's ``annos/``. Test sequences have their attributes, out of 14.
    """

    name = "LaSOT"
    folders: ClassVar[tuple[str, ...]] = ("LaSOT", "LaSOTBenchmark")
    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    layout = (
        "  <root>/<class>/<class>-<k>/  or  <root>/<class>-<k>/   with\n"
        "    img/00000001.jpg ...\n"
        "    groundtruth.txt        x,y,width,height a line\n"
        "    full_occlusion.txt     one line of 0 and 1\n"
        "    out_of_view.txt        one line of 0 and 1"
    )
    names_file: ClassVar[str] = "lasot_{split}.txt"
    attributes_file = "lasot_attributes.txt"

    def find(self) -> Iterable[tuple[str, Path]]:
        """Sequences of all splits, by class or flat."""
        for folder in subfolders(self.root):
            for sequence in [folder] if "-" in folder.name else subfolders(folder):
                yield sequence.name, sequence


class LaSOText(LaSOT):
    """The LaSOT extension: 150 sequences of 15 classes that LaSOT has not; test only."""

    name = "LaSOText"
    folders = ("LaSOText", "LaSOT_extension_subset")
    splits = ("test",)
    names_file = "lasot_ext_{split}.txt"
