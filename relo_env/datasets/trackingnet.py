"""TrackingNet (Mueller et al., ECCV 2018)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from relo_env.datasets.annotations import annotate, read_boxes, read_first_box
from relo_env.datasets.base import Sequence
from relo_env.datasets.disk import DiskDataset, image_frames


class TrackingNet(DiskDataset):
    """TrackingNet: 30132 training sequences in twelve chunks and 511 test sequences.

    The names are read from the disk, and any number of chunks will do. Of a test sequence only
    the first box is public: its later frames are marked absent, and are scored by the
    benchmark's server.
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

    def load(self, name: str) -> Sequence:
        """Read the annotation of one sequence; see ``Dataset.load``."""
        path = self.locate(name)
        frames = image_frames(path.parent.parent / "frames" / name)
        read = read_boxes if self.split == "train" else read_first_box
        return annotate(name, frames, read(path, len(frames)))
