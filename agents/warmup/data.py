"""Batches of clips on their way to the device: made by processes, pinned, moved ahead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import cv2
import torch
from torch.utils.data import DataLoader

from agents.warmup.clips import ClipBatch, ClipBatches
from relo_env.processes import settle_data_worker


class ClipLoader:
    """The batches of some steps, in their order, each on the device before it is asked for.

    Batches are those of ``batches``, whatever the number of processes that make them and however
    these are started. On a GPU a batch is copied from pinned memory while the step before runs.

    Args:
        batches: where batches come from; with processes that are spawned it has to pickle, as the
            package's data sets do.
        steps: indices of the batches.
        device: where they go.
        num_workers: processes that make them; 0: this one does.
        start_method: ``"fork"``, ``"spawn"`` or ``"forkserver"``; None: the platform's.
    """

    def __init__(
        self,
        batches: ClipBatches,
        steps: Sequence[int],
        device: torch.device,
        num_workers: int = 0,
        start_method: str | None = None,
    ) -> None:
        self.steps, self.device = steps, device
        self.loader = DataLoader(
            batches,
            batch_size=None,
            sampler=steps,
            num_workers=num_workers,
            multiprocessing_context=start_method if num_workers else None,
            worker_init_fn=_settle,
            pin_memory=device.type == "cuda",
        )

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[ClipBatch]:
        """Each batch; the next one's copy is under way by then."""
        ahead: ClipBatch | None = None
        with _without_opencv_threads():
            batches = iter(self.loader)  # starts the workers
        for batch in batches:
            ahead, ready = self._moved(batch), ahead
            if ready is not None:
                yield ready
        if ahead is not None:
            yield ahead

    def _moved(self, batch: ClipBatch) -> ClipBatch:
        return ClipBatch(*(part.to(self.device, non_blocking=True) for part in batch))


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
