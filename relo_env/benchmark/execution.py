"""Execution of trackers: sequences one after the other, or many in step through one network."""

from __future__ import annotations

import contextlib
import errno
import sys
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import cv2
import numpy as np

from relo_env.benchmark.interface import BatchTracker, Box, Tracker, checked_answer, checked_box
from relo_env.benchmark.results import SequenceResult
from relo_env.datasets.base import Dataset, FrameSource, Sequence
from relo_env.errors import DataError, OutputError, ReloError

REPORT_SECONDS = 0.2
"""[s] between two signs of life of a tracker at work."""


@dataclass(frozen=True)
class Advanced:
    """Trackers got that many frames further; negative where some have to be tracked again."""

    frames: int


@dataclass(frozen=True)
class Ended:
    """A tracker is done with a sequence; ``error`` tells why it failed."""

    sequence: str
    error: str | None = None


Event = Advanced | Ended


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a disk that takes no more."""


def explain(error: Exception) -> str:
    """Error of a sequence: the message of one of RELO's own, else the traceback.

    Raises:
        OutputError: the disk refuses, which ends the run.
    """
    if isinstance(error, OutputError):
        raise error
    if isinstance(error, OSError) and error.errno in FULL:
        raise OutputError(f"The disk is full: {error}.") from error
    if isinstance(error, ReloError):
        return f"{type(error).__name__}: {error}"
    return "".join(traceback.format_exception(error))


Save = Callable[[str, SequenceResult], None]


@contextlib.contextmanager
def single_threaded() -> Iterator[None]:
    """Compute with one OpenCV thread and, where torch is loaded, one torch thread."""
    torch = sys.modules.get("torch")
    opencv_threads, torch_threads = cv2.getNumThreads(), torch and torch.get_num_threads()
    cv2.setNumThreads(1)
    if torch:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(opencv_threads)
        if torch:
            torch.set_num_threads(torch_threads)


class Recording:
    """Collects what a tracker makes of a sequence, frame by frame.

    Raises:
        DataError: the target is not in the first frame.
    """

    def __init__(self, sequence: Sequence, *, keep_score_maps: bool) -> None:
        if not sequence.visible[0]:
            raise DataError(
                f"Sequence {sequence.name!r}: the target is absent in frame 0, where trackers "
                "start."
            )
        self._sequence = sequence
        self._shift = sequence.file_origin - sequence.origin
        self._keep_score_maps = keep_score_maps
        self._boxes: list[np.ndarray] = []
        self._seconds: dict[str, list[float]] = {"tracker": [], "read": []}
        self._score_maps: list[np.ndarray] = []

    def __len__(self) -> int:
        """Number of frames recorded."""
        return len(self._boxes)

    @property
    def first_box(self) -> Box:
        """The box that trackers are given."""
        x, y, w, h = self._sequence.boxes[0].tolist()
        return x, y, w, h

    @property
    def is_complete(self) -> bool:
        """True if every frame is recorded."""
        return len(self) == len(self._sequence)

    def add(
        self,
        box: Box,
        *,
        tracker: float,
        read: float,
        model: float | None = None,
        score_map: np.ndarray | None = None,
    ) -> None:
        """Record the next frame: box, seconds by kind, and score map where there is one.

        Raises:
            ReloError: the box is not four finite numbers, or its size is negative.
        """
        self._boxes.append(checked_box(box, f"frame {len(self)} of {self._sequence.name!r}"))
        self._seconds["tracker"].append(tracker)
        self._seconds["read"].append(read)
        if model is not None:
            self._seconds.setdefault("model", [0.0]).append(model)
        if score_map is not None and self._keep_score_maps:
            self._score_maps.append(_quantise(score_map))

    def result(self) -> SequenceResult:
        """All that was recorded."""
        maps = self._score_maps
        return SequenceResult(
            boxes=np.array(self._boxes) + np.array([self._shift, self._shift, 0, 0]),
            seconds={kind: np.array(seconds) for kind, seconds in self._seconds.items()},
            score_maps=np.stack([np.zeros_like(maps[0]), *maps]) if maps else None,
        )


def _quantise(score_map: np.ndarray) -> np.ndarray:
    """A score map as uint8, 0 at its least and 255 at its greatest value."""
    scores = np.asarray(score_map, dtype=np.float64)
    low, high = scores.min(), scores.max()
    return (255 * (scores - low) / max(high - low, np.finfo(float).tiny)).astype(np.uint8)


def track_sequence(
    tracker: Tracker, sequence: Sequence, *, keep_score_maps: bool = False
) -> Generator[Advanced, None, SequenceResult]:
    """Track one sequence from its first box; yields progress, returns the SequenceResult.

    Raises:
        ReloError: the target is not in the first frame, or the tracker gives something else than
            a box of four finite numbers and a score.
    """
    recording = Recording(sequence, keep_score_maps=keep_score_maps)
    reported, reported_at = 0, perf_counter()
    for index in range(len(sequence)):
        begin = perf_counter()
        frame = sequence.frames.read(index)
        read = perf_counter()
        if index == 0:
            tracker.init(frame, recording.first_box)
            spent: dict[str, Any] = {"read": read - begin, "tracker": perf_counter() - read}
            recording.add(recording.first_box, **spent)
        else:
            box = checked_answer(tracker.update(frame))[0]
            spent = {"read": read - begin, "tracker": perf_counter() - read}
            recording.add(
                box,
                model=getattr(tracker, "model_seconds", None),
                score_map=getattr(tracker, "score_map", None),
                **spent,
            )
        if perf_counter() - reported_at > REPORT_SECONDS or recording.is_complete:
            yield Advanced(len(recording) - reported)
            reported, reported_at = len(recording), perf_counter()
    return recording.result()


def track_in_step(
    tracker: BatchTracker,
    dataset: Dataset,
    names: Iterable[str],
    save: Save,
    *,
    batch_size: int,
    keep_score_maps: bool = False,
) -> Iterator[Event]:
    """Track sequences of any lengths, ``batch_size`` at a time, each in its own state.

    When one ends the next takes its place. Every sequence's next frame is decoded in a thread
    while the others and the tracker are at work. A sequence that fails costs itself only; where a
    whole step fails its sequences are tracked anew one by one, to find the one at fault. Times of
    a frame are its share of the step's, so that their sum is what passed on the clock.

    Args:
        tracker: follows all.
        dataset: holds the sequences.
        names: of those to track, in order.
        save: called with the name and result of each sequence that is done.
        batch_size: sequences in a step.
        keep_score_maps: keep the score maps of tracks that offer them.
    """
    with ThreadPoolExecutor(thread_name_prefix="read-ahead") as reader:
        batch = _Batch(tracker, dataset, save, reader, keep_score_maps)
        yield from batch.track(names, batch_size)
        yield from batch.track(batch.suspects, 1)


@dataclass(frozen=True, eq=False)
class _Lane:
    """One sequence of a batch: what is left of its frames, and the tracker's state for it."""

    name: str
    frames: Iterator[np.ndarray]
    recording: Recording
    track: Any


