"""UAVDT's single-object part (Du et al., ECCV 2018)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from relo_env.datasets.disk import ONE_BASED, DiskDataset

IMAGES = ("UAV-benchmark-S", "sequences", "data_seq", "seq", ".")
BOXES = ("anno", "UAV-benchmark-SOT_v1.0/anno", "annotations")


class UAVDT(DiskDataset):
    """UAVDT-S: 50 sequences of vehicles seen from drones; test only."""

    name = "UAVDT"
    folders = ("UAVDT", "UAVDT-S", "UAV-benchmark-S")
    splits = ("test",)
    origins = ONE_BASED
    names_file = "uavdt.txt"
    layout = (
        "  <root>/{UAV-benchmark-S,sequences,data_seq}/<sequence>/img000001.jpg ...\n"
        "  <root>/{anno,UAV-benchmark-SOT_v1.0/anno}/<sequence>_gt.txt   x,y,width,height a line"
    )

    def find(self) -> Iterable[tuple[str, Path]]:
        """Annotation files of the sequences."""
        for name in self.official_names or ():
            for folder in BOXES:
                path = self.root / folder / f"{name}_gt.txt"
                if path.is_file():
                    yield name, path
                    break

    def images(self, name: str) -> Path:
        """Folder of a sequence's images."""
        folders = [self.root / folder / name for folder in IMAGES]
        return next((folder for folder in folders if folder.is_dir()), folders[0])
