"""One training in several processes, as ``torchrun`` starts them; no effect in a single process.

Every process computes the gradients of its part of a batch; their mean is the batch's gradient.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn


def join_processes(device: torch.device) -> torch.device:
    """Join the processes that ``torchrun`` started, if it did.

    Tensors on GPUs travel by NCCL, others by gloo. A process joins once and leaves when it
    ends: a second group of the same processes would find the addresses of the first, and might
    wait for them without end. A group that exists already is left alone.

    Args:
        device: device that the user asked for.

    Returns:
        The device of this process: its own GPU where ``device`` is just ``"cuda"``.
    """
    if not dist.is_torchelastic_launched():
        return device
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        atexit.register(_leave)
    return device


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """This process's number; 0 is the one that writes files and shows progress."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def average(tensors: Sequence[Tensor]) -> None:
    """Put into each tensor its mean over the processes, in a single exchange."""
    if world_size() == 1:
        return
    together = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(together)
    together /= world_size()
    means = together.split([tensor.numel() for tensor in tensors])
    for tensor, mean in zip(tensors, means, strict=True):
        tensor.copy_(mean.view_as(tensor))


def share_weights(module: nn.Module) -> None:
    """Give every process the weights and buffers of process 0."""
    if world_size() > 1:
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, src=0)