@dataclass(eq=False)
class _Batch:
    """The sequences that are under way; what happens to them is noted in ``events``."""

    tracker: BatchTracker
    dataset: Dataset
    save: Save
    reader: Executor
    keep_score_maps: bool
    lanes: dict[str, _Lane] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    suspects: list[str] = field(default_factory=list)

    def track(self, names: Iterable[str], size: int) -> Iterator[Event]:
        waiting = deque(names)
        while waiting or self.lanes:
            while waiting and len(self.lanes) < size:
                self._begin(waiting.popleft())
            if self.lanes:
                self._step()
            yield from self.events
            self.events.clear()

    def _begin(self, name: str) -> None:
        with self._charged_to(name):
            begin = perf_counter()
            sequence = self.dataset[name]
            recording = Recording(sequence, keep_score_maps=self.keep_score_maps)
            frames = _read_ahead(sequence.frames, self.reader)
            frame = next(frames)
            read = perf_counter()
            track = self.tracker.start(frame, recording.first_box)
            self.lanes[name] = _Lane(name, frames, recording, track)
            spent: dict[str, Any] = {"read": read - begin, "tracker": perf_counter() - read}
            self._record(self.lanes[name], recording.first_box, **spent)

    def _step(self) -> None:
        begin = perf_counter()
        frames = []
        for lane in list(self.lanes.values()):
            with self._charged_to(lane.name):
                frames.append(next(lane.frames))
        lanes = list(self.lanes.values())
        if not lanes:
            return
        read = perf_counter()
        try:
            answers = self.tracker.step([lane.track for lane in lanes], frames)
            boxes = [checked_answer(answer)[0] for _, answer in zip(lanes, answers, strict=True)]
        except Exception as error:
            self._suspect_all(explain(error))
            return
        spent: dict[str, Any] = {
            "read": (read - begin) / len(lanes),
            "tracker": (perf_counter() - read) / len(lanes),
        }
        if hasattr(self.tracker, "model_seconds"):
            spent["model"] = self.tracker.model_seconds / len(lanes)
        for lane, box in zip(lanes, boxes, strict=True):
            with self._charged_to(lane.name):
                self._record(lane, box, getattr(lane.track, "score_map", None), **spent)

    def _record(
        self, lane: _Lane, box: Box, score_map: np.ndarray | None = None, **spent: float
    ) -> None:
        lane.recording.add(box, score_map=score_map, **spent)
        self.events.append(Advanced(1))
        if lane.recording.is_complete:
            self.save(lane.name, lane.recording.result())
            self._end(lane.name)

    @contextlib.contextmanager
    def _charged_to(self, name: str) -> Iterator[None]:
        """Within, an exception ends this sequence and no other."""
        try:
            yield
        except Exception as error:
            self._end(name, explain(error))

    def _end(self, name: str, error: str | None = None) -> None:
        self.lanes.pop(name, None)
        self.events.append(Ended(name, error))

    def _suspect_all(self, error: str) -> None:
        """End the only sequence; of several, track each again alone to find the one that fails."""
        if len(self.lanes) == 1:
            (name,) = self.lanes
            self._end(name, error)
            return
        self.suspects += self.lanes
        self.events += [Advanced(-len(lane.recording)) for lane in self.lanes.values()]
        self.lanes.clear()


def _read_ahead(frames: FrameSource, reader: Executor) -> Iterator[np.ndarray]:
    """Frames in order, each decoded in a thread while the frame before it is tracked.

    One at a time: two threads in one video file would make it seek back and forth.
    """
    ahead = reader.submit(frames.read, 0)
    for following in range(1, len(frames) + 1):
        frame = ahead.result()
        if following < len(frames):
            ahead = reader.submit(frames.read, following)
        yield frame
