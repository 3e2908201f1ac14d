"""One episode of the tracking MDP, in plain numpy.

A frame is entered (`_look` cuts the search crop), acted on (`act`, or `move` until it stops) and
left. What is paid and told about it is an `Outcome`. Everything random was drawn with the clip.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from relo_env import boxes as bx
from relo_env.clips import Clip, jittered_box
from relo_env.config import CropConfig, EnvConfig
from relo_env.crops import SearchWindow
from relo_env.errors import ConfigError
from relo_env.rewards import clip_auc, make_reward

MOVES = np.array(
    # dx, dy in box sides, dsize as a fraction; alpha = 0.03 (Yun et al. 2017, section 3.2)
    [
        [-0.03, 0.0, 0.0],  # left
        [0.03, 0.0, 0.0],  # right
        [0.0, -0.03, 0.0],  # up
        [0.0, 0.03, 0.0],  # down
        [-0.06, 0.0, 0.0],  # twice left
        [0.06, 0.0, 0.0],  # twice right
        [0.0, -0.06, 0.0],  # twice up
        [0.0, 0.06, 0.0],  # twice down
        [0.0, 0.0, 0.03],  # larger
        [0.0, 0.0, -0.03],  # smaller
        [0.0, 0.0, 0.0],  # stop
    ]
)
STOP = len(MOVES) - 1


class Outcome(NamedTuple):
    """What came of an action.

    Attributes:
        reward: what is paid.
        done: the episode is over.
        moved_on: the frame is settled and the next one is entered, unless the episode is over.
        info: description of the frame acted on (DESIGN section 3).
    """

    reward: float
    done: bool
    moved_on: bool
    info: dict[str, Any]


class Shown(NamedTuple):
    """What a rendering of the episode shows: the frame acted on last."""

    frame: np.ndarray
    window: SearchWindow
    box: np.ndarray
    target_box: np.ndarray
    visible: bool
    caption: str


class Episode:
    """A clip being tracked. Boxes are xywh pixels of the clip's augmented video.

    Args:
        clip: its frames and what was drawn with them.
        read: decoded frame by frame index, uint8 RGB ``(H, W, 3)``.
        config: the environment's configuration.
        crop: sizes of the crops.

    Attributes:
        templates: uint8 ``(K, 3, Hz, Wz)``.
        template_boxes: float32 ``(K, 4)`` xywh as fractions of each template crop, clipped to it.
        crop_image: uint8 ``(Hx, Wx, 3)``, the search crop of the current frame.
        window: where that crop lies in the frame.
        box: the box chosen last; before the first action the last template's.
        target_box: the true box of the current frame; zeros where the target is absent.
        visible: whether the current frame shows the target.
    """

    def __init__(
        self, clip: Clip, read: Callable[[int], np.ndarray], config: EnvConfig, crop: CropConfig
    ) -> None:
        self.clip, self.config, self.crop = clip, config, crop
        self._read = read
        self._reward = make_reward(config.reward)
        self._t = 0
        self._moves = 0
        self._ious: list[float] = []
        self._visible: list[bool] = []
        self.templates, self.template_boxes = self._cut_templates()
        self._shown = self._show("template")
        self._enter()

    @property
    def frame(self) -> np.ndarray:
        """The current frame as the agent's world has it, uint8 RGB ``(H, W, 3)``."""
        return self._augmented(self._image)

    @property
    def previous_box01(self) -> np.ndarray:
        """The box chosen last, cxcywh01 of the current search window."""
        return self.window.to_crop(self.box)

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

    def act(self, box01: np.ndarray, candidates01: np.ndarray | None = None) -> Outcome:
        """Settle the current frame with a box and enter the next one.

        Args:
            box01: the chosen box, cxcywh01 of the search window.
            candidates01: ``(A, 4)`` boxes of all positions, told apart with ``candidate_info``.
        """
        extra = {}
        if self.config.candidate_info and candidates01 is not None:
            extra["candidate_ious"] = self._overlaps(candidates01)
        overlap = float(self._overlaps(box01))
        self.box = self._to_frame(box01)
        return self._settle(overlap, extra)

    def move(self, action: int) -> Outcome:
        """Shift or scale the box; stopping, or the last move allowed, settles the frame."""
        dx, dy, dsize = MOVES[action]
        cx, cy, w, h = bx.xywh_to_cxcywh(self.box)
        moved = bx.cxcywh_to_xywh(np.array([cx + dx * w, cy + dy * h, w, h]))
        moved = bx.cxcywh_to_xywh(
            bx.xywh_to_cxcywh(moved) * np.array([1.0, 1.0, 1.0 + dsize, 1.0 + dsize])
        )
        if action != STOP:
            self.box = bx.clip(moved, self._frame_size)
        self._moves += 1
        overlap = float(bx.iou(self.box, self.target_box)) if self.visible else 0.0
        if action == STOP or self._moves >= self.config.max_moves:
            return self._settle(overlap, {})
        outcome = Outcome(0.0, False, False, self._info(overlap))
        self._look()
        return outcome

    def shown(self) -> Shown:
        """The frame acted on last, or the last template's, for rendering."""
        return self._shown._replace(frame=self._augmented(self._shown.frame))

    @property
    def _frame_size(self) -> tuple[int, int]:
        return self._image.shape[1], self._image.shape[0]

    def _augmented(self, image: np.ndarray) -> np.ndarray:
        if self.clip.augmentation.mirror:
            image = np.ascontiguousarray(image[:, ::-1])
        return self.clip.augmentation.colour(image)

    def _cut(self, image: np.ndarray, window: SearchWindow) -> np.ndarray:
        augmentation = self.clip.augmentation
        return augmentation.colour(window.extract(image, augmentation.mirror))

    def _true_box(self, index: int, image: np.ndarray) -> np.ndarray:
        return self.clip.augmentation.boxes(self.clip.sequence.boxes[index], image.shape[1])

    def _cut_templates(self) -> tuple[np.ndarray, np.ndarray]:
        size, official = self.crop.template_size, self.config.official
        count = len(self.clip.template_frames)
        crops = np.empty((count, 3, size, size), np.uint8)
        corners = np.empty((count, 4), np.float32)
        for k, index in enumerate(self.clip.template_frames):
            self._image = self._read(int(index))
            self.box = self._true_box(index, self._image)
            self.window = SearchWindow.around(self.box, self.crop.template_factor, size, official)
            crops[k] = self._cut(self._image, self.window).transpose(2, 0, 1)
            low = bx.cxcywh_to_xywh(self.window.to_crop(self.box))
            high = np.clip(low[:2] + low[2:], 0.0, 1.0)
            low = np.clip(low[:2], 0.0, 1.0)
            corners[k] = np.concatenate([low, high - low])
        self.target_box, self.visible = self.box, True
        return crops, corners

    def _enter(self) -> None:
        """Go to the current search frame."""
        index = int(self.clip.search_frames[self._t])
        self._image = self._read(index)
        self.visible = bool(self.clip.sequence.visible[index])
        self.target_box = self._true_box(index, self._image) if self.visible else np.zeros(4)
        self._moves = 0
        self._look()

    def _look(self) -> None:
        """Place the search window and cut its crop."""
        anchor = self.box
        if self.clip.jitter is not None and self.visible:
            anchor = jittered_box(self.target_box, self.clip.jitter[self._t])
        self.window = SearchWindow.around(
            anchor, self.crop.search_factor, self.crop.search_size, self.config.official
        )
        self.crop_image = self._cut(self._image, self.window)

    def _to_frame(self, boxes01: np.ndarray) -> np.ndarray:
        return bx.clip(self.window.to_image(boxes01), self._frame_size)

    def _overlaps(self, boxes01: np.ndarray) -> np.ndarray:
        """IoU of boxes ``(..., 4)`` cxcywh01 with the target; 0 where it is absent."""
        if not self.visible:
            return np.zeros(np.shape(boxes01)[:-1])
        if not self.config.official:
            return bx.iou(self._to_frame(boxes01), self.target_box)
        # The official reward compares inside the crop, with the target's corners clamped to it.
        target = bx.cxcywh_to_xywh(self.target_box01)
        low, high = np.clip(target[:2], 0, 1), np.clip(target[:2] + target[2:], 0, 1)
        return bx.iou(bx.cxcywh_to_xywh(boxes01), np.concatenate([low, high - low]))

    def _settle(self, overlap: float, extra: dict[str, Any]) -> Outcome:
        """Pay for the current frame and enter the next one, if there is one."""
        self._ious.append(overlap)
        self._visible.append(self.visible)
        done = len(self._ious) == len(self.clip.search_frames)
        ious, visible = np.array(self._ious), np.array(self._visible)
        info = {**self._info(overlap), **extra}
        if done:
            info |= {"auc": clip_auc(ious[visible]), "ious": ious}
        reward = float(self._reward(ious, visible, done))
        self._shown = self._show(f"IoU {overlap:.2f}" if self.visible else "absent")
        if not done:
            self._t += 1
            self._enter()
        return Outcome(reward, done, True, info)

    def _info(self, overlap: float) -> dict[str, Any]:
        return {
            "sequence": self.clip.sequence.name,
            "frame": int(self.clip.search_frames[self._t]),
            "box": self.box.copy(),
            "target_box": self.target_box.copy(),
            "iou": overlap,
            "visible": self.visible,
        }

    def _show(self, caption: str) -> Shown:
        frame = f"{self.clip.sequence.name}  {self._t}/{len(self.clip.search_frames)}  {caption}"
        return Shown(self._image, self.window, self.box, self.target_box, self.visible, frame)


def check_action(action: Any, num_actions: int) -> int:
    """A discrete action as an int.

    Raises:
        ConfigError: it is not an integer in ``[0, num_actions)``.
    """
    value = np.asarray(action)
    if value.size != 1 or value.dtype.kind not in "iu" or not 0 <= value.item() < num_actions:
        raise ConfigError(f"Action {action!r}; expected an integer from 0 to {num_actions - 1}.")
    return int(value.item())


def check_box(action: Any) -> np.ndarray:
    """A box action as float64 ``(4,)``.

    Raises:
        ConfigError: it is not four finite numbers.
    """
    value = np.asarray(action, dtype=np.float64)
    if value.shape != (4,) or not np.isfinite(value).all():
        raise ConfigError(
            f"Action {action!r}; expected four finite numbers, cxcywh as fractions of the window."
        )
    return value
