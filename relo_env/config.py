"""Configuration as frozen dataclasses; every field is a keyword argument of the environments.

`TrackingEnv` and `TrackingVectorEnv` name these arguments in their signatures;
`EnvConfig.from_arguments` sorts them into the dataclasses.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from inspect import signature
from typing import Any, Literal, TypeVar

import numpy as np

from relo_env.checks import (
    Finite,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    check,
    check_fields,
    import_named,
)
from relo_env.datasets.base import Dataset
from relo_env.datasets.registry import find_dataset, make_dataset
from relo_env.errors import ArgumentError, ConfigError, unknown

RewardFunction = Callable[[np.ndarray, np.ndarray, bool], float]
"""``(ious, visible, last) -> float``: overlaps and visibility ``(t,)`` of the frames so far."""


@dataclass(frozen=True)
class CropConfig:
    """Sizes of the crops that a proposer or a network reads.

    Attributes:
        num_templates: template crops K an episode.
        template_size: [px] side of a template crop.
        template_factor: side of the template window over sqrt(w * h) of the target.
        search_size: [px] side of a search crop.
        search_factor: side of the search window over sqrt(w * h) of the last box.
        stride: [px] side of a grid cell of the search crop.
    """

    num_templates: PositiveInt = 2
    template_size: PositiveInt = 128
    template_factor: PositiveFloat = 2.0
    search_size: PositiveInt = 256
    search_factor: PositiveFloat = 4.0
    stride: PositiveInt = 16

    def __post_init__(self) -> None:
        check_fields(self)
        if self.search_size % self.stride:
            raise ConfigError(
                f"search_size {self.search_size} is not a multiple of stride {self.stride}; "
                "choose a size that the stride divides."
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns (H, W) of the action grid."""
        side = self.search_size // self.stride
        return side, side

    @property
    def num_positions(self) -> int:
        """Number of positions H * W, which is the number of actions."""
        return (self.search_size // self.stride) ** 2


@dataclass(frozen=True)
class ClipConfig:
    """Frames of an episode, and the place of the search window in them.

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
        jitter: distance of jittered windows from the truth; 1 is the official one.
    """

    mode: Literal["clip", "sequence"] = "clip"
    clip_length: PositiveInt = 8
    search_window: Literal["tracked", "jittered"] = "tracked"
    frame_sampling: Literal["consecutive", "ordered", "causal"] | None = None
    max_stride: PositiveInt = 4
    max_interval: PositiveInt = 400
    jitter: NonNegativeFloat = 1.0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.mode == "sequence" and self.search_window == "jittered":
            raise ConfigError(
                'search_window="jittered" draws windows around the ground truth of a clip; '
                'mode="sequence" is for evaluation and needs search_window="tracked".'
            )

    @property
    def open_loop(self) -> bool:
        """True if no action changes a later crop: windows and frames all follow the truth."""
        return self.search_window == "jittered" and self.sampling != "consecutive"

    @property
    def sampling(self) -> str:
        """``frame_sampling``, or its default for the search window."""
        return self.frame_sampling or (
            "consecutive" if self.search_window == "tracked" else "ordered"
        )


@dataclass(frozen=True)
class RewardConfig:
    """Reward of an episode.

    Attributes:
        reward: ``"iou+auc"``, a callable ``(ious, visible, last) -> float``, or ``"module:name"``
            of one, which is imported.
        iou_weight: weight of a frame's IoU.
        auc_weight: lambda, weight of the clip's AUC, paid at the last frame.
    """

    reward: RewardFunction | str = "iou+auc"
    iou_weight: Finite = 1.0
    auc_weight: Finite = 1.0

    def __post_init__(self) -> None:
        check_fields(self)
        if isinstance(self.reward, str) and ":" in self.reward:
            object.__setattr__(self, "reward", import_named(self.reward, "Reward"))
        known = isinstance(self.reward, str) and self.reward == "iou+auc"
        if known or (callable(self.reward) and _takes_three(self.reward)):
            return
        taken = f", which takes {signature(self.reward)}" if callable(self.reward) else ""
        raise ConfigError(
            f"reward is {self.reward!r}{taken}; expected 'iou+auc', a callable "
            "(ious, visible, last) -> float, or 'module:name' of one."
        )


def _takes_three(function: Callable[..., object]) -> bool:
    try:
        signature(function).bind(None, None, None)
    except TypeError:
        return False
    except ValueError:
        pass  # a builtin that does not say what it takes
    return True


CONTROLS = ("zoom", "renew")
"""Decisions beside the position, in the order of the action's entries."""


@dataclass(frozen=True)
class EnvConfig:
    """Configuration of an environment, without its data and its proposer.

    Attributes:
        clip: frames and windows of an episode.
        reward: its reward.
        action_mode: ``"grid"``: a position; ``"box"``: a box; ``"move"``: shift, scale and stop.
        max_moves: moves a frame in ``action_mode="move"``.
        augment: draw grey, mirror and brightness once a clip; None: for training clips only.
        candidate_info: add the IoU of every position, and the true box as fractions of the search
            window, to the info.
        official: official crop geometry, and IoU inside the crop with the target clamped to it.
        controls: decisions beside the position: ``"zoom"``, the side of the next search window;
            ``"renew"``, renewal of the last template at the box just chosen.
    """

    clip: ClipConfig = ClipConfig()
    reward: RewardConfig = RewardConfig()
    action_mode: Literal["grid", "box", "move"] = "grid"
    max_moves: PositiveInt = 20
    augment: bool | None = None
    candidate_info: bool = False
    official: bool = False
    controls: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "controls", sorted_controls(self.controls))
        check_fields(self)
        if self.controls and self.action_mode != "grid":
            raise ConfigError(
                f"controls={list(self.controls)} are entries beside a position; "
                f'action_mode="{self.action_mode}" has none. Use action_mode="grid".'
            )
        if self.controls and self.clip.search_window == "jittered":
            raise ConfigError(
                f"controls={list(self.controls)} change later crops, which "
                'search_window="jittered" draws around the truth. Use search_window="tracked".'
            )
        if self.action_mode == "move" and self.candidate_info:
            raise ConfigError(
                'candidate_info tells the IoU of every position; action_mode="move" '
                "has no positions. Drop one of the two."
            )
        if self.action_mode == "move" and self.clip.search_window == "jittered":
            raise ConfigError(
                'action_mode="move" moves the window with the box; it needs '
                'search_window="tracked".'
            )

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any]) -> EnvConfig:
        """Configuration from an environment's arguments; others are ignored."""
        parts = {"clip": _pick(ClipConfig, arguments), "reward": _pick(RewardConfig, arguments)}
        return _pick(cls, {**arguments, **parts})


