"""One episode of the tracking MDP, in plain numpy.

Entering a frame places its search window. `choose` (or `move`, until it stops) computes the
`Outcome` of an action, with its reward. `apply` applies it and enters the next frame. Everything
random was drawn with the clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from relo_env import boxes as bx
from relo_env.config import CropConfig, EnvConfig
from relo_env.crops import SearchWindow
from relo_env.prefetch import ClipPrefetch
from relo_env.rewards import check_reward, clip_auc, make_reward
from relo_env.spaces import MOVES, STOP, Choice


class Outcome(NamedTuple):
    """Result of an action, computed before anything changes.

    Attributes:
        reward: reward of the action.
        done: the episode ends.
        moved_on: the frame is settled; the next one is entered, unless the episode ends.
        box: the box chosen, xywh pixels.
        info: description of the frame acted on (see `TrackingEnv`).
        choice: the position with its controls; None in other action modes.
    """

    reward: float
    done: bool
    moved_on: bool
    box: np.ndarray
    info: dict[str, Any]
    choice: Choice | None = None


class Episode:
    """A clip being tracked. Boxes are xywh pixels of the clip's augmented video.

    Attributes:
        frames: the clip and its pixels.
        clip: its frames and what was drawn with them.
        config, crop: the environment's configuration, and sizes of the crops.
        templates: uint8 ``(K, 3, Hz, Wz)``.
        template_boxes: float32 ``(K, 4)`` xywh as fractions of each template crop, clipped to it.
        window: search window of the current frame.
        box: the box chosen last; before the first action the last template's.
        target_box: the true box of the current frame; zeros where the target is absent.
        visible: the current frame shows the target.
        t: index of the current search frame.
        zoom: factor on the side of the current search window.
        renewal_age: search frames settled since the last renewal of a template, or the start, where
            there are controls.
    """

    def __init__(self, frames: ClipPrefetch, config: EnvConfig, crop: CropConfig) -> None:
        self.frames, self.clip, self.config, self.crop = frames, frames.clip, config, crop
        self._reward = make_reward(config.reward)
        self.t = 0
        self.zoom, self.renewal_age = 1.0, 0
        self._moves = 0
        self._ious: list[float] = []
        self._visible: list[bool] = []
        self.templates, self.template_boxes = frames.templates
        self._start_at_template()
        self._enter_frame()

    @property
    def settled(self) -> int:
        """Search frames settled so far."""
        return len(self._ious)

    @property
    def is_over(self) -> bool:
        """All search frames are settled."""
        return self.settled == len(self.clip.search_frames)

    @property
    def frame(self) -> np.ndarray:
        """The current frame with its augmentation, uint8 RGB ``(H, W, 3)``, read-only."""
        return self.frames.image(self.t)

    @property
    def boxes01(self) -> np.ndarray:
        """``(2, 4)`` the box chosen last and the true box, both as `target_box01`."""
        boxes = self.window.to_crop(np.stack([self.box, self.target_box]))
        return boxes if self.visible else np.stack([boxes[0], np.zeros(4)])

    @property
    def target_box01(self) -> np.ndarray:
        """The true box, cxcywh01 of the current search window; zeros where it is absent."""
        return self.window.to_crop(self.target_box) if self.visible else np.zeros(4)

    def first_info(self) -> dict[str, Any]:
        """Description of the last template's frame, which a reset returns."""
        return {
            "sequence": self.clip.sequence.name,
            "frame": int(self.clip.template_frames[-1]),
            "box": self.box.copy(),
            "target_box": self.box.copy(),
            "visible": True,
        }

    def choose(
        self,
        box01: np.ndarray,
        candidates01: np.ndarray | None = None,
        choice: Choice | None = None,
    ) -> Outcome:
        """Outcome of settling the current frame with a box; nothing changes before `apply`.

        Args:
            box01: the chosen box, cxcywh01 of the search window.
            candidates01: ``(A, 4)`` boxes of all positions, for ``candidate_info``.
            choice: the action with its controls, where there are some.

        Raises:
            ConfigError: the reward function fails to give a finite number.
            FrameError: the next frame cannot be decoded.
        """
        extra: dict[str, Any] = {}
        if self.config.candidate_info and candidates01 is not None:
            extra["candidate_ious"] = self._overlaps(candidates01)
            extra["target_box01"] = self.target_box01
        if choice is not None and "zoom" in self.config.controls:
            extra["zoom"] = np.float64(choice.zoom)
        if choice is not None and "renew" in self.config.controls:
            extra["renewed"] = choice.renew
        box = bx.clip(self.window.to_image(box01), self._frame_size)
        overlap = float(self._overlaps(box01)) if self.config.official else None
        return self._outcome(box, overlap, extra, choice)

    def move(self, action: int) -> Outcome:
        """Outcome of shifting or scaling the box; stopping, or the last move, settles the frame."""
        box = self.box if action == STOP else bx.clip(moved_box(self.box, action), self._frame_size)
        settles = action == STOP or self._moves + 1 >= self.config.max_moves
        return self._outcome(box, settles=settles)

    def apply(self, outcome: Outcome) -> None:
        """Apply an outcome: its box and, if it settles the frame, the step to the next one."""
        self.box = outcome.box
        if not outcome.moved_on:
            self._moves += 1
            self._place_window()
            return
        self._ious.append(float(outcome.info["iou"]))
        self._visible.append(self.visible)
        self._shown = (self.t, self.window, self.box, self.target_box, self.visible)
        if not outcome.done:
            if self.config.controls:
                self._apply_controls(outcome.choice or Choice(0))
            self.t += 1
            self._enter_frame()

    def true_overlaps(self, boxes01: np.ndarray) -> np.ndarray:
        """IoU of boxes ``(..., 4)`` cxcywh01, clipped to the frame, with the target or 0."""
        if not self.visible:
            return np.zeros(np.shape(boxes01)[:-1])
        return bx.iou(bx.clip(self.window.to_image(boxes01), self._frame_size), self.target_box)

    def shown(self) -> dict[str, Any]:
        """Arguments of `rendering.draw`: the frame acted on last, or the last template's."""
        t, window, box, target_box, visible = self._shown
        caption = "template" if t < 0 else f"IoU {self._ious[t]:.2f}" if visible else "absent"
        counted = f"{self.settled}/{len(self.clip.search_frames)}"
        return {
            "frame": self.frames.image(t),
            "box": box,
            "target_box": target_box if visible else None,
            "window": window.box,
            "caption": f"{self.clip.sequence.name}  {counted}  {caption}",
        }

    def _start_at_template(self) -> None:
        last = self.frames.frame(-1)
        assert last.window is not None
        self.window, self.visible = last.window, True
        self.box = self.target_box = self.frames.true_box(-1, last.size)
        self._shown = (-1, self.window, self.box, self.target_box, True)

    def _enter_frame(self) -> None:
        frame = self.frames.enter(self.t)
        self._frame_size, self._planned_window = frame.size, frame.window
        self.target_box = self.frames.true_box(self.t, frame.size)
        self.visible = bool(self.clip.sequence.visible[self.clip.search_frames[self.t]])
        self._moves = 0
        self._place_window()

    def _place_window(self) -> None:
        factor = self.crop.search_factor * self.zoom
        self.window = self._planned_window or SearchWindow.around(
            self.box, factor, self.crop.search_size, self.config.official
        )

    def _apply_controls(self, choice: Choice) -> None:
        self.zoom = choice.zoom
        self.renewal_age += 1
        if choice.renew:
            template, box = self.frames.cut_template(self.t, self.box)
            self.templates = np.concatenate([self.templates[:-1], template[None]])
            self.template_boxes = np.concatenate([self.template_boxes[:-1], box[None]])
            self.renewal_age = 0

    def _overlaps(self, boxes01: np.ndarray) -> np.ndarray:
        """Overlap that the reward counts, of boxes ``(..., 4)`` cxcywh01."""
        if not self.config.official or not self.visible:
            return self.true_overlaps(boxes01)
        # The official reward compares inside the crop, with the target's corners clamped to it.
        target = bx.clip_to_unit(bx.cxcywh_to_xywh(self.target_box01))
        return bx.iou(bx.cxcywh_to_xywh(boxes01), target)

    def _outcome(
        self,
        box: np.ndarray,
        overlap: float | None = None,
        extra: Mapping[str, Any] | None = None,
        choice: Choice | None = None,
        settles: bool = True,
    ) -> Outcome:
        """Outcome of a box; ``overlap`` is its IoU where the reward counts another one."""
        if overlap is None:
            overlap = float(bx.iou(box, self.target_box)) if self.visible else 0.0
        info = {
            "sequence": self.clip.sequence.name,
            "frame": int(self.clip.search_frames[self.t]),
            "box": box.copy(),
            "target_box": self.target_box.copy(),
            "iou": np.float64(overlap),
            "visible": self.visible,
            **(extra or {}),
        }
        if not settles:
            return Outcome(0.0, False, False, box, info)
        ious, visible = np.array([*self._ious, overlap]), np.array([*self._visible, self.visible])
        done = len(ious) == len(self.clip.search_frames)
        if done:
            info |= {"auc": np.float64(clip_auc(ious[visible])), "ious": ious.copy()}
        else:
            self.frames.frame(self.t + 1)  # raises here, where nothing has changed yet
        reward = check_reward(self._reward(ious, visible, done))
        return Outcome(reward, done, True, box, info, choice)


def moved_box(box: np.ndarray, action: int) -> np.ndarray:
    """An xywh box after one of `MOVES`."""
    dx, dy, dsize = MOVES[action]
    cx, cy, w, h = bx.xywh_to_cxcywh(box)
    scale = 1.0 + dsize
    return bx.cxcywh_to_xywh(np.array([cx + dx * w, cy + dy * h, scale * w, scale * h]))
