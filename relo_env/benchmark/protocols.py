"""Evaluation protocols as data: which frames count, and what a frame without target is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np

from relo_env.benchmark.metrics import (
    FrameErrors,
    centre_errors,
    normalised_centre_errors,
    overlaps,
    overlaps_of_inclusive_pixels,
)
from relo_env.errors import ConfigError, DataError, unknown

Curve = Literal["precision", "normalised precision"]

OPE_FIGURES = (
    "success_auc",
    "OP50",
    "OP75",
    "P",
    "P_norm",
    "P_norm_auc",
    "AO",
    "SR0.5",
    "SR0.75",
)


@dataclass(frozen=True)
class Protocol:
    """How a benchmark turns boxes into figures.

    Attributes:
        name: how it is called in tables and on the command line.
        description: one line for readers.
        figures: names in :data:`relo_env.benchmark.metrics.FIGURES`; the first is the headline.
        count_first: the first frame counts, with the box that was given; else it is left out.
        count_absent: frames without target count, as failures; else they are left out.
        pooled: figures are means over all frames of the data set, not over sequences.
        rounded: boxes are rounded to whole pixels first.
        bounded: boxes are first cut to the frame as GOT-10k's toolkit cuts them.
        inclusive: overlaps are computed on inclusive pixels, to the official code's rounding.
        hold_last: a predicted box without area is replaced by the one before it.
        false_hits: by lower-case name of the data set (``"*"`` for all others), the curves that
            call a frame without target a hit.
        labels_matter: lower-case names of the data sets where a frame that is labelled as absent
            is a miss whatever ``false_hits`` says.
    """

    name: str
    description: str
    figures: tuple[str, ...] = OPE_FIGURES
    count_first: bool = True
    count_absent: bool = True
    pooled: bool = False
    rounded: bool = False
    bounded: bool = False
    inclusive: bool = False
    hold_last: bool = False
    false_hits: Mapping[str, tuple[Curve, ...]] = field(default_factory=dict)
    labels_matter: frozenset[str] = frozenset()

    @property
    def headline(self) -> str:
        """Name of the figure that trackers are ranked by."""
        return self.figures[0]


PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            Protocol(
                name="clean",
                description="Frame 0 counts with the given box; absent frames are failures.",
            ),
            Protocol(
                name="official",
                description="As the public RELO code, which calls some absent frames hits.",
                inclusive=True,
                hold_last=True,
                false_hits=MappingProxyType(
                    {
                        "*": ("normalised precision",),
                        "uav": ("precision", "normalised precision"),
                        "uav123": ("precision", "normalised precision"),
                    }
                ),
                labels_matter=frozenset({"lasot"}),
            ),
            Protocol(
                name="dev",
                description="Frame 0 and absent frames are left out.",
                count_first=False,
                count_absent=False,
            ),
            Protocol(
                name="got10k",
                description="As GOT-10k's toolkit: frame 0 and absent frames left out, boxes cut "
                "to the frame, means over all frames of all sequences.",
                figures=("AO", "SR0.5", "SR0.75"),
                count_first=False,
                count_absent=False,
                pooled=True,
                bounded=True,
            ),
            Protocol(
                name="trackingnet",
                description="As TrackingNet's server: frame 0 counts, whole pixels, areas under "
                "curves by the trapezoid rule.",
                figures=("TN_success", "TN_precision", "TN_norm_precision"),
                rounded=True,
            ),
        )
    }
)


def get_protocol(name: str) -> Protocol:
    """The protocol called ``name``.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in PROTOCOLS:
        raise ConfigError(unknown("protocol", name, PROTOCOLS))
    return PROTOCOLS[name]


