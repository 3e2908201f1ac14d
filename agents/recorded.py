"""A recorded clip: the data that a recording stores and a Minari data set contains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Recorded:
    """One recorded clip of T frames.

    Attributes:
        seed: ``env.reset(seed=seed)`` shows the same clip.
        sequence: name of its video.
        observations: by key, ``(T + 1, ...)``; the last is that of the last frame again.
        actions: int64 ``(T,)``.
        rewards: float64 ``(T,)``.
        infos: by name, ``(T + 1, ...)``: entry t + 1 tells of the frame that action t settled,
            entry 0 of the last template, with zeros where a reset has none.
    """

    seed: int
    sequence: str
    observations: dict[str, np.ndarray]
    actions: np.ndarray
    rewards: np.ndarray
    infos: dict[str, np.ndarray]
