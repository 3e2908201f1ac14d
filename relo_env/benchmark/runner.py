"""One-pass evaluation: run a tracker over the sequences of a data set, in one or many processes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from tqdm import tqdm

from relo_env.benchmark.execution import (
    Advanced,
    Ended,
    Event,
    explain,
    single_threaded,
    track_in_step,
    track_sequence,
)
from relo_env.benchmark.interface import BatchTracker, Tracker
from relo_env.benchmark.results import (
    LIST_OF_SEQUENCES,
    SETTINGS_FILE,
    check_name,
    is_finished,
    read_boxes,
    write_result,
)
from relo_env.boxes import iou
from relo_env.claims import Claim, digests_of_weights
from relo_env.datasets.base import Dataset
from relo_env.errors import ConfigError, DataError
from relo_env.interrupts import terminable
from relo_env.processes import Tell, Work, require_main_guard, stream


@dataclass(frozen=True)
class RunResult:
    """Outcome of a run.

    Attributes:
        folder: folder of the result files, ``<out>/<tracker>/<dataset>``.
        finished: sequences tracked by this run.
        skipped: sequences that had been finished before.
        failed: reason of each failed sequence, by its name: the fault of its data, or the
            traceback.
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
        """The failed sequences, those that failed alike together; empty if there are none."""
        if not self.failed:
            return ""
        alike: dict[str, list[str]] = {}
        for name, reason in self.failed.items():
            alike.setdefault(reason.rstrip().replace(name, "<name>"), []).append(name)
        total = len(self.finished) + len(self.skipped) + len(self.failed)
        lines = [f"{len(self.failed)} of {total} sequences failed:"]
        for reason, names in alike.items():
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            lines += [f"--- {', '.join(names[:3])}{more}", reason.replace("<name>", names[0])]
        return "\n".join(lines)


def run(
    tracker_factory: Callable[[], Tracker],
    dataset: Dataset,
    out: str | Path,
    *,
    name: str | None = None,
    dataset_options: Mapping[str, Any] | None = None,
    sequences: list[str] | None = None,
    workers: int = 1,
    fresh_process: bool | None = None,
    batch_size: int = 1,
    keep_score_maps: bool = False,
    progress: bool = True,
) -> RunResult:
    """Track every sequence of a data set and keep boxes and times.

    Sequences that are finished in the result folder are skipped, so an interrupted run continues
    with the next one. The folder's ``_run.json`` holds the tracker's settings and the data set's
    fingerprint; results of other settings or on other data are refused. A sequence that fails is
    kept in ``failed``, with nothing written for it; the others are tracked. Boxes do not depend on
    the number of workers: trackers run with one OpenCV and one torch thread everywhere.

    Args:
        tracker_factory: builds the tracker, once a process; see
            :func:`relo_env.benchmark.trackers.make_tracker_factory`. One without ``settings`` is
            not compared with the tracker of earlier results.
        dataset: sequences to track. Factory and data set are pickled unless used in this process.
        out: folder of all results.
        name: of the tracker; the factory's ``name`` by default.
        dataset_options: further settings of the data, compared as the fingerprint is.
        sequences: names of those to track; all of the data set by default.
        workers: processes; 1 tracks in this process unless ``fresh_process``.
        fresh_process: start a process for each sequence; by default as the factory asks.
        batch_size: sequences that step together through the network of a
            :class:`~relo_env.benchmark.interface.BatchTracker`, in this process; boxes agree with
            those of single sequences within the network's rounding.
        keep_score_maps: keep the score maps of trackers that offer them, for the report.
        progress: show a progress bar on stderr.

    Raises:
        ConfigError: a batch with several processes, or with a tracker of one object; a name that
            cannot be a folder's; a script without a main guard that starts processes; or the folder
            holds results of another tracker or on other data.
        DataError: a sequence's name leads out of the folder.
        OutputError: the disk refuses.
        ReloError: the tracker cannot be built in a worker process.
        Terminated: SIGTERM came; the processes are ended and finished sequences are kept.
    """
    started = perf_counter()
    name = name or getattr(tracker_factory, "name", None) or "tracker"
    if fresh_process is None:
        fresh_process = getattr(tracker_factory, "fresh_process", False)
    names = list(dataset.names if sequences is None else sequences)
    folder = Path(out) / name / dataset.name
    job = TrackingJob(tracker_factory, dataset, folder, keep_score_maps)
    _check_arguments(name, names, batch_size, workers > 1 or fresh_process, job)
    lengths, failed = _read_lengths(dataset, names)
    done = [s for s, length in lengths.items() if is_finished(folder, s, length)]
    settings = getattr(tracker_factory, "settings", None) or {}
    _claim(folder, settings, dataset, dict(dataset_options or {}), done)
    pending = [s for s in lengths if s not in set(done)]
    if done and progress:
        print(f"{len(done)} of {len(names)} sequences are finished in {folder}", file=sys.stderr)

    finished: list[str] = []
    events = _track_all(job, pending, workers, fresh_process, batch_size)
    total = sum(lengths[sequence] for sequence in pending)
    with (
        terminable(),
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
        skipped=tuple(done),
        failed=failed,
        frames=sum(lengths[sequence] for sequence in finished),
        seconds=perf_counter() - started,
    )


