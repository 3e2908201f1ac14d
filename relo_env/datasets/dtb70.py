"""DTB70 (Li and Yeung, AAAI 2017)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from relo_env.datasets.disk import ONE_BASED, DiskDataset


class DTB70(DiskDataset):
    """DTB70: 70 sequences filmed by drones; test only."""

    name = "DTB70"
    folders = ("DTB70", "DTB")
    splits = ("test",)
    origins = ONE_BASED
    names_file = "dtb70.txt"
    layout = (
        "  <root>/<Sequence>/img/00001.jpg ...\n"
        "  <root>/<Sequence>/groundtruth_rect.txt   x,y,width,height a line"
    )

    def find(self) -> Iterable[tuple[str, Path]]:
        """Folders of the sequences."""
        for name in self.official_names or ():
            if (self.root / name).is_dir():
                yield name, self.root / name

    def images(self, name: str) -> Path:
        """Folder of a sequence's images."""
        return self.locate(name) / "img"
