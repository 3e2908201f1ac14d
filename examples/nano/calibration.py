"""Confidence of the shipped tracker, fitted and measured on held-back synthetic video."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from agents.confidence import Confidence, Evidence
from agents.network import RELONetwork
from agents.tracker import RELOTracker
from relo_env import boxes as bx
from relo_env.datasets.base import Sequence as Video

RIGHT = 0.5
"""A box is right where its IoU with the true one is above this."""

RIDGE = 1e-3
"""Weight decay of the regression, which might separate the data without error."""


class Judged(NamedTuple):
    """Answers of a tracker for N frames, beside the truth.

    Attributes:
        evidence: of N boxes, see `Evidence`.
        score: float ``(N,)``, the tracker's.
        lost: bool ``(N,)``, whether the tracker says that it is.
        iou: float ``(N,)``; 0 where the target is absent.
        visible: bool ``(N,)``.
        video: int ``(N,)``, which one; the frames of each are in order.
    """

    evidence: Evidence
    score: np.ndarray
    lost: np.ndarray
    iou: np.ndarray
    visible: np.ndarray
    video: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """Bool ``(N,)``."""
        return self.iou > RIGHT


class Absences(NamedTuple):
    """Figures of a tracker whose target goes away; shares in [0, 1], NaN of none.

    Attributes:
        gone: absences of at least ``LEAST`` frames.
        announced: share of them in which the target is said to be lost.
        returns: those after which the target comes back.
        found: share of these with a right box within ``SOON`` frames.
        false_alarms: share of the frames with a right box in which it is said to be lost.
    """

    gone: int
    announced: float
    returns: int
    found: float
    false_alarms: float


LEAST, SOON = 5, 20


def calibrate(network: RELONetwork, videos: Sequence[Video], **options: object) -> Confidence:
    """Fit ``network.confidence`` to tracks over videos, and return it.

    Args:
        network: its confidence is replaced.
        videos: held back from training, some of them with frames without target.
        options: of the `RELOTracker`.
    """
    network.confidence = Confidence(0.0, 0.0, 0.0)  # for the evidence that a tracker then has
    seen = judge(network, videos, **options)
    network.confidence = fit(seen.evidence, seen.right)
    return network.confidence


def fit(evidence: Evidence, right: np.ndarray) -> Confidence:
    """Logistic regression with weight decay.

    Args:
        evidence: of N boxes.
        right: bool ``(N,)``, whether each box was right.
    """
    x, y = torch.from_numpy(np.stack(evidence, axis=1)), torch.from_numpy(right).double()
    mean, scale = x.mean(0), x.std(0, correction=0)
    scale[scale == 0] = 1
    weights = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=1000, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        odds = weights[0] + (x - mean) / scale @ weights[1:]
        value = binary_cross_entropy_with_logits(odds, y) + RIDGE * weights[1:].square().sum() / 2
        value.backward()
        return value

    optimizer.step(loss)  # type: ignore[arg-type]
    slopes = weights.detach()[1:] / scale
    bias = weights.detach()[0] - mean @ slopes
    return Confidence(bias.item(), *slopes.tolist())


def reliability(
    confidence: np.ndarray, right: np.ndarray, bins: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean confidence, share of right boxes and number of boxes in each bin that has any.

    Args:
        confidence: ``(N,)`` in [0, 1].
        right: bool ``(N,)``.
        bins: of equal width.
    """
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(index, minlength=bins)
    used = count > 0
    total = np.bincount(index, confidence, bins)[used], np.bincount(index, right, bins)[used]
    return total[0] / count[used], total[1] / count[used], count[used]


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error: the bins' gaps between confidence and share, by their size."""
    mean, share, count = reliability(confidence, right)
    return float(np.abs(mean - share) @ count / count.sum())


def judge(network: RELONetwork, videos: Sequence[Video], **options: object) -> Judged:
    """Follow the target of each video from its first frame, all of them in step."""
    tracker = RELOTracker(network, **options)  # type: ignore[arg-type]
    videos = [video for video in videos if video.visible[0]]
    tracks = [tracker.start(v.frames.read(0), tuple(v.boxes[0].tolist())) for v in videos]
    evidence: list[Evidence] = []
    rows: list[tuple[float, ...]] = []
    for index in range(1, max(len(video) for video in videos)):
        live = [i for i, video in enumerate(videos) if index < len(video)]
        frames = [videos[i].frames.read(index) for i in live]
        for i, (box, score) in zip(
            live, tracker.step([tracks[i] for i in live], frames), strict=True
        ):
            truth, visible = videos[i].boxes[index], bool(videos[i].visible[index])
            view = tracks[i].view
            assert view is not None
            assert view.evidence is not None
            iou = float(bx.iou(np.array(box), truth)) if visible else 0.0
            evidence.append(view.evidence)
            rows.append((score, tracks[i].lost, iou, visible, i))
    score, lost, iou, visible, video = np.array(rows).T
    columns = (np.array(column) for column in zip(*evidence, strict=True))
    return Judged(
        Evidence(*columns), score, lost.astype(bool), iou, visible.astype(bool), video.astype(int)
    )


def absences(seen: Judged) -> Absences:
    """Figures of a tracker that tells when its target is lost."""
    announced, found = [], []
    for video in np.unique(seen.video):
        lost, right, visible = (
            column[seen.video == video] for column in (seen.lost, seen.right, seen.visible)
        )
        edges = np.flatnonzero(np.diff(visible.astype(int), prepend=1, append=1))
        for start, end in edges.reshape(-1, 2):
            if end - start < LEAST:
                continue
            announced.append(lost[start:end].any())
            if end < len(visible):
                found.append(right[end : end + SOON].any())
    return Absences(
        len(announced),
        _share(np.array(announced)),
        len(found),
        _share(np.array(found)),
        _share(seen.lost[seen.right]),
    )


def _share(flags: np.ndarray) -> float:
    return float(flags.mean()) if len(flags) else float("nan")
