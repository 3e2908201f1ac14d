"""Observation and action spaces of one row, and the check of an action against them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


def observation_space(crop: CropConfig, extra: Mapping[str, gym.Space]) -> gym.spaces.Dict:
    """Observation of one row: crops, template boxes, and what the proposer adds."""
    num_templates, template, search = crop.num_templates, crop.template_size, crop.search_size
    return gym.spaces.Dict(
        {
            "template": gym.spaces.Box(0, 255, (3 * num_templates, template, template), np.uint8),
            "template_box": gym.spaces.Box(0.0, 1.0, (4 * num_templates,), np.float32),
            "search": gym.spaces.Box(0, 255, (3, search, search), np.uint8),
            **extra,
        }
    )


def action_space(config: EnvConfig, crop: CropConfig) -> gym.Space:
    """Actions of one row in an action mode."""
    if config.action_mode == "box":
        return gym.spaces.Box(-1.0, 2.0, (4,), np.float32)
    moves = config.action_mode == "move"
    return gym.spaces.Discrete(len(MOVES) if moves else crop.num_positions)


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
