"""Configuration as frozen dataclasses; every field is a keyword argument of the environment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from math import isfinite
from numbers import Real
from typing import Any, Literal

import numpy as np

from relo_env.errors import ConfigError
from relo_env.named import import_named

RewardFunction = Callable[[np.ndarray, np.ndarray, bool], float]
"""``(ious, visible, last) -> float``: overlaps and visibility ``(t,)`` of the frames so far."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def _choose(name: str, value: str, allowed: tuple[str, ...]) -> None:
    _require(value in allowed, f"{name} is {value!r}; expected one of {list(allowed)}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and isfinite(value)


def check_flag(name: str, value: Any) -> None:
    """A switch.

    Raises:
        ConfigError: it is neither True nor False.
    """
    _require(isinstance(value, bool | np.bool_), f"{name} is {value!r}; expected True or False.")


@dataclass(frozen=True)
class CropConfig:
    """What a proposer or a network wants to see.

    Attributes:
        num_templates: template crops K an episode.
        template_size: [px] side of a template crop.
        template_factor: side of the template window over sqrt(w * h) of the target.
        search_size: [px] side of a search crop.
        search_factor: side of the search window over sqrt(w * h) of the last box.
        stride: [px] side of a grid cell of the search crop.
    """

    num_templates: int = 2
    template_size: int = 128
    template_factor: float = 2.0
    search_size: int = 256
    search_factor: float = 4.0
    stride: int = 16

    def __post_init__(self) -> None:
        for name in ("num_templates", "template_size", "search_size", "stride"):
            value = getattr(self, name)
            _require(
                isinstance(value, int) and value > 0, f"{name} is {value!r}; expected an int > 0."
            )
        for name in ("template_factor", "search_factor"):
            value = getattr(self, name)
            _require(
                _is_number(value) and value > 0, f"{name} is {value!r}; expected a number > 0."
            )
        _require(
            self.search_size % self.stride == 0,
            f"search_size {self.search_size} is not a multiple of stride {self.stride}; "
            "choose a size that the stride divides.",
        )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns (H, W) of the action grid."""
        side = self.search_size // self.stride
        return side, side

    @property
    def num_positions(self) -> int:
        """Number of positions H * W, which is the number of actions."""
        return self.grid[0] * self.grid[1]


@dataclass(frozen=True)
class ClipConfig:
    """Which frames make an episode and where the search window stands in them.

    Attributes:
        mode: ``"clip"``: ``clip_length`` sampled search frames; ``"sequence"``: the whole video in
            order, frame 0 as every template.
        clip_length: search frames T of a clip.
        search_window: ``"tracked"``: around the box chosen last (a closed loop); ``"jittered"``:
            drawn around the ground truth as the paper trains (an open loop).
        frame_sampling: ``"consecutive"``, ``"ordered"`` or ``"causal"``; None takes consecutive for
            tracked and ordered for jittered windows.
        max_stride: consecutive frames are drawn at a random stride up to this many frames.
        max_interval: ordered and causal frames lie within this many frames of a base frame.
        jitter: how far jittered windows lie from the truth; 1 is the official distance.
    """

    mode: Literal["clip", "sequence"] = "clip"
    clip_length: int = 8
    search_window: Literal["tracked", "jittered"] = "tracked"
    frame_sampling: Literal["consecutive", "ordered", "causal"] | None = None
    max_stride: int = 4
    max_interval: int = 400
    jitter: float = 1.0

    def __post_init__(self) -> None:
        _choose("mode", self.mode, ("clip", "sequence"))
        _choose("search_window", self.search_window, ("tracked", "jittered"))
        if self.frame_sampling is not None:
            _choose("frame_sampling", self.frame_sampling, ("consecutive", "ordered", "causal"))
        for name in ("clip_length", "max_stride", "max_interval"):
            value = getattr(self, name)
            _require(
                isinstance(value, int) and value > 0, f"{name} is {value!r}; expected an int > 0."
            )
        _require(
            _is_number(self.jitter) and self.jitter >= 0,
            f"jitter is {self.jitter!r}; expected a number >= 0.",
        )
        _require(
            not (self.mode == "sequence" and self.search_window == "jittered"),
            'search_window="jittered" draws windows around the ground truth of a clip; '
            'mode="sequence" is for evaluation and needs search_window="tracked".',
        )

    @property
    def open_loop(self) -> bool:
        """Whether no action changes a later crop: windows and frames all follow the truth."""
        return self.search_window == "jittered" and self.sampling != "consecutive"

    @property
    def sampling(self) -> str:
        """The frame sampling in force."""
        return self.frame_sampling or (
            "consecutive" if self.search_window == "tracked" else "ordered"
        )


@dataclass(frozen=True)
class RewardConfig:
    """What an episode pays.

    Attributes:
        reward: ``"iou+auc"``, a callable ``(ious, visible, last) -> float``, or ``"module:name"``
            of one, which is imported.
        iou_weight: weight of a frame's IoU.
        auc_weight: lambda, weight of the clip's AUC, paid at the last frame.
    """

    reward: RewardFunction | str = "iou+auc"
    iou_weight: float = 1.0
    auc_weight: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.reward, str) and ":" in self.reward:
            object.__setattr__(self, "reward", import_named(self.reward, "Reward"))
        expected = (
            "expected 'iou+auc', a callable (ious, visible, last) -> float, or 'module:name'."
        )
        if not callable(self.reward):
            known = isinstance(self.reward, str) and self.reward == "iou+auc"
            _require(known, f"reward is {self.reward!r}; {expected}")
        elif not _takes_three(self.reward):
            taken = signature(self.reward)
            raise ConfigError(f"reward is {self.reward!r}, which takes {taken}; {expected}")
        for name in ("iou_weight", "auc_weight"):
            value = getattr(self, name)
            _require(_is_number(value), f"{name} is {value!r}; expected a finite number.")


def _takes_three(function: Callable[..., object]) -> bool:
    try:
        signature(function).bind(None, None, None)
    except TypeError:
        return False
    except ValueError:
        pass  # a builtin that does not say what it takes
    return True


@dataclass(frozen=True)
class EnvConfig:
    """Everything about an environment but its data and its proposer.

    Attributes:
        clip: frames and windows of an episode.
        reward: what it pays.
        action_mode: ``"grid"``: a position; ``"box"``: a box; ``"move"``: shift, scale and stop.
        max_moves: moves a frame in ``action_mode="move"``.
        augment: draw grey, mirror and brightness once a clip; None: for training clips only.
        candidate_info: put the IoU that every position would have had into the info.
        official: official crop geometry, and IoU inside the crop with the target clamped to it.
    """

    clip: ClipConfig = ClipConfig()
    reward: RewardConfig = RewardConfig()
    action_mode: Literal["grid", "box", "move"] = "grid"
    max_moves: int = 20
    augment: bool | None = None
    candidate_info: bool = False
    official: bool = False

    def __post_init__(self) -> None:
        _choose("action_mode", self.action_mode, ("grid", "box", "move"))
        for name in ("candidate_info", "official"):
            check_flag(name, getattr(self, name))
        if self.augment is not None:
            check_flag("augment", self.augment)
        _require(
            isinstance(self.max_moves, int) and self.max_moves > 0,
            f"max_moves is {self.max_moves!r}; expected an int > 0.",
        )
        _require(
            not (self.action_mode == "move" and self.candidate_info),
            'candidate_info tells the IoU of every position; action_mode="move" '
            "has no positions. Drop one of the two.",
        )
        _require(
            not (self.action_mode == "move" and self.clip.search_window == "jittered"),
            'action_mode="move" moves the window with the box; it needs search_window="tracked".',
        )
