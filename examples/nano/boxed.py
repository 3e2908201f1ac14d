"""Annotated boxes of photographs as targets, beside other instances of their class.

A detector's photographs have what regions lack: whole objects in their own surroundings, and others
of the same class near by. More of these are pasted beside the target, so that a network learns to
tell one runner from the next.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from examples.nano.regions import Film, smooth_curve
from relo_env.datasets.base import Dataset, Sequence
from relo_env.datasets.synthetic.images import Images
from relo_env.errors import DataError

MOST_PASTED = 3
LEAST_SIDE = 14.0
"""[px] boxes with a smaller side are left out: they teach only blur."""


@dataclass(frozen=True, eq=False)
class Instance:
    """An annotated object: index of its photograph, box (xywh pixels) and class."""

    photo: int
    box: np.ndarray
    kind: str


class Boxed(Dataset):
    """An endless family of videos for each annotated box; the camera moves as in `Regions`.

    A class is drawn by the root of its number of instances, then one of them.

    Args:
        folders: each with ``img/`` and ``boxes.txt``, whose lines are ``name,x,y,w,h,class`` in
            0-based pixels.
        length: frames a video.
        frame_size: (width, height) of a frame [px].

    Raises:
        DataError: a folder has no ``boxes.txt``, or a line of it cannot be read.
    """

    name = "Boxed"
    splits = ("train",)

    def __init__(
        self,
        folders: SequenceOf[Path],
        *,
        length: int = 120,
        frame_size: tuple[int, int] = (320, 240),
    ) -> None:
        super().__init__()
        files: dict[Path, int] = {}
        self.instances: list[Instance] = []
        for folder in folders:
            for file, box, kind in read_boxes(folder):
                index = files.setdefault(file, len(files))
                if box[2:].min() >= LEAST_SIDE:
                    self.instances.append(Instance(index, box, kind))
        if not self.instances:
            raise DataError(f"No box of {LEAST_SIDE:.0f} px in {[str(f) for f in folders]}.")
        self.photos = Images([(file, None) for file in files])
        self.families: dict[str, list[int]] = defaultdict(list)
        for index, instance in enumerate(self.instances):
            self.families[instance.kind].append(index)
        self._length, self._frame_size = length, frame_size

    @property
    def names(self) -> SequenceOf[str]:
        """``"<number of the instance>-0"``."""
        return [f"{index}-0" for index in range(len(self.instances))]

    def draw(self, rng: np.random.Generator) -> Sequence:
        """A new video of an instance at random."""
        kinds = sorted(self.families)
        shares = np.sqrt([len(self.families[kind]) for kind in kinds])
        family = self.families[kinds[rng.choice(len(kinds), p=shares / shares.sum())]]
        return self.load(f"{family[rng.integers(len(family))]}-{rng.integers(2**32)}")

    def load(self, name: str) -> Sequence:
        """The video ``"<instance>-<seed>"``."""
        index, seed = map(int, name.split("-"))
        film = BoxedFilm(self, index, seed, self._length, self._frame_size)
        return Sequence(name, film, film.boxes, np.ones(self._length, bool))


class BoxedFilm(Film):
    """Frames of one video of an instance, rendered when they are read."""

    def __init__(
        self, boxed: Boxed, index: int, seed: int, length: int, frame_size: tuple[int, int]
    ) -> None:
        self._boxed, self._instance = boxed, boxed.instances[index]
        self._index_and_seed = index, seed
        super().__init__(boxed.photos, self._instance.photo, seed, length, frame_size)
        rng = np.random.default_rng([index, seed, 1])
        if rng.random() < 0.3:
            side = np.sqrt(self.boxes[:, 2:].prod(1).mean())
            fast = min(0.5 * side, 18.0) * np.abs(smooth_curve(rng, length))
            self._smear = np.maximum(self._smear, fast)
        if rng.random() < 0.15:
            self._blur = self._blur + rng.uniform(0.5, 2.0)

    def _choose(self, rng: np.random.Generator) -> np.ndarray:
        return self._instance.box

    def _decode(self) -> np.ndarray:
        photo = super()._decode()
        rng = np.random.default_rng([*self._index_and_seed, 2])
        if rng.random() < 0.4:
            return photo
        photo = photo.copy()
        for _ in range(int(rng.integers(1, MOST_PASTED + 1))):
            patch = self._relative(rng, photo.shape)
            if patch is not None:
                paste_beside(photo, patch, self._instance.box, rng)
        return photo

    def _relative(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray | None:
        """Pixels of another instance of the class, about as large as the target."""
        boxed, box = self._boxed, self._instance.box
        family = boxed.families[self._instance.kind]
        other = boxed.instances[family[rng.integers(len(family))]]
        x, y, w, h = other.box
        left, top = max(int(x - 0.08 * w), 0), max(int(y - 0.08 * h), 0)
        patch = boxed.photos.photo(other.photo)[
            top : int(y + 1.08 * h) + 1, left : int(x + 1.08 * w) + 1
        ]
        size = np.sqrt(box[2:].prod()) * np.exp(rng.normal(-0.05, 0.25))
        factor = size / np.sqrt(patch.shape[0] * patch.shape[1])
        width, height = int(patch.shape[1] * factor), int(patch.shape[0] * factor)
        if min(width, height) < 6 or width >= shape[1] or height >= shape[0]:
            return None
        if rng.random() < 0.5:
            patch = np.ascontiguousarray(patch[:, ::-1])
        method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        return cv2.resize(patch, (width, height), interpolation=method)


def read_boxes(folder: Path) -> list[tuple[Path, np.ndarray, str]]:
    """Image file, box (xywh pixels) and class of each line of a folder's ``boxes.txt``.

    Raises:
        DataError: the file is missing, or a line cannot be read.
    """
    path = folder / "boxes.txt"
    if not path.is_file():
        raise DataError(f"There is no {path}; expected lines name,x,y,w,h,class.")
    found = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        name, *numbers, kind = line.strip().split(",")
        try:
            x, y, w, h = map(float, numbers)
        except ValueError:
            raise DataError(
                f"{path}, line {number}: {line!r}; expected name,x,y,w,h,class."
            ) from None
        found.append((folder / "img" / name, np.array([x, y, w, h]), kind))
    return found


def paste_beside(
    photo: np.ndarray, patch: np.ndarray, box: np.ndarray, rng: np.random.Generator
) -> None:
    """Blend a patch into a photograph near a box; the box's pixels stay as they are.

    Nothing is pasted if none of six places is inside the photograph and beside the box.
    """
    height, width = patch.shape[:2]
    x, y, w, h = box
    for _ in range(6):
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.85, 1.9)
        left = int(x + w / 2 + np.cos(angle) * reach * (w + width) / 2 - width / 2)
        top = int(y + h / 2 + np.sin(angle) * reach * (h + height) / 2 - height / 2)
        if min(left, top) < 0:
            continue
        if left + width > photo.shape[1] or top + height > photo.shape[0]:
            continue
        shared = np.minimum([left + width, top + height], [x + w, y + h])
        shared = shared - np.maximum([left, top], [x, y])
        if (shared > 0.15 * np.array([w, h])).all():
            continue
        alpha = _soft_edges(width, height)
        x0, y0 = max(int(x - left), 0), max(int(y - top), 0)
        alpha[y0 : max(int(y + h - top), 0), x0 : max(int(x + w - left), 0)] = 0
        region = photo[top : top + height, left : left + width]
        region[:] = alpha * patch + (1 - alpha) * region
        return


def _soft_edges(width: int, height: int) -> np.ndarray:
    """Opacity ``(height, width, 1)``: 1 within a rounded rectangle, falling to 0 at its edge."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    distance = (np.abs(x) ** 4 + np.abs(y) ** 4) ** 0.25
    return np.clip((1.15 - distance) / 0.25, 0, 1)[..., None]
