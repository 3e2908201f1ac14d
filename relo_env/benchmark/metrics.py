"""Errors of single frames, curves over thresholds, figures made of them, and failures.

Every figure is a mean over frames of some credit in [0, 1], so that means over sequences or over
all frames are weighted means of sequences' figures. :mod:`relo_env.benchmark.protocols` decides
which frames count, and how.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Literal

import numpy as np

from relo_env import boxes

OVERLAP_THRESHOLDS = np.linspace(0, 1, 21)
PIXEL_THRESHOLDS = np.arange(51.0)
"""[px] of centre error."""
NORMALISED_THRESHOLDS = np.linspace(0, 0.5, 51)


def overlaps(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Intersection over union of xywh boxes ``(n, 4)``, frame by frame: ``(n,)``."""
    return boxes.iou(predicted, truth)


def overlaps_of_inclusive_pixels(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The same with right and bottom edges one pixel less, as the official code has it.

    Equal to :func:`overlaps` but for rounding, which can lift the overlap of equal boxes above 1
    and so past the last threshold; figures to compare with that code's need it.
    """
    last = np.minimum(predicted[:, :2] + predicted[:, 2:] - 1, truth[:, :2] + truth[:, 2:] - 1)
    sides = last - np.maximum(predicted[:, :2], truth[:, :2]) + 1
    shared = np.clip(sides, 0, None).prod(-1)
    union = predicted[:, 2:].prod(-1) + truth[:, 2:].prod(-1) - shared
    return np.divide(shared, union, out=np.zeros_like(union), where=union > 0)


def centre_errors(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """[px] Distance of the centres of xywh boxes ``(n, 4)``: ``(n,)``."""
    return np.linalg.norm(_centre_difference(predicted, truth), axis=-1)


def normalised_centre_errors(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Distance of the centres in units of the true width and height: ``(n,)``.

    Infinite where the true box has no area (Mueller et al. 2018, section 5).
    """
    difference = _centre_difference(predicted, truth)
    scaled = np.divide(
        difference, truth[:, 2:], out=np.full_like(difference, np.inf), where=truth[:, 2:] > 0
    )
    return np.linalg.norm(scaled, axis=-1)


def _centre_difference(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return boxes.xywh_to_cxcywh(predicted)[:, :2] - boxes.xywh_to_cxcywh(truth)[:, :2]


@dataclass(frozen=True, eq=False)
class FrameErrors:
    """Errors of the frames that count, arrays ``(n,)``.

    Attributes:
        overlap: IoU; 0 where there is no target to overlap.
        centre: [px] centre error; infinite in a frame that is a miss at every threshold, -1 in
            one that is a hit at every threshold.
        centre_norm: the same in units of the target's sides.
    """

    overlap: np.ndarray
    centre: np.ndarray
    centre_norm: np.ndarray

    def __len__(self) -> int:
        return len(self.overlap)

    @cached_property
    def ascending(self) -> FrameErrors:
        """The same errors, each array in ascending order."""
        return FrameErrors(*map(np.sort, (self.overlap, self.centre, self.centre_norm)))


def _share(credit: np.ndarray) -> float:
    """Mean over frames; 0 where no frame counts."""
    return float(credit.sum() / max(len(credit), 1))


def _share_within(ascending: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Share of the errors that are at most each threshold; 0 where there are none."""
    counts = np.searchsorted(ascending, thresholds, side="right")
    return counts / max(len(ascending), 1)


def success_curve(
    errors: FrameErrors, thresholds: np.ndarray = OVERLAP_THRESHOLDS, *, at_threshold: bool = False
) -> np.ndarray:
    """Share of frames whose overlap is above each threshold.

    Args:
        errors: of the frames that count.
        thresholds: of the overlap.
        at_threshold: an overlap equal to the threshold counts too, as on TrackingNet's server.
    """
    side: Literal["left", "right"] = "left" if at_threshold else "right"
    below = np.searchsorted(errors.ascending.overlap, thresholds, side=side)
    return (len(errors) - below) / max(len(errors), 1)


def precision_curve(errors: FrameErrors, thresholds: np.ndarray = PIXEL_THRESHOLDS) -> np.ndarray:
    """Share of frames whose centre error is within each threshold [px]."""
    return _share_within(errors.ascending.centre, thresholds)


def normalised_precision_curve(
    errors: FrameErrors, thresholds: np.ndarray = NORMALISED_THRESHOLDS
) -> np.ndarray:
    """Share of frames whose normalised centre error is within each threshold."""
    return _share_within(errors.ascending.centre_norm, thresholds)


def success_auc(errors: FrameErrors) -> float:
    """Mean of 21 success rates, strict >; 20/21 for a perfect track.

    The reward's ``clip_auc`` is another number: a trapezoid, 0.975 for a perfect clip.
    """
    return float(success_curve(errors).mean())


def success_rate(errors: FrameErrors, threshold: float) -> float:
    """Share of frames whose overlap is above ``threshold``, strictly: OP and SR."""
    return _share(errors.overlap > threshold)


def precision(errors: FrameErrors, pixels: float = 20.0) -> float:
    """Share of frames whose centre error is within ``pixels``: P."""
    return _share(errors.centre <= pixels)


def normalised_precision(errors: FrameErrors, threshold: float = 0.2) -> float:
    """Share of frames whose normalised centre error is within ``threshold``: P_norm."""
    return _share(errors.centre_norm <= threshold)


def normalised_precision_auc(errors: FrameErrors) -> float:
    """Mean of the normalised precision curve: P_norm_auc."""
    return float(normalised_precision_curve(errors).mean())


def average_overlap(errors: FrameErrors) -> float:
    """Mean overlap: AO (Huang et al. 2019)."""
    return _share(errors.overlap)


def _trapezoid(curve: np.ndarray) -> float:
    """Area under a curve of equidistant points, as a share of the greatest possible."""
    return float((curve[:-1] + curve[1:]).mean() / 2)


def trackingnet_success(errors: FrameErrors) -> float:
    """Area under the success curve of TrackingNet's devkit: trapezoid, 21 thresholds, overlap >=.

    A perfect track gives 1.
    """
    return _trapezoid(success_curve(errors, at_threshold=True))


def trackingnet_precision(errors: FrameErrors) -> float:
    """Area under the precision curve, trapezoid, 21 thresholds up to 50 px."""
    return _trapezoid(precision_curve(errors, np.linspace(0, 50, 21)))


def trackingnet_norm_precision(errors: FrameErrors) -> float:
    """Area under the normalised precision curve, trapezoid, 21 thresholds up to 0.5."""
    return _trapezoid(normalised_precision_curve(errors, np.linspace(0, 0.5, 21)))


FIGURES: Mapping[str, Callable[[FrameErrors], float]] = MappingProxyType(
    {
        "success_auc": success_auc,
        "OP50": lambda errors: success_rate(errors, 0.50),
        "OP75": lambda errors: success_rate(errors, 0.75),
        "P": precision,
        "P_norm": normalised_precision,
        "P_norm_auc": normalised_precision_auc,
        "AO": average_overlap,
        "SR0.5": lambda errors: success_rate(errors, 0.50),
        "SR0.75": lambda errors: success_rate(errors, 0.75),
        "TN_success": trackingnet_success,
        "TN_precision": trackingnet_precision,
        "TN_norm_precision": trackingnet_norm_precision,
    }
)
"""Every figure by its name in tables."""


@dataclass(frozen=True)
class Failure:
    """A stretch of frames in which a tracker was off its target.

    Attributes:
        start: first frame of the stretch.
        end: first frame at which the target was found again, or the number of frames.
        recovered: True if it was found again.
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


def bootstrap_interval(
    values: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean over sequences.

    Args:
        values: ``(n,)`` a figure of every sequence.
        weights: ``(n,)`` weight of each sequence in the mean; equal by default.
        level: share of the bootstrap means inside the interval.
        draws: resamples of the n sequences.
        seed: of the resampling; the same seed gives the same interval.

    Returns:
        Lower and upper end. One sequence gives an interval without width.
    """
    low, high = np.quantile(
        _bootstrap_means(values, weights, draws, seed), [(1 - level) / 2, (1 + level) / 2]
    )
    return float(low), float(high)


@dataclass(frozen=True)
class Difference:
    """Difference of two trackers' means over the same sequences.

    Attributes:
        mean: first minus second.
        low: lower end of the bootstrap 95 % interval.
        high: upper end.
        p_value: two-sided; twice the share of resamples on the other side of 0 than the mean, at
            most 1. Not below one part in the number of resamples.
    """

    mean: float
    low: float
    high: float
    p_value: float


def paired_bootstrap(
    first: np.ndarray,
    second: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    draws: int = 2000,
    seed: int = 0,
) -> Difference:
    """Bootstrap of the difference of two means over the same sequences (Efron, Tibshirani 1993).

    Args:
        first: ``(n,)`` a figure of every sequence.
        second: ``(n,)`` the same figure of another tracker, in the same order.
        weights: ``(n,)`` weight of each sequence in the means; equal by default.
        draws: resamples of the n sequences.
        seed: of the resampling.
    """
    values = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    means = _bootstrap_means(values, weights, draws, seed)
    low, high = np.quantile(means, [0.025, 0.975])
    rarer = min((means <= 0).mean(), (means >= 0).mean())
    return Difference(
        mean=float(np.average(values, weights=weights)),
        low=float(low),
        high=float(high),
        p_value=float(np.clip(2 * rarer, 1 / draws, 1.0)),
    )


def crossed_bootstrap(
    values: np.ndarray, other: np.ndarray | None = None, *, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile 95 % interval of a mean over seeds and clips, both resampled.

    Args:
        values: ``(S, C)``, the same C clips for every seed.
        other: ``(S', C)``; the interval is then that of the difference of the two means, on the
            same clips, with seeds resampled apart.
        draws: resamples.
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    clips = rng.integers(values.shape[1], size=(draws, values.shape[1]))

    def means(of: np.ndarray) -> np.ndarray:
        seeds = rng.integers(len(of), size=(draws, len(of)))
        return np.array([of[s][:, c].mean() for s, c in zip(seeds, clips, strict=True)])

    drawn = means(values) if other is None else means(values) - means(other)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def _bootstrap_means(
    values: np.ndarray, weights: np.ndarray | None, draws: int, seed: int
) -> np.ndarray:
    """Weighted means of resampled sequences; resamples without any weight are left out."""
    values = np.asarray(values, dtype=np.float64)
    weights = np.ones_like(values) if weights is None else np.asarray(weights, dtype=np.float64)
    counts = _resamples(len(values), draws, seed)
    mass = counts @ weights
    return (counts @ (weights * values))[mass > 0] / mass[mass > 0]


@lru_cache(maxsize=2)  # each figure of each tracker has the same ones
def _resamples(count: int, draws: int, seed: int) -> np.ndarray:
    """Times that each of ``count`` items is drawn: float64 ``(draws, count)``."""
    chosen = np.random.default_rng(seed).integers(count, size=(draws, count))
    flat = (chosen + count * np.arange(draws)[:, None]).ravel()
    return np.bincount(flat, minlength=draws * count).reshape(draws, count).astype(np.float64)
