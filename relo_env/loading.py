"""Decoding: each frame once, ahead of need, in threads, within a bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

import numpy as np

from relo_env.clips import Clip
from relo_env.datasets.base import FrameSource

LOOKAHEAD = 4
"""Frames of a whole sequence that are decoded before they are asked for."""


class FrameLoader:
    """Decodes frames for all rows of an environment.

    Args:
        num_threads: decoding threads; 0 decodes in the caller's.
        cache_bytes: decoded frames kept for rows that ask for the same ones.
    """

    def __init__(self, num_threads: int = 0, cache_bytes: int = 0) -> None:
        self._pool = ThreadPoolExecutor(num_threads, "relo-decode") if num_threads else None
        self._cache: OrderedDict[tuple[str, int], Future[np.ndarray]] = OrderedDict()
        self._cache_bytes = cache_bytes
        self._cached_bytes = 0
        self._lock = Lock()

    def open(self, clip: Clip, whole: bool) -> ClipFrames:
        """The frames of a clip, being decoded from now on.

        Args:
            clip: whose frames.
            whole: request all of them now; else each is requested shortly before its turn.
        """
        return ClipFrames(self, clip, whole)

    def request(self, name: str, source: FrameSource, index: int) -> Future[np.ndarray]:
        """A frame that is decoded, being decoded, or waiting for a thread."""
        with self._lock:
            future = self._cache.get((name, index))
            if future is not None:
                self._cache.move_to_end((name, index))
                return future
            future = self._submit(source, index)
            if self._cache_bytes:
                self._cache[name, index] = future
        if self._cache_bytes:
            future.add_done_callback(lambda done: self._account((name, index), done))
        return future

    def close(self) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _submit(self, source: FrameSource, index: int) -> Future[np.ndarray]:
        if self._pool is not None:
            return self._pool.submit(source.read, index)
        future: Future[np.ndarray] = Future()
        try:
            future.set_result(source.read(index))
        except Exception as error:  # handed to whoever asks for the result, as a pool does
            future.set_exception(error)
        return future

    def _account(self, key: tuple[str, int], done: Future[np.ndarray]) -> None:
        """Count a decoded frame and drop the oldest ones that no longer fit."""
        failed = done.cancelled() or done.exception() is not None
        with self._lock:
            if failed:
                self._cache.pop(key, None)
                return
            self._cached_bytes += done.result().nbytes
            while self._cached_bytes > self._cache_bytes and self._cache:
                oldest, future = next(iter(self._cache.items()))
                if not future.done():
                    break
                del self._cache[oldest]
                self._cached_bytes -= future.result().nbytes


class ClipFrames:
    """Frames of one clip by frame index: call it with an index to have the decoded frame."""

    def __init__(self, loader: FrameLoader, clip: Clip, whole: bool) -> None:
        self._loader, self._clip, self._whole = loader, clip, whole
        self._futures: dict[int, Future[np.ndarray]] = {}
        self._request(clip.template_frames)
        self._request(clip.search_frames if whole else clip.search_frames[:LOOKAHEAD])

    def wait(self) -> None:
        """Wait for all frames requested so far.

        Raises:
            FrameError: one of them cannot be read.
        """
        for future in self._futures.values():
            future.result()

    def __call__(self, index: int) -> np.ndarray:
        """Frame ``index``, uint8 RGB ``(H, W, 3)``; not to be written to."""
        if not self._whole:
            turn = int(np.searchsorted(self._clip.search_frames, index))
            self._futures = {i: f for i, f in self._futures.items() if i >= index}
            self._request(self._clip.search_frames[turn : turn + LOOKAHEAD])
        if index not in self._futures:
            self._request(np.array([index]))
        return self._futures[index].result()

    def _request(self, indices: np.ndarray) -> None:
        sequence = self._clip.sequence
        for index in map(int, indices):
            if index not in self._futures:
                self._futures[index] = self._loader.request(sequence.name, sequence.frames, index)
