"""Configuration as frozen dataclasses; every field is a keyword argument of the environment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from relo_env.errors import ConfigError

RewardFunction = Callable[[np.ndarray, np.ndarray, bool], float]
"""``(ious, visible, last) -> float``: overlaps ``(t,)`` and visibility ``(t,)`` up to this frame."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def _choose(name: str, value: str, allowed: tuple[str, ...]) -> None:
    _require(value in allowed, f"{name} is {value!r}; expected one of {list(allowed)}.")


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
            _require(value > 0, f"{name} is {value!r}; expected a number > 0.")
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
