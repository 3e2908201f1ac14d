"""TrackingNet (Mueller et al., ECCV 2018)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from relo_env.datasets.annotations import annotate, annotate_first, read_boxes
from relo_env.datasets.base import Sequence
from relo_env.datasets.disk import DiskDataset
from relo_env.datasets.frames import image_frames


class TrackingNet(DiskDataset):
    """TrackingNet: 30132 training sequences in twelve chunks and 511 test sequences.

    The names are read from the disk, and any number of chunks will do. Of a test sequence only
    the first box is public: its later frames are not labelled here; the benchmark's server scores
    them.
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

    def read(self, name: str) -> Sequence:
        """Read the annotation of one sequence; see `DiskDataset.read`."""
        path = self.locate(name)
        frames = self.open(image_frames, path.parent.parent / "frames" / name)
        if self.split == "test":
            return annotate_first(name, frames, path)
        return annotate(name, frames, read_boxes(path, self.count(frames)), cut=self.cut)