def frame_errors(
    protocol: Protocol,
    predicted: np.ndarray,
    truth: np.ndarray,
    visible: np.ndarray,
    *,
    dataset: str = "",
    frame_size: tuple[int, int] | None = None,
) -> FrameErrors:
    """Errors of the frames that count under a protocol.

    Args:
        protocol: one of :data:`PROTOCOLS`, or one's own.
        predicted: ``(n, 4)`` xywh pixels, one box a frame, the first frame included.
        truth: ``(n, 4)`` xywh pixels; a box without area marks a frame without annotation.
        visible: bool ``(n,)``; False where the target is labelled as absent.
        dataset: name of the data set, for the protocols that treat some in their own way.
        frame_size: (width, height) in pixels, needed by ``bounded`` protocols.

    Raises:
        DataError: counts differ, or predicted boxes are not finite or have negative sides.
    """
    predicted, truth = np.array(predicted, np.float64), np.array(truth, np.float64)
    _check(predicted, truth, visible)
    target = visible & (truth[:, 2:] > 0).all(-1)
    if protocol.hold_last:
        predicted = _hold_last(predicted)
    predicted[0] = truth[0]
    if protocol.rounded:
        predicted, truth = predicted.round(), truth.round()
    if protocol.bounded:
        if frame_size is None:
            raise ConfigError(f"Protocol {protocol.name!r} cuts boxes: give frame_size.")
        predicted, truth = _bound(predicted, frame_size), _bound(truth, frame_size)

    overlap = overlaps_of_inclusive_pixels if protocol.inclusive else overlaps
    missed = _is_labelled_miss(protocol, dataset, visible)
    errors = FrameErrors(
        overlap=np.where(target, overlap(predicted, truth), 0.0),
        centre=np.where(
            target,
            centre_errors(predicted, truth),
            _without_target(protocol, dataset, "precision", missed),
        ),
        centre_norm=np.where(
            target,
            normalised_centre_errors(predicted, truth),
            _without_target(protocol, dataset, "normalised precision", missed),
        ),
    )
    counts = target | protocol.count_absent
    counts[0] &= protocol.count_first
    return FrameErrors(errors.overlap[counts], errors.centre[counts], errors.centre_norm[counts])


def _is_labelled_miss(protocol: Protocol, dataset: str, visible: np.ndarray) -> np.ndarray:
    return ~visible & (dataset.lower() in protocol.labels_matter)


def _without_target(
    protocol: Protocol, dataset: str, curve: Curve, missed: np.ndarray
) -> np.ndarray:
    """Centre error of each frame if it has no target: infinite is a miss, -1 a hit."""
    false_hits = protocol.false_hits.get(dataset.lower(), protocol.false_hits.get("*", ()))
    return np.where(missed | (curve not in false_hits), np.inf, -1.0)


def _check(predicted: np.ndarray, truth: np.ndarray, visible: np.ndarray) -> None:
    if predicted.shape != truth.shape or visible.shape != truth.shape[:1]:
        raise DataError(
            f"Predicted boxes have shape {predicted.shape}, true boxes {truth.shape} and "
            f"visibility {visible.shape}; expected (n, 4), (n, 4) and (n,): one box a frame, the "
            "first frame included."
        )
    bad = np.flatnonzero(~np.isfinite(predicted).all(-1) | (predicted[:, 2:] < 0).any(-1))
    if bad.size:
        raise DataError(
            f"Predicted box of frame {bad[0]} is {predicted[bad[0]]}; expected four finite "
            "numbers with width and height of at least 0."
        )


def _hold_last(predicted: np.ndarray) -> np.ndarray:
    """Replace boxes without area by the row before, in order, as the official code does."""
    for i in range(1, len(predicted)):
        if (predicted[i, 2:] <= 0).any():
            predicted[i] = predicted[i - 1]
    return predicted


def _bound(xywh: np.ndarray, frame_size: tuple[int, int]) -> np.ndarray:
    """Cut boxes to the frame; as in GOT-10k's toolkit, moving a left edge keeps the width."""
    size = np.asarray(frame_size, dtype=np.float64)
    low = np.clip(xywh[:, :2], 0, size)
    return np.concatenate([low, np.clip(xywh[:, 2:], 0, size - low)], axis=-1)
