"""`Synthetic`: the data set that needs no download."""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Sequence as SequenceOf
from pathlib import Path
from typing import Any

from relo_env.checks import check
from relo_env.datasets.base import Dataset, Sequence
from relo_env.datasets.synthetic.difficulty import LEVELS, Difficulty
from relo_env.datasets.synthetic.images import Images
from relo_env.datasets.synthetic.planning import plan
from relo_env.datasets.synthetic.rendering import Frames
from relo_env.errors import ConfigError, unknown

Folders = str | Path | Iterable[str | Path]


class Synthetic(Dataset):
    """Videos drawn from a seed: moving, deforming objects before a textured scenery.

    Boxes and visibility of a video are computed when it is loaded, in milliseconds; frames are
    rendered when they are read. The same name and arguments give the same bytes in any process.

    Args:
        split: "train", "val" or "test": disjoint ranges of seeds.
        difficulty: "easy", "medium", "hard", "long" or a `Difficulty`. "long" is for clips of 48 to
            96 frames: full occlusions, exits, a changing look, doubles.
        length: frames a video.
        frame_size: (width, height) of a frame [px].
        cutouts: folder or folders of objects to mix with the procedural ones: RGBA png files, or
            subfolders ``img`` and ``mask`` with files of the same stems.
        photos: folder or folders of photographs to mix with the procedural backgrounds.

    Raises:
        ConfigError: an argument is not one of those above.
        DataError: a folder is missing or has no images.
    """

    name = "Synthetic"
    splits = ("train", "val", "test")

    def __init__(
        self,
        split: str | None = None,
        *,
        difficulty: str | Difficulty = "medium",
        length: int = 200,
        frame_size: tuple[int, int] = (320, 240),
        cutouts: Folders | None = None,
        photos: Folders | None = None,
    ) -> None:
        super().__init__(split)
        if not isinstance(difficulty, Difficulty):
            if difficulty not in LEVELS:
                raise ConfigError(unknown("difficulty", difficulty, LEVELS))
            difficulty = LEVELS[difficulty]
        check("frame_size", frame_size, SequenceOf[int])
        if length < 2:
            raise ConfigError(f"length is {length}; expected at least 2 frames.")
        if len(frame_size) != 2 or min(frame_size) < 32:
            raise ConfigError(
                f"frame_size is {frame_size}; expected width and height of at least 32 px."
            )
        self._cutouts = None if cutouts is None else Images.cutouts(cutouts)
        self._photos = None if photos is None else Images.photos(photos)
        width, height = frame_size
        self._difficulty, self._length, self._frame_size = difficulty, length, (width, height)
        self._names = _Names(self.split, len(_SEEDS[self.split]))

    @property
    def names(self) -> SequenceOf[str]:
        """``"train-000000"`` and so on; a lazy sequence, as there are 2**31 of them."""
        return self._names

    def load(self, name: str) -> Sequence:
        """Plan the video ``name``; raises ConfigError where the split has none of that name."""
        scene = plan(
            _SEEDS[self.split][self._names.index(name)],
            level=self._difficulty,
            length=self._length,
            frame_size=self._frame_size,
            cutouts=self._cutouts,
            photos=self._photos,
        )
        frames = Frames(scene, self._cutouts, self._photos)
        return Sequence(name, frames, scene.boxes, scene.visible, scene.attributes)

    def __getitem__(self, key: int | str) -> Sequence:
        return self.load(key if isinstance(key, str) else self.names[key])


_SEEDS = {
    "train": range(2**32, 2**32 + 2**31),
    "val": range(1000),
    "test": range(1000, 2000),
}


class _Names(SequenceOf[str]):
    """The names of a split: ``len``, ``[i]``, ``in`` and ``index`` without a list."""

    def __init__(self, split: str, count: int) -> None:
        self._split, self._count = split, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        numbers = range(len(self))[index]
        if isinstance(numbers, range):
            return [self._name(number) for number in numbers]
        return self._name(numbers)

    def _name(self, number: int) -> str:
        return f"{self._split}-{number:06d}"

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._number(name) is not None

    def index(self, name: Any, start: int = 0, stop: int | None = None) -> int:
        number = self._number(name)
        if number is None or number not in range(len(self))[start:stop]:
            raise ConfigError(
                f"Unknown sequence {name!r} of Synthetic; expected {self[0]!r} to {self[-1]!r}."
            )
        return number

    def _number(self, name: str) -> int | None:
        match = re.fullmatch(rf"{self._split}-(\d{{6,}})", name)
        if match is None:
            return None
        number = int(match[1])
        return number if number < len(self) and self._name(number) == name else None
