"""How sure the shipped tracker may be of its boxes, measured on held-back synthetic video."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from agents.confidence import RIGHT, Confidence, Evidence, Recovery
from agents.network import RELONetwork
from agents.tracker import RELOTracker
from relo_env import boxes as bx
from relo_env.datasets.base import Sequence as Video


class Judged(NamedTuple):
    """What a tracker said of N boxes, and how right it was.

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
    """How a tracker fares where its target goes away; shares in [0, 1], NaN of none.

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


EAGER = Recovery(lost_below=0.5)
"""Calls targets lost that are not, and so sees many of them in wide windows."""


def calibrate(network: RELONetwork, videos: Sequence[Video], **options: object) -> Confidence:
    """Fit ``network.confidence`` to tracks over videos, and return it.

    Each video is tracked twice. A tracker that is never lost sees targets at one scale; in the
    wider window of a search they are smaller, and have to be recognised there too.

    Args:
        network: its confidence is replaced.
        videos: held back from training, some of them with frames without target.
        options: of the `RELOTracker`, all but ``recovery``.
    """
    network.confidence = Confidence(0.0, 1.0, 1.0)  # for the evidence that a tracker shows with it
    never = judge(network, videos, **options)
    network.confidence = Confidence.fit(never.evidence, never.right)
    eager = judge(network, videos, recovery=EAGER, **options)
    evidence = map(np.concatenate, zip(never.evidence, eager.evidence, strict=True))
    right = np.concatenate([never.right, eager.right])
    network.confidence = Confidence.fit(Evidence(*evidence), right)
    return network.confidence


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
    """Figures of a tracker with `Recovery`."""
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
