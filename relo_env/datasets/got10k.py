"""GOT-10k (Huang et al., TPAMI 2021)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from relo_env.datasets.annotations import read_boxes, read_marks, read_text
from relo_env.datasets.base import Sequence
from relo_env.datasets.disk import DiskDataset, read_names, read_table, subfolders
from relo_env.datasets.frames import image_frames


class GOT10k(DiskDataset):
    """GOT-10k: 9335 training, 180 validation and 180 test sequences.

    The training split's ``list.txt`` names its sequences; without it, the folders do. "vot-train"
    leaves out the 1000 of them that are also in VOT's data sets. A frame with ``absence`` 1 or
    ``cover`` 0 is without target. Only the first box of a test sequence is public; its later frames
    are not labelled here, and the benchmark's server scores them.
    """

    name = "GOT10k"
    splits = ("train", "vot-train", "val", "test")
    training_splits = ("train", "vot-train")
    official_counts = {"train": 9335, "vot-train": 8335}
    layout = (
        "  <root>/{train,val,test}/list.txt\n"
        "  <root>/{train,val,test}/GOT-10k_Train_000001/  with\n"
        "    00000001.jpg ...\n"
        "    groundtruth.txt        x,y,width,height a line (test: the first frame's only)\n"
        "    absence.label, cover.label   one number a line (not in test)"
    )

    @property
    def official_names(self) -> tuple[str, ...] | None:
        """Names in the training split's ``list.txt``; evaluation splits count from 1 to 180."""
        if self.is_training:
            path = self.root / "train" / "list.txt"
            return tuple(self._without_overlap(read_names(path))) if path.is_file() else None
        return tuple(f"GOT-10k_{self.split.title()}_{k:06d}" for k in range(1, 181))

    def find(self) -> Iterable[tuple[str, Path]]:
        """Folders of the sequences."""
        folder = self.root / ("train" if self.is_training else self.split)
        names = (sequence.name for sequence in subfolders(folder))
        return [(name, folder / name) for name in self._without_overlap(names)]

    def _without_overlap(self, names: Iterable[str]) -> list[str]:
        overlap = read_table("got10k_vot_overlap.txt") if self.split == "vot-train" else {}
        return [name for name in names if name not in overlap]

    def frame_size(self, name: str) -> tuple[int, int]:
        """Width and height [px] as ``meta_info.ini`` says, else of the first frame."""
        path = self.locate(name) / "meta_info.ini"
        if path.is_file():
            found = re.search(r"resolution: *\((\d+), *(\d+)\)", read_text(path))
            if found and int(found[1]) and int(found[2]):
                return int(found[1]), int(found[2])
        return super().frame_size(name)

    def read(self, name: str) -> Sequence:
        """Read the annotation of one sequence; see `DiskDataset.read`."""
        if self.split == "test":
            return self.read_first_box(name)
        folder = self.locate(name)
        frames = self.open(image_frames, folder)
        count = self.count(frames)
        boxes = read_boxes(folder / "groundtruth.txt", count)
        absent = read_marks(
            {folder / "absence.label": lambda v: v == 1, folder / "cover.label": lambda v: v == 0},
            count,
        )
        return self.annotate(name, frames, boxes, absent)
