"""Clock of a run of limited time, and the number of steps that fits into it."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from agents import distributed

MEASURED = 0.25, 0.5
"""Part of the time over which the rate is measured.

The first steps are not typical: caches fill, and workers have made their first batches beforehand.
"""

ENDLESS = 2**31
"""Steps of a run that the clock ends, before their number is fitted."""


class RunClock:
    """Number of steps of a run; with ``minutes``, the number that fits into that time.

    The rate is measured once, over the second quarter of the time (`MEASURED`); until then
    ``steps`` is `ENDLESS`. A schedule that falls over the second half of the steps follows from it.
    The run also ends when its time is over. Parts of a resumed run count together. Several
    processes of one training agree on the time.

    Args:
        steps: number of steps without ``minutes``.
        minutes: duration of the run; None: no limit.
        now: clock [s].

    Attributes:
        steps: number of steps, fitted or given.
        seconds: time of the run so far.
        fitted: True if ``steps`` was fitted.
    """

    def __init__(
        self,
        steps: int,
        minutes: float | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.steps, self.minutes = steps if minutes is None else ENDLESS, minutes
        self.seconds, self.fitted = 0.0, False
        self._now = now
        self._last = now()
        self._begun: tuple[int, float] | None = None

    def start(self) -> None:
        """Leave out the time until now, such as that between two parts of a run."""
        self._last = self._now()

    def over(self, step: int) -> bool:
        """Count the time since the last call; True where the run has ended at this step."""
        now = self._now()
        passed = torch.tensor([now - self._last], dtype=torch.float64)
        self._last = now
        if self.minutes is not None:
            distributed.average([passed])
            self.seconds += passed.item()
            if not self.fitted:
                self._fit(step)
        return self.ended(step)

    def ended(self, step: int) -> bool:
        """True where the run has done its last step."""
        if self.minutes is None:
            return step >= self.steps
        return self.seconds >= 60 * self.minutes or (self.fitted and step >= self.steps)

    def state(self) -> dict[str, float | int | bool]:
        """State as plain values, for `load`."""
        return {"steps": self.steps, "seconds": self.seconds, "fitted": self.fitted}

    def load(self, state: dict[str, float | int | bool]) -> None:
        """Restore a `state`; without ``minutes`` the number of steps is the present one."""
        if self.minutes is not None:
            self.steps, self.fitted = int(state["steps"]), bool(state["fitted"])
            self.seconds = float(state["seconds"])

    def _fit(self, step: int) -> None:
        assert self.minutes is not None
        share = self.seconds / (60 * self.minutes)
        if self._begun is None:
            if share >= MEASURED[0]:
                self._begun = step, self.seconds
            return
        first, since = self._begun
        if step > first and share >= MEASURED[1]:
            each = (self.seconds - since) / (step - first)
            left = max(60 * self.minutes - self.seconds, 0.0)
            self.steps, self.fitted = step + int(left / max(each, 1e-9)), True
