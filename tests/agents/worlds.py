"""Small worlds for the tests of the agents: square videos seen by the ``micro`` network."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium.vector import AutoresetMode

from agents.network import RELONetwork
from agents.proposer import NetworkProposer
from agents.vec import RELOVecEnv
from relo_env.vector_env import TrackingVectorEnv
from tests.toys import Squares

CLIP_LENGTH = 4


def micro_network(seed: int = 0, **changes: Any) -> RELONetwork:
    """A network with random weights; the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RELONetwork.from_preset("micro", **changes)


def square_world(
    network: RELONetwork | None = None,
    num_envs: int = 4,
    train_encoder: bool = False,
    absent: tuple[int, ...] = (),
    **options: Any,
) -> RELOVecEnv:
    """Clips of four frames of square videos, with a network's features in the observation."""
    if network is not None:
        # One backend: what another process measures as faster would give other numbers.
        options["proposer"] = NetworkProposer(network, train_encoder=train_encoder, backend="torch")
    return RELOVecEnv(
        TrackingVectorEnv(
            num_envs,
            Squares(absent=absent),
            autoreset_mode=AutoresetMode.SAME_STEP,
            num_threads=0,
            **{"clip_length": CLIP_LENGTH, **options},
        )
    )
