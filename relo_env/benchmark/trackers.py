"""Trackers made by name: ``opencv:MIL``, ``static`` or ``module:factory``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import cv2
import numpy as np

from relo_env.benchmark.interface import Tracker
from relo_env.checks import check_arguments, import_named
from relo_env.errors import ConfigError, unknown

OPENCV_TRACKERS = ("CSRT", "KCF", "MIL")
"""OpenCV's trackers that need no network file; CSRT and KCF come with its contrib modules."""


@dataclass(frozen=True)
class TrackerFactory:
    """Builds a tracker, in any process.

    Attributes:
        name: of the tracker in tables and folders.
        target: ``"module:function"`` that returns a :class:`Tracker`.
        kwargs: keyword arguments of the function, picklable.
        fresh_process: the tracker is repeatable only as the first of its process.
        settings: settings that its boxes depend on, kept beside them; the target and its arguments
            by default.
    """

    name: str
    target: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    fresh_process: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.settings:
            settings = {"tracker": self.target, "tracker_options": dict(self.kwargs)}
            object.__setattr__(self, "settings", settings)

    def __call__(self) -> Tracker:
        """Build the tracker.

        Raises:
            ConfigError: the target cannot be imported, or what it returns is no Tracker.
        """
        tracker = import_named(self.target, "Tracker")(**self.kwargs)
        if not isinstance(tracker, Tracker):
            raise ConfigError(
                f"{self.target} returned {type(tracker).__name__}, which has no "
                "init(frame, box) and update(frame); see relo_env.benchmark.interface.Tracker."
            )
        return tracker


def make_tracker_factory(
    spec: str, *, name: str | None = None, fresh_process: bool | None = None, **kwargs: Any
) -> TrackerFactory:
    """The factory of a tracker that is given by name.

    Args:
        spec: ``"opencv:MIL"`` (or CSRT, KCF), ``"static"``, or ``"module:factory"``.
        name: of the tracker in tables and folders; made from the spec by default.
        fresh_process: see :class:`TrackerFactory`; by default True for OpenCV's MIL alone,
            which draws from a random generator that its process shares.
        kwargs: keyword arguments of ``factory``.

    Raises:
        ConfigError: the spec is malformed, or names what is not installed, or an argument does
            not fit.
    """
    module, _, attribute = spec.partition(":")
    name = name or spec.replace(":", "-")
    whose, here = f"Options of tracker {spec!r}", StaticTracker.__module__
    if spec == "static":
        check_arguments(whose, StaticTracker, kwargs)
        return TrackerFactory(name, f"{here}:StaticTracker", kwargs)
    if module == "opencv":
        _opencv_constructor(attribute)
        check_arguments(whose, partial(OpenCVTracker, attribute), kwargs)
        fresh = attribute == "MIL" if fresh_process is None else fresh_process
        return TrackerFactory(name, f"{here}:OpenCVTracker", {"algorithm": attribute}, fresh)
    if not module or not attribute:
        raise ConfigError(
            f"Tracker {spec!r} is neither 'static', 'opencv:<algorithm>' nor 'module:factory'."
        )
    check_arguments(whose, import_named(spec, "Tracker"), kwargs)
    return TrackerFactory(name, spec, kwargs, bool(fresh_process))


class StaticTracker:
    """Always gives the first box: a baseline."""

    def init(self, frame: np.ndarray, box: tuple[float, float, float, float]) -> None:
        """Remember the box."""
        self._box = box

    def update(self, frame: np.ndarray) -> tuple[tuple[float, float, float, float], float]:
        """The first box again."""
        return self._box, 1.0


def _opencv_constructor(algorithm: str) -> Any:
    if algorithm not in OPENCV_TRACKERS:
        raise ConfigError(unknown("OpenCV tracker", algorithm, OPENCV_TRACKERS))
    for owner in (cv2, getattr(cv2, "legacy", None)):
        constructor = getattr(owner, f"Tracker{algorithm}_create", None)
        if constructor is not None:
            return constructor
    raise ConfigError(
        f"OpenCV {cv2.__version__} here has no {algorithm}, which is one of its contrib modules. "
        "Replace the package: pip uninstall opencv-python opencv-python-headless, then "
        "pip install opencv-contrib-python (or -headless)."
    )


SMALLEST_SIDE, SMALLEST_AREA = 3, 36
"""[px] Least box of `OpenCVTracker`; MIL never comes back from a smaller one."""


class OpenCVTracker:
    """One of OpenCV's own trackers; a lost target gives what OpenCV says, mostly an empty box."""

    def __init__(self, algorithm: str) -> None:
        self._create = _opencv_constructor(algorithm)

    def init(self, frame: np.ndarray, box: tuple[float, float, float, float]) -> None:
        """Start a new OpenCV tracker on the whole pixels of the box that lie in the frame.

        Raises:
            ConfigError: there are none or too few, or OpenCV refuses the box.
        """
        self._tracker = self._create()
        pixels = _pixels(box, frame)
        if min(pixels[2:]) < SMALLEST_SIDE or pixels[2] * pixels[3] < SMALLEST_AREA:
            raise ConfigError(
                f"Box {tuple(box)} covers {pixels[2]}x{pixels[3]} px of the frame; OpenCV's "
                f"trackers need sides of {SMALLEST_SIDE} px and an area of {SMALLEST_AREA} px."
            )
        try:
            self._tracker.init(_bgr(frame), pixels)
        except cv2.error as error:
            raise ConfigError(
                f"OpenCV cannot start on box {pixels} (left, top, width, height): {error.err}. "
                "Give a larger box."
            ) from error

    def update(self, frame: np.ndarray) -> tuple[tuple[float, float, float, float], float]:
        """Box found by OpenCV, and score 1 if OpenCV reports success, else 0."""
        found, (left, top, width, height) = self._tracker.update(_bgr(frame))
        return (float(left), float(top), float(width), float(height)), float(found)


def _pixels(box: tuple[float, float, float, float], frame: np.ndarray) -> tuple[int, ...]:
    """Whole pixels of a box inside the frame, xywh."""
    height, width = frame.shape[:2]
    left, top, w, h = box
    right, bottom = min(round(left + w), width), min(round(top + h), height)
    left, top = max(round(left), 0), max(round(top), 0)
    if right <= left or bottom <= top:
        raise ConfigError(
            f"Box {tuple(box)} covers no whole pixel of the frame of {width}x{height} px; expected "
            "(left, top, width, height) in pixels of this frame."
        )
    return left, top, right - left, bottom - top


def _bgr(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
