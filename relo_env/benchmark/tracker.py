"""What the benchmark asks of a tracker."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Tracker(Protocol):
    """Follows one object; the box of the first frame is given, every later one is asked for."""

    def init(self, frame: np.ndarray, box: tuple[float, float, float, float]) -> None:
        """Start on uint8 RGB ``frame`` ``(H, W, 3)`` with the target at ``box``, xywh pixels."""
        ...

    def update(self, frame: np.ndarray) -> tuple[tuple[float, float, float, float], float]:
        """Box (xywh pixels) and confidence of the target in the next frame."""
        ...
