"""Scores of one sequence: figures and curves of each run, and where the target was lost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from relo_env.benchmark.alignment import file_shift
from relo_env.benchmark.failures import Failure, find_failures
from relo_env.benchmark.metrics import (
    FIGURES,
    FrameErrors,
    normalised_precision_curve,
    overlaps,
    precision_curve,
    success_curve,
)
from relo_env.benchmark.protocols import Protocol, frame_errors
from relo_env.benchmark.truths import Truths
from relo_env.datasets.base import Sequence
from relo_env.errors import DataError

CURVES = ("success", "precision", "normalised precision")


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
            overlaps(np.nan_to_num(runs[0]), sequence.boxes[:first]), sequence.visible[:first]
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
