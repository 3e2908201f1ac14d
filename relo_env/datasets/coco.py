"""COCO (Lin et al., ECCV 2014): images as still clips."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from relo_env.datasets.base import Sequence
from relo_env.datasets.disk import DiskDataset
from relo_env.datasets.frames import StillFrames
from relo_env.errors import DataError

MIN_SIDE = 50.0
"""[px] an object is taken if both of its sides are longer (official training)."""


class COCO(DiskDataset):
    """COCO 2017: each large enough object, in a video that repeats its image.

    A sequence is named by the number of its annotation. Crowds are left out. The training
    annotations take about ten seconds to read, once.

    Args:
        root: see ``DiskDataset``.
        split: see ``DiskDataset``.
        length: frames that an image is shown for.

    Raises:
        DataError: see ``DiskDataset``; or the annotation is malformed.
    """

    name = "COCO"
    folders = ("COCO", "COCO2017", "MSCOCO")
    splits = ("train", "val")
    layout = (
        "  <root>/annotations/instances_{train,val}2017.json\n"
        "  <root>/{train,val}2017/000000000001.jpg ...  or  <root>/images/{train,val}2017/..."
    )

    def __init__(
        self, root: Path | str | None = None, split: str | None = None, *, length: int = 20
    ) -> None:
        self._length = length
        self._boxes: dict[str, tuple[float, ...]] = {}
        super().__init__(root, split)

    def find(self) -> Iterable[tuple[str, Path]]:
        """Objects and their images."""
        path = self.root / "annotations" / f"instances_{self.split}2017.json"
        folder = self.root / f"{self.split}2017"
        if not folder.is_dir():
            folder = self.root / "images" / folder.name
        try:
            content = json.loads(path.read_bytes())
            files = {image["id"]: image["file_name"] for image in content["images"]}
            for item in content["annotations"]:
                if min(item["bbox"][2:]) > MIN_SIDE and not item.get("iscrowd"):
                    name = str(item["id"])
                    self._boxes[name] = tuple(item["bbox"])
                    yield name, folder / files[item["image_id"]]
        except FileNotFoundError:
            raise DataError(f"{self.name}: there is no file {path}. {self._expected}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} is not a COCO annotation ({type(error).__name__}: {error}). Copy it anew."
            ) from error

    def annotation(self, name: str) -> Sequence:
        """The sequence itself: its annotation is no text; see ``Dataset.annotation``."""
        return self[name]

    def read(self, name: str) -> Sequence:
        """The image as a sequence; see `DiskDataset.read`."""
        frames = StillFrames(self.locate(name), self._length)
        return self.annotate(name, frames, np.tile(self._boxes[name], (self._length, 1)))
