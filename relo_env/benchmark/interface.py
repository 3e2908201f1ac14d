"""Interface of a tracker: the protocols `Tracker` and `BatchTracker`, and checks of answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from relo_env.errors import ReloError

Box = tuple[float, float, float, float]
"""Left, top, width, height in pixels."""


@runtime_checkable
class Tracker(Protocol):
    """Follows one object: gets its box in the first frame, gives it in every later one.

    A tracker may also offer, as attributes that describe its last ``update``:
    ``model_seconds`` (float, time spent in its network), which the runner reports beside the
    whole update's, and ``score_map`` (float ``(H, W)``), which the runner can keep for the report.
    """

    def init(self, frame: np.ndarray, box: Box) -> None:
        """Start on uint8 RGB ``frame`` ``(H, W, 3)`` with the target at ``box``, xywh pixels."""
        ...

    def update(self, frame: np.ndarray) -> tuple[Box, float]:
        """Box (xywh pixels) and confidence of the target in the next frame."""
        ...


@runtime_checkable
class BatchTracker(Tracker, Protocol):
    """A tracker that also follows many objects in step, each through a video of its own.

    Here ``model_seconds`` is the network's time for the whole step, and ``score_map`` an
    attribute of the tracks.
    """

    def start(self, frame: np.ndarray, box: Box) -> Any:
        """A new track: all state of following one object; arguments as of ``init``."""
        ...

    def step(self, tracks: Sequence[Any], frames: Sequence[np.ndarray]) -> list[tuple[Box, float]]:
        """Box and confidence of every track's object in the next frame of its video."""
        ...


def checked_answer(answer: Any) -> tuple[Box, float]:
    """Check the answer of a tracker: a box and a score.

    Raises:
        ReloError: it is no pair of box and score.
    """
    try:
        box, score = answer
    except (TypeError, ValueError):
        raise ReloError(
            f"update, and step for each track, must return (box, score); got {answer!r}."
        ) from None
    return box, score


def checked_box(box: Any, frame: str) -> np.ndarray:
    """A tracker's box as float64 ``(4,)``; a box without area means that there is no target.

    Args:
        box: answer of the tracker.
        frame: name of the frame, for the message.

    Raises:
        ReloError: it is not four finite numbers, or its size is negative.
    """
    try:
        array = np.asarray(box, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.zeros(0)
    if array.shape != (4,) or not np.isfinite(array).all() or (array[2:] < 0).any():
        raise ReloError(
            f"The tracker's box for {frame} is {box!r}; expected four finite numbers (left, top, "
            "width, height), no size below 0."
        )
    return array
