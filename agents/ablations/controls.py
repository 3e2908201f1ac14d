"""Rules for the decisions beside the position: learnt, hand-made, and oracles."""

from __future__ import annotations

import numpy as np
from torch import nn

from agents.ablations.evaluation import Frame, Rule
from agents.confidence import Recovery
from agents.network import RELONetwork
from agents.network.controls import ControlHeads
from agents.network.heads import Heads
from agents.tracker import RELOTracker, Track
from relo_env import boxes as bx
from relo_env.crops import SearchWindow
from relo_env.episode import Episode
from relo_env.spaces import CONTROL_STATES, ZOOMS

GOOD = 0.7
"""IoU above which the oracle renews."""


class DecisionHeads(nn.ModuleDict):
    """Heads of a network that decide, apart from the network; parameters are named as in it."""

    def __init__(self, network: RELONetwork) -> None:
        super().__init__({"heads": network.heads, "controls": network.controls})

    def rule(self, frame: Frame) -> np.ndarray:
        """Most probable position, and most probable choice of each control."""
        heads, controls = self["heads"], self["controls"]
        assert isinstance(heads, Heads)
        assert isinstance(controls, ControlHeads)
        names = frame.env.config.controls
        features = frame.features
        out = heads(features, only=("policy", "value") if names else ("policy",))
        assert out.policy_logits is not None
        chosen = [out.policy_logits.argmax(1)]
        if names:
            states = {name: frame.observation[CONTROL_STATES[name]] for name in names}
            chosen += [c.argmax(1) for c in controls(features, out, states).values()]
        actions = np.stack([entry.cpu().numpy() for entry in chosen], axis=-1)
        return actions if names else actions[:, 0]


def control_oracle(position: Rule) -> Rule:
    """Rule that knows the truth about the controls and takes the positions of another rule.

    Zoom is the smallest whose next window contains the next true box, or none where no window does.
    A template is renewed where the chosen box has an IoU above `GOOD`.
    """

    def rule(frame: Frame) -> np.ndarray:
        positions = position(frame)
        entries = [positions]
        controls, rows = frame.env.config.controls, np.arange(len(positions))
        if "zoom" in controls:
            entries.append(_zooms(frame, positions))
        if "renew" in controls:
            entries.append(frame.overlaps()[rows, positions] > GOOD)
        return np.stack(entries, axis=-1).astype(np.int64)

    return rule


def _zooms(frame: Frame, positions: np.ndarray) -> np.ndarray:
    """Smallest zoom of each row that contains the next true box, 0 where none does."""
    crop, candidates = frame.env.crop, frame.env.get_attr("candidates")
    chosen = []
    for row, position, episode in zip(frame.rows, positions, frame.episodes, strict=True):
        height, width = episode.frame.shape[:2]
        box = bx.clip(candidates[row][position], (width, height))
        target = _next_target(episode)
        sides = [crop.search_factor * zoom for zoom in ZOOMS]
        windows = [SearchWindow.around(box, side, crop.search_size) for side in sides]
        fits = [target is not None and _contains(window, target) for window in windows]
        chosen.append(int(np.argmax(fits)))
    return np.array(chosen)


def _next_target(episode: Episode) -> np.ndarray | None:
    """True box of the next frame, None at the end and where it is absent."""
    clip = episode.clip
    if episode.t + 1 == len(clip.search_frames):
        return None
    frame = clip.search_frames[episode.t + 1]
    return clip.sequence.boxes[frame] if clip.sequence.visible[frame] else None


def _contains(window: SearchWindow, box: np.ndarray) -> bool:
    corners = bx.cxcywh_to_xywh(window.to_crop(box))
    return bool((corners[:2] >= 0).all() and (corners[:2] + corners[2:] <= 1).all())


def hand_made(network: RELONetwork) -> RELOTracker:
    """Tracker with `Recovery` and a renewed template, without window function."""
    return RELOTracker(
        network,
        window_exponent=0,
        recovery=Recovery(),
        controls=False,
        device=next(network.parameters()).device,
        backend="torch",
        num_templates=2,
        update_interval=50,
        update_threshold=0.85,
    )


def tracker_rule(tracker: RELOTracker) -> Rule:
    """Rule that plays a tracker's boxes, in an environment of ``action_mode="box"``."""
    tracks: list[Track] = []

    def rule(frame: Frame) -> np.ndarray:
        episodes = frame.episodes
        if episodes[0].t == 0:
            tracks[:] = [_start(tracker, episode) for episode in episodes]
        tracked = tracker.step(tracks, [episode.frame for episode in episodes])
        boxes = (box for box, _ in tracked)
        found = zip(episodes, boxes, strict=True)
        return np.stack([episode.window.to_crop(np.array(box)) for episode, box in found])

    return rule


def _start(tracker: RELOTracker, episode: Episode) -> Track:
    image = episode.clip.sequence.frames.read(int(episode.clip.template_frames[-1]))
    x, y, w, h = episode.box.tolist()
    return tracker.start(image, (x, y, w, h))
