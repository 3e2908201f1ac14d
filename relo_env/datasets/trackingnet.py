"""TrackingNet (Mueller et al., ECCV 2018)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from relo_env.datasets.base import Sequence
from relo_env.datasets.disk import DiskDataset


class TrackingNet(DiskDataset):
    """TrackingNet: 30132 training sequences in twelve chunks and 511 test sequences.

    The names are read from the disk; chunks may be missing. Only the first box of a test sequence
    is public; its later frames are not labelled here, and the benchmark's server scores them.
    """

    name = "TrackingNet"
    splits = ("train", "test")
    official_counts = {"train": 30132, "test": 511}
    layout = (
        "  <root>/{TRAIN_0 ... TRAIN_11,TEST}/frames/<sequence>/0.jpg ...\n"
        "  <root>/{TRAIN_0 ... TRAIN_11,TEST}/anno/<sequence>.txt   x,y,width,height a line"
    )

    def find(self) -> Iterable[tuple[str, Path]]:
        """Annotation files of the sequences."""
        chunks = [f"TRAIN_{k}" for k in range(12)] if self.split == "train" else ["TEST"]
        for chunk in chunks:
            for path in sorted((self.root / chunk / "anno").glob("*.txt")):
                yield path.stem, path

    def images(self, name: str) -> Path:
        """Folder of a sequence's images."""
        return self.locate(name).parents[1] / "frames" / name

    def read(self, name: str) -> Sequence:
        """Read the annotation of one sequence; see `DiskDataset.read`."""
        return self.read_first_box(name) if self.split == "test" else super().read(name)
