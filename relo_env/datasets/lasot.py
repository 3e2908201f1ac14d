"""LaSOT (Fan et al., CVPR 2019) and its extension (Fan et al., IJCV 2021)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from relo_env.datasets.base import Sequence
from relo_env.datasets.disk import DiskDataset, read_list, read_table, subfolders
from relo_env.datasets.folder import load_folder
from relo_env.datasets.frames import find_frames


class LaSOT(DiskDataset):
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
    _list_prefix: ClassVar[str] = "lasot"

    @property
    def official_names(self) -> tuple[str, ...]:
        """Names of protocol II."""
        return read_list(f"{self._list_prefix}_{self.split}.txt")

    def find(self) -> Iterable[tuple[str, Path]]:
        """Sequences of all splits, by class or flat."""
        for folder in subfolders(self.root):
            for sequence in [folder] if "-" in folder.name else subfolders(folder):
                yield sequence.name, sequence

    def read(self, name: str) -> Sequence:
        """Read the annotation of one sequence; see `DiskDataset.read`."""
        folder = self.locate(name)
        frames = self.open(find_frames, folder)
        return load_folder(name, folder, frames, attributes=self.attributes(name), cut=self.cut)

    def attributes(self, name: str) -> tuple[str, ...]:
        """Attributes of the benchmark, which marks its test sequences."""
        return read_table("lasot_attributes.txt").get(name, ())


class LaSOText(LaSOT):
    """The LaSOT extension: 150 sequences of 15 classes that LaSOT has not; test only."""

    name = "LaSOText"
    folders = ("LaSOText", "LaSOT_extension_subset")
    splits = ("test",)
    _list_prefix = "lasot_ext"
