"""One-pass evaluation: run a tracker over the sequences of a data set, in one or many processes."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np
from tqdm import tqdm

from relo_env.benchmark.processes import stream
from relo_env.benchmark.results import SequenceResult, is_finished, write_result
from relo_env.benchmark.tracker import Tracker
from relo_env.datasets.base import Dataset, Sequence
from relo_env.errors import DataError, ReloError

REPORT_SECONDS = 0.2
"""[s] between two signs of life of a tracker at work."""


@dataclass(frozen=True)
class RunResult:
    """What a run did.

    Attributes:
        folder: where the result files are: ``<out>/<tracker>/<dataset>``.
        finished: sequences tracked by this run.
        skipped: sequences that had been finished before.
        failed: traceback of every sequence that could not be tracked, by its name.
        frames: frames tracked by this run.
        seconds: wall-clock time of this run.
    """

    folder: Path
    finished: tuple[str, ...]
    skipped: tuple[str, ...]
    failed: Mapping[str, str]
    frames: int
    seconds: float

    def describe_failures(self) -> str:
        """The failed sequences with their tracebacks, for a terminal; empty if there are none."""
        if not self.failed:
            return ""
        total = len(self.finished) + len(self.skipped) + len(self.failed)
        traces = [f"--- {name}\n{trace.rstrip()}" for name, trace in self.failed.items()]
        return "\n".join([f"{len(traces)} of {total} sequences failed:", *traces])


def run(
    tracker_factory: Callable[[], Tracker],
    dataset: Dataset,
    out: str | Path,
    *,
    name: str | None = None,
    sequences: list[str] | None = None,
    workers: int = 1,
    fresh_process: bool | None = None,
    keep_score_maps: bool = False,
    progress: bool = True,
) -> RunResult:
    """Track every sequence of a data set and keep boxes and times.

    A sequence that is already finished in the result folder is skipped, so a run that was
    interrupted goes on where it was. A sequence that fails is kept in ``failed``, with nothing
    written for it, and the others go on. Boxes do not depend on the number of workers: trackers
    run with one OpenCV and one torch thread everywhere.

    Args:
        tracker_factory: builds the tracker, once a process; see
            :func:`relo_env.benchmark.trackers.make_tracker_factory`.
        dataset: what to track. Factory and data set are pickled unless used in this process.
        out: folder of all results.
        name: of the tracker; the factory's ``name`` by default.
        sequences: names of those to track; all of the data set by default.
        workers: processes; 1 tracks in this process unless ``fresh_process``.
        fresh_process: start a process for each sequence; by default as the factory asks.
        keep_score_maps: keep the score maps of trackers that offer them, for the report.
        progress: show a progress bar on stderr.

    Raises:
        ReloError: the tracker cannot be built in a worker process.
    """
    started = perf_counter()
    name = name or getattr(tracker_factory, "name", None) or "tracker"
    if fresh_process is None:
        fresh_process = getattr(tracker_factory, "fresh_process", False)
    folder = Path(out) / name / dataset.name
    lengths, failed = _read_lengths(dataset, sequences or list(dataset.names))
    pending = [s for s, length in lengths.items() if not is_finished(folder, s, length)]
    skipped = tuple(s for s in lengths if s not in pending)
    job = TrackingJob(tracker_factory, dataset, folder, keep_score_maps)

    finished: list[str] = []
    events = _track_all(job, pending, workers, fresh_process)
    total = sum(lengths[sequence] for sequence in pending)
    with (
        contextlib.closing(events),
        tqdm(total=total, unit="frame", desc=name, disable=not progress) as bar,
    ):
        for event in events:
            if isinstance(event, Advanced):
                bar.update(event.frames)
            elif event.error is None:
                finished.append(event.sequence)
            else:
                failed[event.sequence] = event.error
            status = f"{len(finished)}/{len(pending)} sequences, {len(failed)} failed"
            bar.set_postfix_str(status, refresh=False)
    return RunResult(
        folder=folder,
        finished=tuple(finished),
        skipped=skipped,
        failed=failed,
        frames=sum(lengths[sequence] for sequence in finished),
        seconds=perf_counter() - started,
    )


def _read_lengths(dataset: Dataset, names: list[str]) -> tuple[dict[str, int], dict[str, str]]:
    """Number of frames of each sequence, and the traceback of each that cannot be loaded."""
    lengths, failed = {}, {}
    for name in names:
        try:
            lengths[name] = len(dataset[name])
        except DataError:
            failed[name] = traceback.format_exc()
    return lengths, failed


@dataclass(frozen=True)
class Advanced:
    """A tracker got that many frames further."""

    frames: int


@dataclass(frozen=True)
class Ended:
    """A tracker is done with a sequence; ``error`` is the traceback where it failed."""

    sequence: str
    error: str | None = None


Event = Advanced | Ended


def _track_all(
    job: TrackingJob, names: list[str], workers: int, fresh_process: bool
) -> Generator[Event, None, None]:
    if workers > 1 or fresh_process:
        yield from stream(job, names, workers=workers, fresh_process=fresh_process, lost=_lost)
    elif names:
        track = job()
        for name in names:
            yield from track(name)


def _lost(sequence: str, exit_code: int | None) -> Ended:
    return Ended(
        sequence,
        error=f"The process that tracked it died with exit code {exit_code} (negative: the "
        "signal that ended it, -9 is often a lack of memory).",
    )


@dataclass(frozen=True)
class TrackingJob:
    """What a process needs to know; calling it builds the tracker and gives the work."""

    tracker_factory: Callable[[], Tracker]
    dataset: Dataset
    folder: Path
    keep_score_maps: bool

    def __call__(self) -> Callable[[str], Iterator[Event]]:
        """Build the tracker; what is returned tracks a sequence by name and writes its files."""
        tracker = self.tracker_factory()

        def track(name: str) -> Iterator[Event]:
            try:
                with single_threaded():
                    result = yield from track_sequence(
                        tracker, self.dataset[name], keep_score_maps=self.keep_score_maps
                    )
                write_result(self.folder, name, result)
            except Exception:
                yield Ended(name, error=traceback.format_exc())
            else:
                yield Ended(name)

        return track


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


def track_sequence(
    tracker: Tracker, sequence: Sequence, *, keep_score_maps: bool = False
) -> Generator[Advanced, None, SequenceResult]:
    """Track one sequence from its first box; yields progress, returns the SequenceResult.

    Raises:
        ReloError: the target is not in the first frame, or the tracker gives a box that is not
            four finite numbers.
    """
    if not sequence.visible[0]:
        raise DataError(
            f"Sequence {sequence.name!r}: the target is absent in frame 0, where trackers start."
        )
    boxes, maps = [sequence.boxes[0]], []
    clocks: dict[str, list[float]] = {"tracker": [], "read": []}
    reported, reported_at = 0, perf_counter()
    for index in range(len(sequence)):
        begin = perf_counter()
        frame = sequence.frames.read(index)
        read = perf_counter()
        if index == 0:
            tracker.init(frame, tuple(sequence.boxes[0].tolist()))
        else:
            boxes.append(_finite(tracker.update(frame)[0], sequence.name, index))
        clocks["read"].append(read - begin)
        clocks["tracker"].append(perf_counter() - read)
        if index and hasattr(tracker, "model_seconds"):
            clocks.setdefault("model", [0.0]).append(tracker.model_seconds)
        if index and keep_score_maps and hasattr(tracker, "score_map"):
            maps.append(_quantise(tracker.score_map))
        if perf_counter() - reported_at > REPORT_SECONDS or index == len(sequence) - 1:
            yield Advanced(index + 1 - reported)
            reported, reported_at = index + 1, perf_counter()
    return SequenceResult(
        boxes=np.array(boxes),
        seconds={kind: np.array(seconds) for kind, seconds in clocks.items()},
        score_maps=np.stack([np.zeros_like(maps[0]), *maps]) if maps else None,
    )


def _finite(box: tuple[float, float, float, float], sequence: str, frame: int) -> np.ndarray:
    array = np.asarray(box, dtype=np.float64)
    if array.shape != (4,) or not np.isfinite(array).all():
        raise ReloError(
            f"The tracker's box for frame {frame} of {sequence!r} is {box!r}; expected four "
            "finite numbers (left, top, width, height)."
        )
    return array


def _quantise(score_map: np.ndarray) -> np.ndarray:
    """A score map as uint8, 0 at its least and 255 at its greatest value."""
    scores = np.asarray(score_map, dtype=np.float64)
    low, high = scores.min(), scores.max()
    return (255 * (scores - low) / max(high - low, np.finfo(float).tiny)).astype(np.uint8)
