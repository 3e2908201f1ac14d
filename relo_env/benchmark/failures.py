"""Where a tracker lost its target, and whether it found it again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Failure:
    """A stretch of frames in which a tracker was off its target.

    Attributes:
        start: first frame of the stretch.
        end: first frame at which the target was found again, or the number of frames.
        recovered: whether it was.
    """

    start: int
    end: int
    recovered: bool

    @property
    def length(self) -> int:
        """Number of frames, those without target included."""
        return self.end - self.start


def find_failures(
    overlap: np.ndarray,
    visible: np.ndarray,
    *,
    lost_below: float = 0.1,
    found_above: float = 0.5,
    min_frames: int = 10,
) -> list[Failure]:
    """Stretches that begin where the overlap falls under one bound and end where it passes another.

    The gap between the bounds keeps a box at the target's edge from counting as many failures.
    Frames without target neither begin nor end a stretch.

    Args:
        overlap: ``(n,)`` IoU a frame.
        visible: bool ``(n,)`` whether the target is there.
        lost_below: a visible frame with less overlap begins a stretch.
        found_above: a visible frame with at least that much overlap ends it.
        min_frames: shorter stretches with so few visible frames are left out.
    """
    failures, start = [], None
    for frame in np.flatnonzero(visible):
        if start is None and overlap[frame] < lost_below:
            start = int(frame)
        elif start is not None and overlap[frame] >= found_above:
            failures.append(Failure(start, int(frame), recovered=True))
            start = None
    if start is not None:
        failures.append(Failure(start, len(overlap), recovered=False))
    return [f for f in failures if visible[f.start : f.end].sum() >= min_frames]
