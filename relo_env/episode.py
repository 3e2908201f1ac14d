"""One episode of the tracking MDP, in plain numpy.

A frame is entered (`_look` cuts the search crop), acted on (`act`, or `move` until it stops) and
left. What is paid and told about it is an `Outcome`. Everything random was drawn with the clip.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from relo_env import boxes as bx
from relo_env.config import CropConfig, EnvConfig
from relo_env.crops import SearchWindow
from relo_env.errors import ConfigError
from relo_env.footage import Footage
from relo_env.rewards import check_reward, clip_auc, make_reward

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
        info: description of the frame acted on (see `TrackingEnv`).
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
        footage: the clip and its pixels.
        config: the environment's configuration.
        crop: sizes of the crops.
        search: where the search crop is written; None makes an array of its own.

    Attributes:
        clip: its frames and what was drawn with them.
        templates: uint8 ``(K, 3, Hz, Wz)``.
        template_boxes: float32 ``(K, 4)`` xywh as fractions of each template crop, clipped to it.
        search: uint8 ``(3, Hx, Wx)``, the search crop of the current frame.
        window: where that crop lies in the frame.
        box: the box chosen last; before the first action the last template's.
        target_box: the true box of the current frame; zeros where the target is absent.
        visible: whether the current frame shows the target.
    """

    def __init__(
        self,
        footage: Footage,
        config: EnvConfig,
        crop: CropConfig,
        search: np.ndarray | None = None,
    ) -> None:
        self.clip, self.config, self.crop = footage.clip, config, crop
        self._footage = footage
        self._reward = make_reward(config.reward)
        self._t = 0
        self._moves = 0
        self._ious: list[float] = []
        self._visible: list[bool] = []
        self.templates, self.template_boxes = footage.templates
        size = crop.search_size
        self.search = np.empty((3, size, size), np.uint8) if search is None else search
        self._start()
        self._enter()

    @property
    def turn(self) -> int:
        """Search frames settled so far."""
        return len(self._ious)

    @property
    def frame(self) -> np.ndarray:
        """The current frame as the agent's world has it, uint8 RGB ``(H, W, 3)``."""
        return self._footage.image(self._t)

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
        self.box = self._to_frame(box01)
        overlap = self._overlaps(box01) if self.config.official else self._overlap()
        return self._settle(float(overlap), extra)

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
        overlap = self._overlap()
        if action == STOP or self._moves >= self.config.max_moves:
            return self._settle(overlap, {})
        outcome = Outcome(0.0, False, False, self._info(overlap))
        self._look()
        return outcome

    def shown(self) -> Shown:
        """The frame acted on last, or the last template's, for rendering."""
        turn, *seen = self._seen
        return Shown(self._footage.image(turn), *seen)

    def _start(self) -> None:
        """Stand in the last template's frame."""
        shot = self._footage.shot(-1)
        assert shot.window is not None
        self.window, self.visible = shot.window, True
        self.box = self.target_box = self._footage.true_box(-1, shot.size)
        self._seen = self._see(-1, "template")

    def _enter(self) -> None:
        """Go to the current search frame."""
        shot = self._footage.enter(self._t)
        self._frame_size, self._planned_window = shot.size, shot.window
        self.target_box = self._footage.true_box(self._t, shot.size)
        self.visible = bool(self.clip.sequence.visible[self.clip.search_frames[self._t]])
        self._moves = 0
        self._look()

    def _look(self) -> None:
        """Place the search window and cut its crop."""
        self.window = self._planned_window or SearchWindow.around(
            self.box, self.crop.search_factor, self.crop.search_size, self.config.official
        )
        self._footage.cut(self._t, self.window, self.search)

    def _to_frame(self, boxes01: np.ndarray) -> np.ndarray:
        return bx.clip(self.window.to_image(boxes01), self._frame_size)

    def _overlap(self) -> float:
        """IoU of the chosen box with the target; 0 where it is absent."""
        return float(bx.iou(self.box, self.target_box)) if self.visible else 0.0

    def _overlaps(self, boxes01: np.ndarray) -> np.ndarray:
        """IoU of boxes ``(..., 4)`` cxcywh01 with the target; 0 where it is absent."""
        if not self.visible:
            return np.zeros(np.shape(boxes01)[:-1])
        if not self.config.official:
            return bx.iou(self._to_frame(boxes01), self.target_box)
        # The official reward compares inside the crop, with the target's corners clamped to it.
        target = bx.clip_to_unit(bx.cxcywh_to_xywh(self.target_box01))
        return bx.iou(bx.cxcywh_to_xywh(boxes01), target)

    def _settle(self, overlap: float, extra: dict[str, Any]) -> Outcome:
        """Pay for the current frame and enter the next one, if there is one."""
        self._ious.append(overlap)
        self._visible.append(self.visible)
        done = len(self._ious) == len(self.clip.search_frames)
        ious, visible = np.array(self._ious), np.array(self._visible)
        info = {**self._info(overlap), **extra}
        if done:
            info |= {"auc": clip_auc(ious[visible]), "ious": ious}
        reward = check_reward(self._reward(ious, visible, done))
        self._seen = self._see(self._t, f"IoU {overlap:.2f}" if self.visible else "absent")
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

    def _see(self, turn: int, caption: str) -> tuple[Any, ...]:
        """What `shown` tells, but for the frame, which is fetched when somebody asks for it."""
        caption = (
            f"{self.clip.sequence.name}  {self.turn}/{len(self.clip.search_frames)}  {caption}"
        )
        return turn, self.window, self.box, self.target_box, self.visible, caption


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
