"""Decoding: each frame once, ahead of need, in threads, within a bounded memory."""

from __future__ import annotations

import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from threading import RLock
from weakref import WeakValueDictionary

import numpy as np

from relo_env.datasets.base import Sequence
from relo_env.errors import ConfigError

DEFAULT_CACHE_BYTES = 2 << 30


FrameKey = tuple[str, int, int]
"""What tells decoded frames apart: sequence name, frame index, reduction."""


class Frame:
    """A decoded frame.

    Attributes:
        image: uint8 RGB ``(H, W, 3)``, perhaps of a fraction of the frame's size.
        size: [px] width and height of the frame itself.
        reduction: pixels of the frame to a pixel of the image, along each side.
        kept: whether the loader counts it among the frames in memory.
    """

    def __init__(self, image: np.ndarray, size: tuple[int, int], reduction: int) -> None:
        self.image, self.size, self.reduction = image, size, reduction
        self.kept = False


class FrameLoader:
    """Decodes frames for all rows of an environment.

    A frame is decoded once for all who ask for it, as long as one of them still has it. Whoever
    wants to have it for later asks `keep`, which bounds the memory.

    Args:
        num_threads: decoding threads; 0 decodes in the caller's.
        cache_bytes: bound on the decoded frames that are kept for their turn.

    Raises:
        ConfigError: one of them is not a number, or negative.

    Attributes:
        decodes_ahead: there are threads.
        kept_bytes: decoded frames that are kept at the moment.
    """

    def __init__(self, num_threads: int = 0, cache_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        for name, value in {"num_threads": num_threads, "cache_bytes": cache_bytes}.items():
            if not isinstance(value, int) or value < 0:
                raise ConfigError(f"{name} is {value!r}; expected an int >= 0.")
        self.decodes_ahead = num_threads > 0
        self._pool = ThreadPoolExecutor(num_threads, "relo-decode") if num_threads else None
        self._cache_bytes = cache_bytes
        self.kept_bytes = 0
        self._pending: dict[FrameKey, Future[Frame]] = {}
        self._frames: WeakValueDictionary[FrameKey, Frame] = WeakValueDictionary()
        self._lock = RLock()  # collecting garbage may call _forget within a locked region

    def decode(self, sequence: Sequence, index: int, reduction: int = 1) -> Future[Frame]:
        """A frame that is decoded, being decoded, or waiting for a thread.

        Args:
            sequence: whose frame.
            index: which.
            reduction: 2 or 4: decode at a fraction of the size, where the source can.
        """
        key = sequence.name, index, reduction
        with self._lock:
            if key in self._pending:
                return self._pending[key]
            future: Future[Frame] = Future()
            frame = self._frames.get(key)
            if frame is not None:
                future.set_result(frame)
                return future
            self._pending[key] = future
        if self._pool is None:
            self._run(sequence, index, reduction, future)
        else:
            self._pool.submit(self._run, sequence, index, reduction, future)
        return future

    def keep(self, frame: Frame, always: bool = False) -> bool:
        """Whether there is room to keep a frame; it counts for as long as it lives.

        Args:
            frame: what would be kept.
            always: keep and count it even if there is no room.
        """
        with self._lock:
            size = frame.image.nbytes
            if not frame.kept and (always or self.kept_bytes + size <= self._cache_bytes):
                frame.kept = True
                self.kept_bytes += size
                weakref.finalize(frame, self._forget, size)
            return frame.kept

    def close(self) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _run(self, sequence: Sequence, index: int, reduction: int, future: Future[Frame]) -> None:
        key = sequence.name, index, reduction
        try:
            frame = _read(sequence, index, reduction)
        except Exception as error:  # handed to whoever asks for the result
            with self._lock:
                del self._pending[key]
            future.set_exception(error)
            return
        with self._lock:
            self._frames[key] = frame
            del self._pending[key]
        future.set_result(frame)

    def _forget(self, size: int) -> None:
        with self._lock:
            self.kept_bytes -= size


def _read(sequence: Sequence, index: int, reduction: int) -> Frame:
    if reduction > 1 and hasattr(sequence.frames, "read_reduced"):
        return Frame(*sequence.frames.read_reduced(index, reduction))
    image = sequence.frames.read(index)
    return Frame(image, (image.shape[1], image.shape[0]), 1)
