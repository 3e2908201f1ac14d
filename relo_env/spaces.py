"""Observation and action spaces of one row, and the check of an action against them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from relo_env.config import CropConfig, EnvConfig
from relo_env.errors import ConfigError

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

ZOOMS = (1.0, 1.5, 2.25)
"""Factors on the side of the next search window, by the action's zoom entry."""
MAX_RENEWAL_AGE = 1000
"""[frames] upper bound of the observed ``renewal_age``."""
CONTROL_STATES = {"zoom": "zoom", "renew": "renewal_age"}
"""Entry of the observation that holds the state of each control."""
CONTROL_CHOICES = {"zoom": len(ZOOMS), "renew": 2}
"""Number of choices of each control; choice 0 is no zoom, no renewal."""


class Choice(NamedTuple):
    """A grid action with its controls.

    Attributes:
        position: chosen cell, row-major.
        zoom: factor on the side of the next search window.
        renew: the crop around the chosen box becomes the last template.
    """

    position: int
    zoom: float = 1.0
    renew: bool = False


def observation_space(
    crop: CropConfig, extra: Mapping[str, gym.Space], controls: Sequence[str] = ()
) -> gym.spaces.Dict:
    """Observation of one row: crops, template boxes, what the proposer adds, state of controls."""
    num_templates, template, search = crop.num_templates, crop.template_size, crop.search_size
    states: dict[str, gym.Space] = {
        "zoom": gym.spaces.Box(ZOOMS[0], ZOOMS[-1], (1,), np.float32),
        "renewal_age": gym.spaces.Box(0, MAX_RENEWAL_AGE, (1,), np.float32),
    }
    return gym.spaces.Dict(
        {
            "template": gym.spaces.Box(0, 255, (3 * num_templates, template, template), np.uint8),
            "template_box": gym.spaces.Box(0.0, 1.0, (4 * num_templates,), np.float32),
            "search": gym.spaces.Box(0, 255, (3, search, search), np.uint8),
            **extra,
            **{CONTROL_STATES[name]: states[CONTROL_STATES[name]] for name in controls},
        }
    )


def action_space(config: EnvConfig, crop: CropConfig) -> gym.Space:
    """Actions of one row in an action mode."""
    if config.action_mode == "box":
        return gym.spaces.Box(-1.0, 2.0, (4,), np.float32)
    if config.controls:
        return gym.spaces.MultiDiscrete(_sizes(config.controls, crop.num_positions))
    moves = config.action_mode == "move"
    return gym.spaces.Discrete(len(MOVES) if moves else crop.num_positions)


def num_positions(action: gym.Space) -> int:
    """Positions H * W of a grid's action space, with or without controls.

    Raises:
        ConfigError: the space is not one of ``action_mode="grid"``.
    """
    if isinstance(action, gym.spaces.Discrete):
        return int(action.n)
    if isinstance(action, gym.spaces.MultiDiscrete):
        return int(action.nvec[0])
    raise ConfigError(
        f"The action space is {action}; expected positions of a grid: make the environment with "
        'action_mode="grid".'
    )


def check_action(action: Any, config: EnvConfig, crop: CropConfig) -> Any:
    """Action of one row, as the episode takes it.

    Returns:
        A `Choice` in ``action_mode="grid"``, float64 ``(4,)`` in ``"box"``, an int in ``"move"``.

    Raises:
        ConfigError: it is not in the action space.
    """
    in_floats = np.float64 if config.action_mode == "box" else None
    try:
        value = np.asarray(action, in_floats)
    except (TypeError, ValueError, RuntimeError):  # text, ragged lists, tensors with a gradient
        value = np.asarray(None)
    if config.action_mode == "box":
        if value.shape != (4,) or not np.isfinite(value).all():
            raise ConfigError(
                f"Action {action!r}; expected four finite numbers, cxcywh as fractions of the "
                "window."
            )
        return value
    if config.controls:
        return _check_choice(value, config.controls, crop.num_positions)
    last = (len(MOVES) if config.action_mode == "move" else crop.num_positions) - 1
    if value.size != 1 or value.dtype.kind not in "iu" or not 0 <= value.item() <= last:
        raise ConfigError(f"Action {action!r}; expected an integer from 0 to {last}.")
    return int(value.item()) if config.action_mode == "move" else Choice(int(value.item()))


def _check_choice(value: np.ndarray, controls: Sequence[str], num_positions: int) -> Choice:
    """A position and an entry for each control, in the order of `CONTROLS`."""
    nvec = np.array(_sizes(controls, num_positions))
    fits = value.shape == nvec.shape and value.dtype.kind in "iu"
    if not fits or (value < 0).any() or (value >= nvec).any():
        raise ConfigError(
            f"Action {value.tolist()!r}; expected {len(nvec)} integers from 0, below "
            f"{nvec.tolist()}: the position and {' and '.join(controls)}."
        )
    entries = dict(zip(controls, value[1:].tolist(), strict=True))
    zoom, renew = ZOOMS[entries.get("zoom", 0)], bool(entries.get("renew", 0))
    return Choice(int(value[0]), zoom, renew)


def _sizes(controls: Sequence[str], num_positions: int) -> list[int]:
    return [num_positions, *(CONTROL_CHOICES[control] for control in controls)]