def _check_arguments(
    name: str, sequences: list[str], batch_size: int, in_processes: bool, job: TrackingJob
) -> None:
    if name in (".", "..") or "/" in name or "\\" in name:
        raise ConfigError(
            f"The tracker's name is {name!r}, but its results lie in a folder of that name; "
            "expected one without / and \\, give it with --name or name=."
        )
    if batch_size > 1 and in_processes:
        raise ConfigError(
            f"batch_size={batch_size} steps sequences together in one process; it cannot be "
            "combined with workers or fresh_process."
        )
    for sequence in sequences:
        check_name(sequence)
    if in_processes and sequences:
        require_main_guard(job)


def _claim(
    folder: Path,
    settings: Mapping[str, Any],
    dataset: Dataset,
    options: Mapping[str, Any],
    done: list[str],
) -> None:
    """Note the settings, the files and the data of the results in a folder.

    Another split may be added. Sequences may be added to a data set: each finished one is compared
    with the data by its first box, which is the true one.

    Raises:
        ConfigError: the folder's results are of other settings or on other data.
    """
    files = digests_of_weights(settings)
    settings = {**settings, "dataset": dataset.name, "dataset_options": options, "files": files}
    claim = Claim(folder / SETTINGS_FILE, settings, {dataset.split: dataset.fingerprint})
    if any(folder.rglob("*.txt")):
        claim.check(free_data=LIST_OF_SEQUENCES)
    for sequence in done:
        first, video = read_boxes(folder, sequence)[0], dataset[sequence]
        truth = video.boxes[0]
        if video.visible[0] and iou(first, truth) < _SAME_BOX:
            raise ConfigError(
                f"{folder} holds boxes of {sequence!r} on another video: the first is "
                f"{first.tolist()}, in {dataset.name} it is {truth.tolist()}. Give another --out, "
                "or delete the folder."
            )
    claim.write()


_SAME_BOX = 0.5
"""IoU of a result's first box with the true one; trackers' boxes may be clipped or shifted by 1."""


def _read_lengths(dataset: Dataset, names: list[str]) -> tuple[dict[str, int], dict[str, str]]:
    """Number of frames of each sequence, and what is wrong with each that cannot be loaded."""
    lengths, failed = {}, {}
    for name in names:
        try:
            lengths[name] = len(dataset[name])
        except DataError as error:
            failed[name] = explain(error)
    return lengths, failed


def _track_all(
    job: TrackingJob, names: list[str], workers: int, fresh_process: bool, batch_size: int
) -> Generator[Event, None, None]:
    if batch_size > 1:
        yield from job.track_in_step(names, batch_size)
    elif workers > 1 or fresh_process:
        yield from stream(job, names, workers=workers, fresh_process=fresh_process, lost=_lost)
    elif names:
        track = job.make_track()
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
    """Task of a process; calling it builds the tracker and returns the work function."""

    tracker_factory: Callable[[], Tracker]
    dataset: Dataset
    folder: Path
    keep_score_maps: bool

    def __call__(self) -> Work:
        """Work of one process: see `make_track`."""
        track = self.make_track()

        def work(name: str, tell: Tell) -> None:
            for event in track(name):
                tell(event)

        return work

    def make_track(self) -> Callable[[str], Iterator[Event]]:
        """Build the tracker; the function tracks a sequence by name and writes its files."""
        tracker = self.tracker_factory()

        def track(name: str) -> Iterator[Event]:
            try:
                with single_threaded():
                    result = yield from track_sequence(
                        tracker, self.dataset[name], keep_score_maps=self.keep_score_maps
                    )
                write_result(self.folder, name, result)
            except Exception as error:
                yield Ended(name, error=explain(error))
            else:
                yield Ended(name)

        return track

    def track_in_step(self, names: list[str], batch_size: int) -> Iterator[Event]:
        """Track the sequences in this process, many at once, and write their files.

        Raises:
            ConfigError: the tracker follows one object only.
        """
        tracker = self.tracker_factory()
        if not isinstance(tracker, BatchTracker):
            raise ConfigError(
                f"batch_size is {batch_size}, but {type(tracker).__name__} follows one object "
                "only: it has no start(frame, box) and step(tracks, frames); see "
                "relo_env.benchmark.interface.BatchTracker. Use workers instead."
            )
        with single_threaded():
            yield from track_in_step(
                tracker,
                self.dataset,
                names,
                partial(write_result, self.folder),
                batch_size=batch_size,
                keep_score_maps=self.keep_score_maps,
            )
