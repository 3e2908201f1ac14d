"""Batches of clips on their way to the device: made by processes, pinned, moved ahead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import cv2
import torch
from torch.utils.data import DataLoader

from agents.warmup.clips import ClipBatch, ClipBatches
from relo_env.processes import settle_data_worker


def load_ahead(
    batches: ClipBatches,
    steps: Sequence[int],
    device: torch.device,
    num_workers: int = 0,
    start_method: str | None = None,
) -> Iterator[ClipBatch]:
    """Batches of some steps, in their order, each on the device before it is asked for.

    They do not depend on the processes that make them. On a GPU a batch is copied from pinned
    memory while the step before runs.

    Args:
        batches: must pickle where processes are spawned, as the package's data sets do.
        steps: indices of the batches.
        device: where they go.
        num_workers: processes that make them; 0: this one does.
        start_method: ``"fork"``, ``"spawn"`` or ``"forkserver"``; None: the platform's.
    """
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=steps,
        num_workers=num_workers,
        multiprocessing_context=start_method if num_workers else None,
        worker_init_fn=_settle,
        pin_memory=device.type == "cuda",
    )
    with _without_opencv_threads():
        made = iter(loader)  # starts the workers
    ahead: ClipBatch | None = None
    for batch in made:
        moved = ClipBatch(*(part.to(device, non_blocking=True) for part in batch))
        if ahead is not None:
            yield ahead
        ahead = moved
    if ahead is not None:
        yield ahead


@contextmanager
def _without_opencv_threads() -> Iterator[None]:
    """Fork in here: OpenCV's threads do not live on in a child, which would wait for them."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _settle(worker: int) -> None:
    """Keep a worker process to one core, and leave signals to its parent."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    settle_data_worker()