def sorted_controls(controls: Any) -> tuple[str, ...]:
    """Names of controls, or one name, in the order of `CONTROLS`; ConfigError if unknown."""
    names = (controls,) if isinstance(controls, str) else controls
    if not isinstance(names, Iterable):
        raise ConfigError(f"controls is {controls!r}; expected some of {list(CONTROLS)}.")
    names = tuple(names)
    for name in names:
        if name not in CONTROLS:
            raise ConfigError(unknown("control", name, CONTROLS))
    return tuple(name for name in CONTROLS if name in names)


ENVIRONMENT_ARGUMENTS = tuple(
    field.name
    for config in (EnvConfig, ClipConfig, RewardConfig, CropConfig)
    for field in fields(config)
    if field.name != "clip"
)
"""Names of all keyword arguments that are fields of a configuration."""

Config = TypeVar("Config")


def _pick(config: type[Config], arguments: Mapping[str, Any]) -> Config:
    names = [field.name for field in fields(config)]  # type: ignore[arg-type]
    return config(**{name: arguments[name] for name in names if name in arguments})


def check_reset_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Reset options as plain JSON values; ConfigError for one that is unknown or ill-typed."""
    kinds: dict[str, type] = {"sequence": str, "start": int}
    for name, value in options.items():
        if name not in kinds:
            raise ConfigError(unknown("reset option", name, kinds))
        check(f"Reset option {name}", value, kinds[name] | None)
    given = {name: value for name, value in options.items() if value is not None}
    return {name: kinds[name](value) for name, value in given.items()}


def open_dataset(
    dataset: str | Dataset, root: str | None, split: str | None, options: Mapping[str, Any]
) -> Dataset:
    """Data set that an environment's arguments name, or the instance itself.

    ``options`` are arguments that the environment does not know: they go to the data set.

    Raises:
        ArgumentError: the data set does not know one of the options either.
        ConfigError: an unknown data set or split, or an option of a wrong value.
        DataError: the data set is missing or malformed.
    """
    if isinstance(dataset, str):
        hint = _nearest_arguments(find_dataset(dataset).unknown_options(options))
        try:
            return make_dataset(dataset, root=root, split=split, **options)
        except ConfigError as error:
            raise type(error)(f"{error}{hint}") from None
    if not isinstance(dataset, Dataset):
        raise ConfigError(
            f"dataset is {dataset!r}; expected a name or an instance of relo_env.Dataset."
        )
    given = {"root": root, "split": split, **options}
    extra = sorted(name for name, value in given.items() if value is not None)
    if extra:
        raise ArgumentError(
            f"{extra} cannot change a data set that is given as an instance "
            f"({type(dataset).__name__}); pass them where it is made.{_nearest_arguments(extra)}"
        )
    return dataset


def _nearest_arguments(options: Iterable[str]) -> str:
    """Arguments of the environment that look like those that were passed to the data set."""
    known = [*ENVIRONMENT_ARGUMENTS, "proposer", "proposer_kwargs", "render_mode", "dataset"]
    known += ["num_envs", "group_size", "autoreset_mode"]
    near = [n for name in options for n in difflib.get_close_matches(name, known, n=1)]
    return f" Did you mean the environment's {' or '.join(map(repr, near))}?" if near else ""
