"""Failures: frames where a tracker lost its target, and where it found it again."""

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
    lost = visible & (overlap < lost_below)
    found = visible & (overlap >= found_above)
    events = np.flatnonzero(lost | found)
    starts = events[lost[events] & np.concatenate([[True], found[events][:-1]])]
    ends = events[found[events] & np.concatenate([[False], lost[events][:-1]])]
    failures = [Failure(int(a), int(b), recovered=True) for a, b in zip(starts, ends)]  # noqa: B905
    if len(starts) > len(ends):
        failures.append(Failure(int(starts[-1]), len(overlap), recovered=False))
    seen = np.concatenate([[0], np.cumsum(visible)])
    return [f for f in failures if seen[f.end] - seen[f.start] >= min_frames]
