"""Scores of one sequence: annotation, figures and curves of each run, and failures."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from relo_env.benchmark.alignment import file_shift
from relo_env.benchmark.metrics import (
    FIGURES,
    Failure,
    FrameErrors,
    find_failures,
    normalised_precision_curve,
    overlaps,
    precision_curve,
    success_curve,
)
from relo_env.benchmark.protocols import HUGE, Protocol, frame_errors
from relo_env.datasets.base import Dataset, Sequence
from relo_env.errors import ConfigError, DataError

CURVES = ("success", "precision", "normalised precision")


class Truths(Dataset):
    """Boxes and labels of a data set, kept in memory; no frame is read.

    Evaluations of several trackers share one, so that each annotation is parsed once.

    Args:
        dataset: the annotated sequences; its pictures may be missing.
    """

    name = "Truths"
    splits: ClassVar[tuple[str, ...]] = ()

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.name = dataset.name  # type: ignore[misc]
        self.splits = dataset.splits  # type: ignore[misc]
        self.training_splits = dataset.training_splits  # type: ignore[misc]
        self.split = dataset.split
        self._kept: dict[str, Sequence] = {}

    @classmethod
    def of(cls, dataset: Dataset) -> Truths:
        """The data set itself if it is one, else its truths."""
        return dataset if isinstance(dataset, Truths) else cls(dataset)

    @property
    def names(self) -> SequenceOf[str]:
        """Names of the split's sequences, in the benchmark's order."""
        return self.dataset.names

    def load(self, name: str) -> Sequence:
        """Annotation of one sequence; see ``Dataset.annotation``."""
        if name not in self._kept:
            self._kept[name] = self.dataset.annotation(name)
        return self._kept[name]

    def known_size(self, name: str) -> tuple[int, int] | None:
        """Width and height [px] of a sequence's frames; None if there are no pictures."""
        try:
            return self.dataset.frame_size(name)
        except (DataError, ConfigError):
            return None


@dataclass(frozen=True, eq=False)
class Score:
    """Figures of one sequence.

    Attributes:
        weight: in means over sequences.
        figures: by name, ``(runs,)``.
        curves: by name, ``(thresholds,)``, the mean of the runs.
        failures: of the first run.
    """

    weight: float
    figures: dict[str, np.ndarray]
    curves: dict[str, np.ndarray]
    failures: list[Failure]


def score_sequence(
    protocol: Protocol, truths: Truths, sequence: Sequence, runs: list[np.ndarray]
) -> Score:
    """Score the runs of a tracker on one sequence.

    Args:
        protocol: rules of the figures.
        truths: data set of the sequence.
        sequence: its annotation.
        runs: boxes of each run, aligned with the annotation.

    Raises:
        DataError: the protocol does not take a box, or needs pictures that are missing.
    """
    errors = [_errors(protocol, truths, sequence, boxes) for boxes in runs]
    curves = [
        (
            success_curve(each, at_threshold=protocol.at_threshold),
            precision_curve(each),
            normalised_precision_curve(each),
        )
        for each in errors
    ]
    count, first = len(errors[0]), len(runs[0])
    return Score(
        weight=float(count if protocol.pooled else count > 0),
        figures={
            name: np.array([FIGURES[name](each) for each in errors]) for name in protocol.figures
        },
        curves={
            name: np.mean(of_runs, axis=0)
            for name, of_runs in zip(CURVES, zip(*curves, strict=True), strict=True)
        },
        failures=find_failures(
            overlaps(np.where(np.abs(runs[0]) < HUGE, runs[0], 0.0), sequence.boxes[:first]),
            sequence.visible[:first],
        ),
    )


def _errors(
    protocol: Protocol, truths: Truths, sequence: Sequence, boxes: np.ndarray
) -> FrameErrors:
    n = len(boxes)  # fewer than frames where both are cut to the common length
    truth = sequence.boxes[:n]
    size = _frame_size(truths, sequence, boxes) if protocol.bounded else None
    try:
        return frame_errors(
            protocol,
            boxes,
            truth,
            sequence.visible[:n],
            labelled=sequence.labelled[:n],
            dataset=truths.name,
            frame_size=size,
            file_shift=file_shift(sequence),
        )
    except DataError as error:
        raise DataError(f"Sequence {sequence.name!r}: {error}") from error


def _frame_size(truths: Truths, sequence: Sequence, boxes: np.ndarray) -> tuple[int, int]:
    """Width and height [px] of the frames, or of the true boxes' extent where that is enough.

    Raises:
        DataError: there are no pictures, and a box reaches beyond all true ones.
    """
    size = truths.known_size(sequence.name)
    if size is not None:
        return size
    shown = sequence.boxes[sequence.visible]
    width, height = (shown[:, :2] + shown[:, 2:]).max(0)
    if (np.nan_to_num(boxes[:, :2] + boxes[:, 2:]) > [width, height]).any():
        raise DataError(
            f"Sequence {sequence.name!r}: boxes reach beyond all true ones, where this protocol "
            "cuts them at the frame's edge, but there is no picture to tell its size. Copy the "
            "first frame of the sequence, or choose another protocol."
        )
    return width, height
