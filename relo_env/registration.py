"""Gymnasium ids: one for each data set, ``RELO-<Dataset>-v0``."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from relo_env.datasets import registry


def env_id(dataset: str) -> str:
    """Gymnasium id of a data set."""
    return f"RELO-{dataset}-v0"


def register_ids() -> None:
    """Register an id for each known data set that has none yet."""
    for name in (spec.name for spec in registry.list_datasets()):
        if env_id(name) not in gym.registry:
            gym.register(
                env_id(name),
                entry_point="relo_env.env:TrackingEnv",
                vector_entry_point="relo_env.vector_env:TrackingVectorEnv",
                kwargs={"dataset": name},
            )


def register_dataset(name: str, factory: Any, **spec: Any) -> None:
    """Make a data set known by name, to `make_dataset`, to ``gym.make`` and to the commands.

    Args:
        name: public name, e.g. ``"MyVideos"``; its id becomes ``RELO-MyVideos-v0``.
        factory: ``Dataset`` subclass, callable or ``"module:attribute"``.
        **spec: see `relo_env.datasets.registry.register_dataset`.
    """
    registry.register_dataset(name, factory, **spec)
    register_ids()
