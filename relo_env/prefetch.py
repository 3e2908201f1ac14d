"""Frames decoded ahead of need, in threads and within a bounded memory; crops cut from them.

`FrameLoader` decodes for all rows of an environment. `ClipPrefetch` holds the frames of one clip.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cached_property
from threading import RLock
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import cv2
import numpy as np

from relo_env import boxes as bx
from relo_env.checks import NonNegativeInt, check
from relo_env.clips import Clip, jittered_box
from relo_env.config import CropConfig
from relo_env.crops import SearchWindow
from relo_env.datasets.base import Sequence
from relo_env.errors import ConfigError, DataError, FrameError

DEFAULT_CACHE_BYTES = 2 << 30
LOOKAHEAD = 4
"""Frames of a whole sequence that are decoded before they are asked for."""


class DecodedFrame:
    """A decoded frame.

    Attributes:
        image: uint8 RGB ``(H, W, 3)``.
        kept: the loader counts it among the frames in memory.
    """

    def __init__(self, image: np.ndarray) -> None:
        self.image = image
        self.kept = False

    @property
    def size(self) -> tuple[int, int]:
        """[px] width and height."""
        return self.image.shape[1], self.image.shape[0]


class FrameLoader:
    """Decoder of frames for all rows of an environment.

    A frame is decoded once for all callers, as long as one of them still holds it. `keep` counts
    frames that are held for later, and bounds their memory. A pickled or copied loader has the
    settings of the original, without its frames and threads.

    Args:
        num_threads: decoding threads, and as many that cut crops; None: one a core, at most 16; 0
            uses the caller's thread.
        cache_bytes: bound on the decoded frames that are kept until they are acted on.

    Raises:
        ConfigError: one of them is not a number, or negative.

    Attributes:
        decodes_ahead: there are threads.
        kept_bytes: decoded frames that are kept at the moment.
    """

    def __init__(self, num_threads: int | None = 0, cache_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        if num_threads is None:
            affine = getattr(os, "sched_getaffinity", None)  # Linux has it
            num_threads = min((len(affine(0)) if affine else os.cpu_count()) or 1, 16)
        check("num_threads", num_threads, NonNegativeInt)
        check("cache_bytes", cache_bytes, NonNegativeInt)
        self._settings = int(num_threads), int(cache_bytes)
        self.decodes_ahead = num_threads > 0
        self._pool = ThreadPoolExecutor(num_threads, "relo-decode") if num_threads else None
        # Threads of their own: crops are needed at once, and frames ahead of need fill the queue.
        self._cutters = ThreadPoolExecutor(num_threads, "relo-cut") if num_threads > 1 else None
        self.kept_bytes = 0
        self._pending: dict[tuple[str, int], Future[DecodedFrame]] = {}
        self._frames: WeakValueDictionary[tuple[str, int], DecodedFrame] = WeakValueDictionary()
        self._lock = RLock()  # collecting garbage may call _forget within a locked region

    def __getstate__(self) -> tuple[int, int]:
        return self._settings

    def __setstate__(self, settings: tuple[int, int]) -> None:
        FrameLoader.__init__(self, *settings)

    def decode(self, sequence: Sequence, index: int) -> Future[DecodedFrame]:
        """Frame ``index`` of a sequence: decoded, being decoded, or waiting for a thread."""
        key = sequence.name, index
        with self._lock:
            if key in self._pending:
                return self._pending[key]
            future: Future[DecodedFrame] = Future()
            frame = self._frames.get(key)
            if frame is not None:
                future.set_result(frame)
                return future
            self._pending[key] = future
        if self._pool is None:
            self._run(sequence, index, future)
        else:
            self._pool.submit(self._run, sequence, index, future)
        return future

    def keep(self, frame: DecodedFrame, always: bool = False) -> bool:
        """Count a frame among those in memory for as long as it lives; False: there is no room.

        With ``always`` it is kept and counted even then.
        """
        with self._lock:
            size = frame.image.nbytes
            if not frame.kept and (always or self.kept_bytes + size <= self._settings[1]):
                frame.kept = True
                self.kept_bytes += size
                weakref.finalize(frame, self._forget, size)
            return frame.kept

    def spread(self, function: Callable[[Any], None], items: SequenceOf[Any]) -> None:
        """Call a function on each item, in the threads if there are several; wait for all."""
        if self._cutters is None or len(items) == 1:
            for item in items:
                function(item)
            return
        share = -(-len(items) // self._settings[0])
        parts = [items[start : start + share] for start in range(0, len(items), share)]
        futures = [self._cutters.submit(list, map(function, part)) for part in parts]
        wait(futures)  # also if one fails: no thread may write after that
        for done in futures:
            done.result()

    def close(self) -> None:
        """Stop the threads."""
        for pool in (self._pool, self._cutters):
            if pool is not None:
                pool.shutdown(cancel_futures=True)

    def _run(self, sequence: Sequence, index: int, future: Future[DecodedFrame]) -> None:
        key = sequence.name, index
        try:
            frame = DecodedFrame(check_image(sequence.frames.read(index), sequence.name, index))
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


class PrefetchedFrame(NamedTuple):
    """Decoded frame of a clip, with its crop if the window does not depend on actions.

    Attributes:
        size: [px] width and height of the frame.
        window: window of its crop; None where that depends on the box chosen last.
        crop: uint8 ``(3, S, S)``; None where there is no window yet.
        frame: the frame, kept to cut that crop; None where it is cut, or where there is no room.
    """

    size: tuple[int, int]
    window: SearchWindow | None = None
    crop: np.ndarray | None = None
    frame: DecodedFrame | None = None


class ClipPrefetch:
    """Prefetching decoder for the frames of one clip, shared by all rows that play it.

    Search frames have the indices t = 0 to T - 1, templates t = -K to -1. A crop whose window is
    known with the clip (a template's, or one around the ground truth) is cut by the thread that
    decodes its frame, and the frame is dropped. Other frames are kept until they have been acted
    on; one for which the loader has no room is decoded again when it is entered. A pickled or
    copied clip decodes its frames again, one ahead.

    Args:
        clip: the frames to decode.
        loader: decodes them.
        crop: sizes of the crops.
        official: official crop geometry.
    """

    def __init__(
        self, clip: Clip, loader: FrameLoader, crop: CropConfig, official: bool = False
    ) -> None:
        self.clip = clip
        self._loader, self._crop, self._official = loader, crop, official
        self._range = range(-len(clip.template_frames), len(clip.search_frames))
        frames = [*map(int, clip.template_frames), *map(int, clip.search_frames)]
        self._index = dict(zip(self._range, frames, strict=True))
        self._frames: dict[int, Future[PrefetchedFrame]] = {}
        self._fetched = self._range.start

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_frames": {}}

    def fetch(self, stop: int | None = None) -> None:
        """Have all frames before ``stop`` decoded, by default all there are."""
        stop = self._range.stop if stop is None else min(stop, self._range.stop)
        for t in range(self._fetched, stop):
            self._request(t)
        self._fetched = max(self._fetched, stop)

    def wait(self) -> None:
        """Wait until all fetched frames are decoded; FrameError if one cannot be."""
        for frame in list(self._frames.values()):  # threads take some out
            frame.result()

    @cached_property
    def templates(self) -> tuple[np.ndarray, np.ndarray]:
        """Crops uint8 ``(K, 3, Hz, Wz)`` and, clipped to them, boxes float32 ``(K, 4)`` xywh01."""
        crops, boxes = [], []
        for t in range(self._range.start, 0):
            frame = self.frame(t)
            assert frame.window is not None
            assert frame.crop is not None
            crops.append(frame.crop)
            boxes.append(_box_in_crop(frame.window, self.true_box(t, frame.size)))
        return np.stack(crops), np.stack(boxes)

    def frame(self, t: int) -> PrefetchedFrame:
        """Frame ``t``, as soon as it is decoded; FrameError if it cannot be."""
        known = self._frames.get(t)  # a thread may take it out
        return (self._request(t, always=True) if known is None else known).result()

    def enter(self, t: int) -> PrefetchedFrame:
        """Go to search frame ``t``; drop frames that are no longer needed, and fetch the next ones.

        Raises:
            FrameError: it cannot be decoded.
        """
        frame = self.frame(t)
        self._frames.pop(t - 2, None)  # the one before is shown by a rendering
        self.fetch(t + 1 + LOOKAHEAD)
        if t + 1 < self._range.stop and t + 1 not in self._frames:
            self._request(t + 1, always=True)
        return frame

    def cut(self, t: int, window: SearchWindow, out: np.ndarray) -> None:
        """Write the search crop of frame ``t`` to ``out``, uint8 ``(3, S, S)``.

        Args:
            t: index of the frame.
            window: window of the crop; the frame's own, if it has one.
            out: row of the environment's observation, written in place to save a copy of it.
        """
        frame = self.frame(t)
        if frame.crop is not None:
            out[...] = frame.crop
        else:
            assert frame.frame is not None
            self._cut(frame.frame, window, out)

    def cut_template(self, t: int, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Template around a box of frame ``t``: uint8 ``(3, Hz, Wz)``, float32 ``(4,)`` xywh01."""
        crop, frame = self._crop, self.frame(t).frame
        assert frame is not None
        window = SearchWindow.around(box, crop.template_factor, crop.template_size, self._official)
        template = np.empty((3, window.size, window.size), np.uint8)
        self._cut(frame, window, template)
        return template, _box_in_crop(window, box)

    def image(self, t: int) -> np.ndarray:
        """Frame ``t`` with its augmentation, uint8 RGB ``(H, W, 3)``, read-only.

        A dropped frame is decoded again.
        """
        known = self._frames.get(t)
        frame = known.result().frame if known is not None else None
        if frame is None:
            frame = self._loader.decode(self.clip.sequence, self._index[t]).result()
        image = frame.image
        if self.clip.augmentation.mirror:
            image = np.ascontiguousarray(image[:, ::-1])
        image = self.clip.augmentation.colour(image).view()
        image.flags.writeable = False  # other rows cut their crops from it
        return image

    def true_box(self, t: int, size: tuple[int, int]) -> np.ndarray:
        """The annotated box in a frame of ``size``, xywh pixels; zeros where it is absent."""
        index = self._index[t]
        if not self.clip.sequence.visible[index]:
            return np.zeros(4)
        return self.clip.augmentation.boxes(self.clip.sequence.boxes[index], size[0])

    def _request(self, t: int, always: bool = False) -> Future[PrefetchedFrame]:
        prefetched: Future[PrefetchedFrame] = Future()
        self._frames[t] = prefetched

        def take(decoded: Future[DecodedFrame]) -> None:
            try:
                prefetched.set_result(self._take(t, decoded.result(), always))
            except Exception as error:  # handed to whoever asks for the frame
                prefetched.set_exception(error)

        self._loader.decode(self.clip.sequence, self._index[t]).add_done_callback(take)
        return prefetched

    def _take(self, t: int, frame: DecodedFrame, always: bool) -> PrefetchedFrame:
        """Cut the crop, if its window is known; else keep the frame, if there is room."""
        window = self._planned_window(t, frame.size)
        if window is None and self._loader.keep(frame, always):
            return PrefetchedFrame(frame.size, frame=frame)
        if window is None:
            self._frames.pop(t, None)
            return PrefetchedFrame(frame.size)
        crop = np.empty((3, window.size, window.size), np.uint8)
        self._cut(frame, window, crop)
        return PrefetchedFrame(frame.size, window, crop)

    def _planned_window(self, t: int, size: tuple[int, int]) -> SearchWindow | None:
        crop, box = self._crop, self.true_box(t, size)
        if t >= 0 and (self.clip.jitter is None or not box.any()):
            return None
        if not bx.iou(box, np.array([0.0, 0.0, *size])):
            raise FrameError(
                f"Sequence {self.clip.sequence.name!r}, frame {self._index[t]}: box {box.tolist()} "
                f"lies outside its frame of {size[0]} x {size[1]} px. Mark the target as absent."
            )
        try:
            if t < 0:
                factor, side = crop.template_factor, crop.template_size
                return SearchWindow.around(box, factor, side, self._official)
            box = jittered_box(box, self.clip.jitter[t])  # type: ignore[index]
            factor, side = crop.search_factor, crop.search_size
            return SearchWindow.around(box, factor, side, self._official)
        except ConfigError as error:
            raise FrameError(
                f"Sequence {self.clip.sequence.name!r}, frame {self._index[t]}: {error} "
                "Mark a target of this size as absent."
            ) from error

    def _cut(self, frame: DecodedFrame, window: SearchWindow, out: np.ndarray) -> None:
        augmentation = self.clip.augmentation
        crop = augmentation.colour(window.extract(frame.image, augmentation.mirror))
        cv2.split(crop, list(out))


def check_image(image: np.ndarray, sequence: str, index: int) -> np.ndarray:
    """A frame as its source gave it; DataError if it is not uint8 RGB ``(H, W, 3)``."""
    kind, shape = getattr(image, "dtype", type(image).__name__), np.shape(image)
    if kind != np.uint8 or len(shape) != 3 or shape[2] != 3:
        raise DataError(
            f"Sequence {sequence!r}, frame {index}: its source gave {kind} of shape {shape}; "
            "expected uint8 RGB (H, W, 3). Convert it where it is read."
        )
    return image


def _box_in_crop(window: SearchWindow, box: np.ndarray) -> np.ndarray:
    """An xywh box as float32 xywh01 of a window's crop, clipped to it."""
    return bx.clip_to_unit(bx.cxcywh_to_xywh(window.to_crop(box))).astype(np.float32)
