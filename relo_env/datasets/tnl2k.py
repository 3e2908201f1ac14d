"""TNL2K (Wang et al., CVPR 2021)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from relo_env.datasets.annotations import read_attributes
from relo_env.datasets.disk import subfolders
from relo_env.datasets.folder import FolderDataset

ATTRIBUTES = (
    *("CM", "ROT", "DEF", "FOC", "IV", "OV", "POC", "VC", "SV"),
    *("BC", "MB", "ARC", "LR", "FM", "AS", "TC", "MS"),
)
"""In the order of the evaluation toolkit's files."""


class TNL2K(FolderDataset):
    """TNL2K: 1300 training and 700 test sequences, whose names are read from the disk.

    The folder of a split contains its name. It holds the sequences, directly or in the parts of the
    download. Attributes, out of 17, are read from the evaluation toolkit's folder ``att``, in the
    root or beside the sequences. The language descriptions are not read.
    """

    name = "TNL2K"
    splits = ("train", "test")
    official_counts = {"train": 1300, "test": 700}
    layout = (
        "  <root>/{train,test}/<sequence>/  or  <root>/{train,test}/<part>/<sequence>/   with\n"
        "    imgs/00001.jpg ...\n"
        "    groundtruth.txt        x,y,width,height a line, zeros where the target is absent\n"
        "  train and test may be called TNL2K_train_subset and TNL2K_test_subset\n"
        "  <root>/att/<sequence>_attribute.txt   optional, of the evaluation toolkit"
    )

    def find(self) -> Iterable[tuple[str, Path]]:
        """Folders with images, one or two levels down."""
        for folder in subfolders(self.root):
            if self.split in folder.name.lower():
                for part in subfolders(folder):
                    own = (part / "imgs").is_dir() or (part / "groundtruth.txt").is_file()
                    for sequence in [part] if own else subfolders(part):
                        yield sequence.name, sequence

    def attributes(self, name: str) -> tuple[str, ...]:
        """Attributes in the evaluation toolkit's files."""
        places = [
            base / kind / f"{name}_attribute.txt"
            for base in (self.locate(name).parent, self.root)
            for kind in ("att", "annos/att")
        ]
        path = next((place for place in places if place.is_file()), places[0])
        return read_attributes(path, ATTRIBUTES)
