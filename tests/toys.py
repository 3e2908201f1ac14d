"""Small worlds for tests: videos of a bright square on a dark noisy ground, made in memory."""

from __future__ import annotations

import numpy as np

from relo_env.datasets.base import Dataset, Sequence
from relo_env.errors import FrameError


class ArrayFrames:
    """Frames held in memory; those in ``broken`` cannot be read."""

    def __init__(self, frames: np.ndarray, broken: frozenset[int] = frozenset()) -> None:
        self.frames, self.broken = frames, broken
        self.reads: list[int] = []

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, index: int) -> np.ndarray:
        self.reads.append(index)
        if index in self.broken:
            raise FrameError(f"frame {index} of a toy video is broken on purpose")
        return self.frames[index]


def square_video(
    name: str = "square-0",
    length: int = 30,
    size: tuple[int, int] = (96, 72),
    seed: int = 0,
    absent: tuple[int, ...] = (),
    broken: tuple[int, ...] = (),
) -> Sequence:
    """A square that wanders; ``absent`` frames do not show it, ``broken`` ones cannot be read."""
    rng = np.random.default_rng(seed)
    width, height = size
    frames = rng.integers(0, 60, (length, height, width, 3), dtype=np.uint8)
    steps = rng.normal(0, 1.5, (length, 2)).cumsum(0)
    corners = np.clip(np.array([30, 25]) + steps, 0, [width - 20, height - 16]).round()
    boxes = np.concatenate([corners, np.broadcast_to([20.0, 16.0], (length, 2))], axis=1)
    visible = np.ones(length, bool)
    visible[list(absent)] = False
    boxes[~visible] = 0.0
    for frame, (x, y, w, h) in zip(frames, boxes.astype(int), strict=True):
        frame[y : y + h, x : x + w] = [250, 200, 40]
    return Sequence(name, ArrayFrames(frames, frozenset(broken)), boxes, visible)


class Squares(Dataset):
    """A data set of square videos."""

    name = "Squares"
    splits = ("train", "test")

    def __init__(self, split: str | None = None, count: int = 4, **video: object) -> None:
        super().__init__(split)
        self.videos = {
            f"square-{i}": square_video(f"square-{i}", seed=i, **video)  # type: ignore[arg-type]
            for i in range(count)
        }

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.videos)

    def load(self, name: str) -> Sequence:
        return self.videos[name]


def hidden_squares() -> Squares:
    """A test split whose boxes but the first ones are secret."""
    return Squares("test", absent=tuple(range(1, 30)))


SMALL_CROPS = {
    "num_templates": 1,
    "template_size": 40,
    "search_size": 64,
    "stride": 16,
}
"""Crops that keep tests fast: a 4 x 4 grid."""
