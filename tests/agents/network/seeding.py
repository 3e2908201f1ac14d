"""Weights and inputs that are functions of their names, as the official figures were made with."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor

from agents.network import RELONetwork


def normal(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers, float64, drawn with the CRC of the name as seed."""
    return np.random.default_rng(zlib.crc32(name.encode())).standard_normal(size=shape)


def entry(name: str, shape: tuple[int, ...]) -> Tensor:
    """The value of a state-dict entry."""
    n, last = normal(name, shape), name.rpartition(".")[2]
    if last == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.int64)
    if last == "running_var":
        value = 1 + 0.1 * abs(n)
    elif last == "running_mean":
        value = 0.05 * n
    elif last in ("gamma_1", "gamma_2"):
        value = 0.5 + 0.05 * n
    elif last == "weight" and len(shape) == 1:
        value = 1 + 0.02 * n
    elif last == "weight":
        gain = 2 if len(shape) == 4 else 1
        value = np.sqrt(gain / np.prod(shape[1:])) * n
    else:
        value = 0.1 * n
    return torch.from_numpy(np.asarray(value, np.float32))


def seeded_state(network: RELONetwork) -> dict[str, Tensor]:
    """A state dict under official names, all of it name-seeded."""
    return {name: entry(name, tuple(v.shape)) for name, v in network.export_official().items()}


def seeded_network(preset: str) -> RELONetwork:
    """A network with name-seeded weights."""
    network = RELONetwork.from_preset(preset)
    network.load_official(seeded_state(network))
    return network


def seeded_inputs(
    prefix: str, batch: int, templates: int, frame: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Templates, their boxes and the search crops of a frame, for presets at 256 pixels."""

    def crops(name: str, side: int) -> Tensor:
        return torch.from_numpy(normal(name, (batch, 3, side, side)).astype(np.float32))

    boxes = torch.tensor([[0.25, 0.25, 0.5, 0.5], [0.3, 0.2, 0.45, 0.6]])[:templates]
    return (
        torch.stack([crops(f"{prefix}.template.{i}", 128) for i in range(templates)], 1),
        boxes + 0.03 * torch.arange(batch)[:, None, None],
        crops(f"{prefix}.search.{frame}", 256),
    )
