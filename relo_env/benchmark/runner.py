"""One-pass evaluation: run a tracker over the sequences of a data set, in one or many processes."""

from __future__ import annotations

import contextlib
import json
import re
import traceback
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
    single_threaded,
    track_in_step,
    track_sequence,
)
from relo_env.benchmark.interface import BatchTracker, Tracker
from relo_env.benchmark.processes import stream
from relo_env.benchmark.results import is_finished, write_atomically, write_result
from relo_env.datasets.base import Dataset
from relo_env.datasets.disk import root_of
from relo_env.errors import ConfigError, DataError

SETTINGS_FILE = "_run.json"
"""Beside the results of a run: the tracker, the options and the data set that made them."""
_ROOT = "dataset_root"


@dataclass(frozen=True)
class RunResult:
    """What a run did.

    Attributes:
        folder: where the result files are: ``<out>/<tracker>/<dataset>``.
        finished: sequences tracked by this run.
        skipped: sequences that had been finished before.
        failed: why a sequence could not be tracked, by its name: what is wrong with its data, or
            the traceback.
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

    A sequence that is already finished in the result folder is skipped, so a run that was
    interrupted goes on where it was; the folder's ``_run.json`` tells whether it is the same run.
    A sequence that fails is kept in ``failed``, with nothing written for it, and the others go on.
    Boxes do not depend on the number of workers: trackers run with one OpenCV and one torch thread
    everywhere.

    Args:
        tracker_factory: builds the tracker, once a process; see
            :func:`relo_env.benchmark.trackers.make_tracker_factory`. Results of one without
            ``settings`` are taken for this run's.
        dataset: what to track. Factory and data set are pickled unless used in this process.
        out: folder of all results.
        name: of the tracker; the factory's ``name`` by default.
        dataset_options: those that made the data set, where others give other videos.
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
            is none of a folder; or the folder holds results of another tracker, of a data set in
            another place, or made with other options.
        ReloError: the tracker cannot be built in a worker process.
    """
    started = perf_counter()
    name = name or getattr(tracker_factory, "name", None) or "tracker"
    if name in (".", "..") or "/" in name or "\\" in name:
        raise ConfigError(
            f"The tracker's name is {name!r}, but its results lie in a folder of that name; "
            "expected one without / and \\, give it with --name or name=."
        )
    if fresh_process is None:
        fresh_process = getattr(tracker_factory, "fresh_process", False)
    if batch_size > 1 and (workers > 1 or fresh_process):
        raise ConfigError(
            f"batch_size={batch_size} steps sequences together in one process; it cannot be "
            "combined with workers or fresh_process."
        )
    folder = Path(out) / name / dataset.name
    if settings := getattr(tracker_factory, "settings", None):
        data = {
            "dataset": dataset.name,
            "dataset_options": dict(dataset_options or {}),
            _ROOT: root_of(dataset),
        }
        _claim(folder, {**settings, **data})
    lengths, failed = _read_lengths(dataset, sequences or list(dataset.names))
    pending = [s for s, length in lengths.items() if not is_finished(folder, s, length)]
    skipped = tuple(s for s in lengths if s not in pending)
    job = TrackingJob(tracker_factory, dataset, folder, keep_score_maps)

    finished: list[str] = []
    events = _track_all(job, pending, workers, fresh_process, batch_size)
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


def _claim(folder: Path, settings: Mapping[str, Any]) -> None:
    """Note what makes the results in a folder.

    Raises:
        ConfigError: something else made those that it holds.
    """
    note = _note(settings)
    older = _note({key: value for key, value in settings.items() if key != _ROOT})
    path = folder / SETTINGS_FILE
    if path.is_file() and path.read_text() not in (note, older) and any(folder.rglob("*.txt")):
        raise ConfigError(
            f"{folder} holds results that were made with other settings:\n{path.read_text()}"
            f"This run's are:\n{note}"
            "Give this run its own --name or another --out, or delete the folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, note.encode())


def _note(settings: Mapping[str, Any]) -> str:
    note = json.dumps(settings, indent=2, sort_keys=True, default=str) + "\n"
    return re.sub(r" at 0x\w+", "", note)  # of an object, another in each process


def _read_lengths(dataset: Dataset, names: list[str]) -> tuple[dict[str, int], dict[str, str]]:
    """Number of frames of each sequence, and what is wrong with each that cannot be loaded."""
    lengths, failed = {}, {}
    for name in names:
        try:
            lengths[name] = len(dataset[name])
        except DataError as error:
            failed[name] = f"{type(error).__name__}: {error}"
    return lengths, failed


def _track_all(
    job: TrackingJob, names: list[str], workers: int, fresh_process: bool, batch_size: int
) -> Generator[Event, None, None]:
    if batch_size > 1:
        yield from job.track_in_step(names, batch_size)
    elif workers > 1 or fresh_process:
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
