"""What the benchmark asks of a tracker."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Tracker(Protocol):
    """Follows one object; the box of the first frame is given, every later one is asked for.

    A tracker may also offer, as attributes that describe its last ``update``:
    ``model_seconds`` (float, time spent in its network), which the runner reports beside the
    whole update's, and ``score_map`` (float ``(H, W)``), which the runner can keep for the report.
    """

    def init(self, frame: np.ndarray, box: tuple[float, float, float, float]) -> None:
        """Start on uint8 RGB ``frame`` ``(H, W, 3)`` with the target at ``box``, xywh pixels."""
        ...

    def update(self, frame: np.ndarray) -> tuple[tuple[float, float, float, float], float]:
        """Box (xywh pixels) and confidence of the target in the next frame."""
        ...
