"""Trackers of known behaviour, and videos for them, importable by worker processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from relo_env.benchmark.published import find_results
from tests.toys import Squares, square_video

LENGTHS = (8, 30, 20, 25)


class Uneven(Squares):
    """Four square videos of different lengths."""

    name = "Uneven"

    def __init__(self) -> None:
        super().__init__(count=0)
        for seed, length in enumerate(LENGTHS):
            self.videos[f"square-{seed}"] = square_video(f"square-{seed}", length, seed=seed)


class Brightest:
    """Finds the bright square of the toy videos exactly; also offers model time and score map."""

    model_seconds = 0.001

    def init(self, frame, box):
        self.size = box[2:]

    def update(self, frame):
        rows, columns = np.nonzero(frame[..., 0] > 200)
        self.score_map = frame[::8, ::8, 0].astype(float)
        if not len(rows):
            return (0.0, 0.0, *self.size), 0.0
        return (float(columns.min()), float(rows.min()), *self.size), 1.0


class Counting:
    """Answers with the number of sequences and frames it has seen: not repeatable."""

    def __init__(self):
        self.seen = 0

    def init(self, frame, box):
        self.seen += 1

    def update(self, frame):
        return (float(self.seen), 0.0, 10.0, 10.0), 1.0


@dataclass
class Followed:
    """State of one track of ``InStep``."""

    tracker: Brightest
    score_map: np.ndarray | None = None


class InStep(Brightest):
    """The same, which also follows many squares in step; ``steps`` keeps how many at a time."""

    def __init__(self):
        self.steps = []

    def start(self, frame, box):
        track = Followed(Brightest())
        track.tracker.init(frame, box)
        return track

    def step(self, tracks, frames):
        self.steps.append(len(tracks))
        answers = []
        for track, frame in zip(tracks, frames, strict=True):
            answers.append(track.tracker.update(frame))
            track.score_map = track.tracker.score_map
        return answers


class RefusesBigFrames(InStep):
    """Fails, alone or in step, where a frame is wider than 100 px."""

    def step(self, tracks, frames):
        if any(frame.shape[1] > 100 for frame in frames):
            raise RuntimeError("a frame is too big")
        return super().step(tracks, frames)


class ForgetsOne(InStep):
    """Has an answer too few wherever it follows more than one."""

    def step(self, tracks, frames):
        answers = super().step(tracks, frames)
        return answers[1:] if len(answers) > 1 else answers


class KilledOnce(InStep):
    """Kills the run at its process's 35th frame to be tracked, unless the marker file exists.

    The run is this process and, where this is a worker, the one that started it. No video has 35
    frames, so this process has finished one before it dies and never finishes the one it is at.
    """

    def __init__(self, marker):
        super().__init__()
        self.marker, self.frames = Path(marker), 0

    def update(self, frame):
        self.count(1)
        return super().update(frame)

    def step(self, tracks, frames):
        self.count(len(frames))
        return super().step(tracks, frames)

    def count(self, frames):
        self.frames += frames
        if self.frames >= 35 and not self.marker.exists():
            self.marker.touch()
            parent = multiprocessing.parent_process()
            if parent is not None:
                os.kill(parent.pid, signal.SIGKILL)
                while os.getppid() == parent.pid:  # until it is dead indeed
                    time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)


class DiesOnBigFrames(Brightest):
    """Kills its process where frames are wider than 100 px."""

    def update(self, frame):
        if frame.shape[1] > 100:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().update(frame)


class NotANumber(Brightest):
    """Gives a box that is none."""

    def update(self, frame):
        return (float("nan"), 0.0, 1.0, 1.0), 1.0


class InsideOut(Brightest):
    """Gives the corners of a box the wrong way round."""

    def update(self, frame):
        return (30.0, 20.0, -5.0, 10.0), 1.0


class BoxOnly(InStep):
    """Forgets the score."""

    def update(self, frame):
        return (1.0, 2.0, 3.0, 4.0)

    def step(self, tracks, frames):
        return [self.update(frame) for frame in frames]


def no_tracker():
    """Returns something else than a tracker."""
    return object()


def cannot_be_built():
    """Fails."""
    raise RuntimeError("no weights today")


def seconds_of(folder: Path, name: str, kind: str = "tracker") -> np.ndarray | None:
    """Seconds a frame of a sequence's result."""
    return find_results(folder, [name]).read_seconds(name, kind)
