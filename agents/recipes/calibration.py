"""How sure the shipped tracker may be of its boxes, measured on held-back synthetic video."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from agents.confidence import RIGHT, Confidence
from agents.network import RELONetwork
from agents.tracker import RELOTracker
from relo_env import boxes as bx
from relo_env.datasets.base import Sequence as Video


class Judged(NamedTuple):
    """What a tracker said of N boxes, and whether they were right.

    Attributes:
        agreement: float ``(N,)``.
        heat: float ``(N,)``.
        score: float ``(N,)``, the tracker's.
        right: bool ``(N,)``; never where the target is absent.
    """

    agreement: np.ndarray
    heat: np.ndarray
    score: np.ndarray
    right: np.ndarray


def calibrate(network: RELONetwork, videos: Iterable[Video], **options: object) -> Confidence:
    """Fit ``network.confidence`` to tracks over videos, and return it.

    Args:
        network: its confidence is replaced.
        videos: held back from training, some of them with frames without target.
        options: of the `RELOTracker`.
    """
    network.confidence = Confidence(0.0, 1.0, 1.0)  # for the evidence that a tracker shows with it
    seen = judge(network, videos, **options)
    network.confidence = Confidence.fit(seen.agreement, seen.heat, seen.right)
    return network.confidence


def judge(network: RELONetwork, videos: Iterable[Video], **options: object) -> Judged:
    """Follow the target of each video from its first frame, all of them in step."""
    tracker = RELOTracker(network, **options)  # type: ignore[arg-type]
    videos = [video for video in videos if video.visible[0]]
    tracks = [tracker.start(v.frames.read(0), tuple(v.boxes[0].tolist())) for v in videos]
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
            right = visible and float(bx.iou(np.array(box), truth)) > RIGHT
            rows.append((*view.evidence, score, right))
    agreement, heat, score, right = np.array(rows).T
    return Judged(agreement, heat, score, right.astype(bool))
