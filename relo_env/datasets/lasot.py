"""LaSOT (Fan et al., CVPR 2019) and its extension (Fan et al., IJCV 2021)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from relo_env.datasets.base import Sequence
from relo_env.datasets.disk import DiskDataset, read_list, subfolders
from relo_env.datasets.folder import load_folder


class LaSOT(DiskDataset):
    """LaSOT: 1120 training and 280 test sequences of 70 classes, protocol II.

    Both forms of the download are read: a folder a class, or all sequences in one folder.
    """

    name = "LaSOT"
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

    def list_names(self) -> Iterable[str]:
        """Names on disk, of all splits."""
        for folder in subfolders(self.root):
            if "-" in folder:
                yield folder
            else:
                yield from subfolders(self.root / folder)

    def load(self, name: str) -> Sequence:
        """Read the annotation of one sequence; see ``Dataset.load``."""
        return load_folder(name, self._locate(name))

    def _locate(self, name: str) -> Path:
        by_class = self.root / name.rpartition("-")[0] / name
        flat = self.root / name
        for folder in (by_class, flat):
            if folder.is_dir():
                return folder
        raise self.missing(name, by_class)


class LaSOText(LaSOT):
    """The LaSOT extension: 150 sequences of 15 classes that LaSOT has not; test only."""

    name = "LaSOText"
    splits = ("test",)
    _list_prefix = "lasot_ext"
