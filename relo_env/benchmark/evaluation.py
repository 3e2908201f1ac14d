"""Figures of one tracker on one data set, from its result files."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from relo_env.benchmark.metrics import (
    FIGURES,
    bootstrap_interval,
    normalised_precision_curve,
    precision_curve,
    success_curve,
)
from relo_env.benchmark.protocols import Protocol, frame_errors, get_protocol
from relo_env.benchmark.results import Speed, boxes_file, check_folder, read_boxes, read_speed
from relo_env.datasets.base import Dataset, Sequence
from relo_env.datasets.disk import MissingSequenceError
from relo_env.errors import DataError

CURVES = ("success", "precision", "normalised precision")


class HiddenTruthError(DataError):
    """Only first boxes are public: a benchmark's server has the others."""


def check_truth(dataset: Dataset) -> None:
    """See that the boxes of a split are there to train or to play on, by its first sequences.

    Raises:
        HiddenTruthError: they have no box after their first.
    """
    if dataset.is_training:
        return
    public = []
    for name in islice(dataset.names, 10):  # names may be endless
        with suppress(MissingSequenceError):
            public.append(dataset[name].visible[1:].any())
    if public and not any(public):
        raise HiddenTruthError(
            f"{dataset.name}, split {dataset.split!r}, has no boxes but the first ones: the "
            "benchmark's server has the truth. Choose a split whose boxes are public; others are "
            f"{', '.join(split for split in dataset.splits if split != dataset.split)}."
        )


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One tracker on n sequences of one data set under one protocol.

    Attributes:
        tracker: name of the tracker.
        dataset: name of the data set.
        protocol: what counted.
        folder: where the boxes were read from.
        sequences: names of the n sequences.
        attributes: challenges of each sequence.
        weights: ``(n,)`` what each sequence weighs in a mean: 1, or its frames where the
            protocol pools them, or 0 where none of its frames counts.
        figures: by name, ``(n,)`` each sequence's figure in [0, 1].
        curves: by name, ``(n, thresholds)``.
        missing: names of the sequences without result, which are in no mean.
        speed: frames a second where times were kept.
    """

    tracker: str
    dataset: str
    protocol: Protocol
    folder: Path
    sequences: tuple[str, ...]
    attributes: tuple[tuple[str, ...], ...]
    weights: np.ndarray
    figures: Mapping[str, np.ndarray]
    curves: Mapping[str, np.ndarray]
    missing: tuple[str, ...]
    speed: Speed

    def mean(self, figure: str) -> float:
        """A figure of the whole data set."""
        return float(np.average(self.figures[figure], weights=self.weights))

    def interval(self, figure: str) -> tuple[float, float]:
        """Bootstrap 95 % interval of the mean, over sequences."""
        return bootstrap_interval(self.figures[figure], self.weights)

    def mean_curve(self, curve: str) -> np.ndarray:
        """A curve of the whole data set, over its thresholds."""
        return np.average(self.curves[curve], axis=0, weights=self.weights)

    def by_attribute(self, figure: str) -> dict[str, float]:
        """Mean of a figure over the sequences of each attribute, in alphabetical order."""
        means = {}
        for attribute in sorted(set().union(*self.attributes)):
            marked = self.weights * [attribute in marks for marks in self.attributes]
            if marked.any():
                means[attribute] = float(np.average(self.figures[figure], weights=marked))
        return means


def evaluate(
    folder: str | Path,
    dataset: Dataset,
    *,
    protocol: str | Protocol = "clean",
    tracker: str | None = None,
    sequences: list[str] | None = None,
    allow_missing: bool = False,
) -> Evaluation:
    """Figures of the results in a folder of text files, ours or published ones.

    Args:
        folder: holds ``<sequence>.txt`` for every sequence; usually ``<tracker>/<dataset>``.
        dataset: the annotated sequences.
        protocol: name of a protocol, or one's own.
        tracker: name in tables; by default the name of the folder, or of the one around it
            where the folder is called as the data set.
        sequences: names of those to evaluate, each once; all of the data set by default.
        allow_missing: evaluate what is there instead of raising.

    Raises:
        DataError: a result is missing, malformed or of another length than its sequence.
        HiddenTruthError: no sequence has a box after its first.
    """
    folder = Path(folder)
    protocol = get_protocol(protocol) if isinstance(protocol, str) else protocol
    wanted = list(dict.fromkeys(dataset.names if sequences is None else sequences))
    missing = tuple(name for name in wanted if boxes_file(folder, name) is None)
    present = [name for name in wanted if name not in missing]
    if not present:
        check_folder(folder, [dataset.name])
    if not present or (missing and not allow_missing):
        some = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
        raise DataError(
            f"{folder} has results for {len(present)} of {len(wanted)} sequences of "
            f"{dataset.name}; missing: {some}. Run the tracker on them, or evaluate the rest: "
            "allow_missing=True, or --allow-missing of `relo report`."
        )
    if not any(dataset[name].visible[1:].any() for name in present):
        raise HiddenTruthError(
            f"{dataset.name}, split {dataset.split!r}, has no boxes but the first ones, so that "
            f"there are no figures: the benchmark's server has the truth. The boxes are in {folder}"
            "; pack them for it with `relo submit`, or with relo_env.benchmark.submissions.pack."
        )
    same = folder.name.lower() == dataset.name.lower()
    rows = [_evaluate_sequence(protocol, folder, dataset[name], dataset.name) for name in present]
    return Evaluation(
        tracker=tracker or (folder.parent if same else folder).name,
        dataset=dataset.name,
        protocol=protocol,
        folder=folder,
        sequences=tuple(present),
        attributes=tuple(row.attributes for row in rows),
        weights=np.array([row.weight for row in rows]),
        figures={name: np.array([row.figures[name] for row in rows]) for name in protocol.figures},
        curves={name: np.stack([row.curves[name] for row in rows]) for name in CURVES},
        missing=missing,
        speed=read_speed(folder, present),
    )


@dataclass(frozen=True, eq=False)
class _Row:
    attributes: tuple[str, ...]
    weight: float
    figures: dict[str, float]
    curves: dict[str, np.ndarray]


def _evaluate_sequence(protocol: Protocol, folder: Path, sequence: Sequence, dataset: str) -> _Row:
    boxes = read_boxes(folder, sequence.name)
    if len(boxes) != len(sequence):
        raise DataError(
            f"{boxes_file(folder, sequence.name)} has {len(boxes)} boxes, expected "
            f"{len(sequence)}: one for each frame, the first included."
        )
    errors = frame_errors(
        protocol,
        boxes,
        sequence.boxes,
        sequence.visible,
        dataset=dataset,
        frame_size=sequence.frames.read(0).shape[1::-1] if protocol.bounded else None,
    )
    return _Row(
        attributes=sequence.attributes,
        weight=float(len(errors) if protocol.pooled else len(errors) > 0),
        figures={name: FIGURES[name](errors) for name in protocol.figures},
        curves={
            "success": success_curve(errors, at_threshold=protocol.at_threshold),
            "precision": precision_curve(errors),
            "normalised precision": normalised_precision_curve(errors),
        },
    )


def check_comparable(evaluations: list[Evaluation]) -> None:
    """See that figures may stand beside each other.

    Raises:
        DataError: there are none, or they differ in data set or protocol.
    """
    kinds = {f"{e.dataset} under protocol {e.protocol.name}" for e in evaluations}
    if len(kinds) != 1:
        raise DataError(
            f"Evaluations to compare are of {', '.join(sorted(kinds)) or 'nothing'}; expected one "
            "data set and one protocol."
        )


def rank(evaluations: list[Evaluation]) -> list[Evaluation]:
    """The evaluations, best first.

    Raises:
        DataError: there are none, or they differ in data set or protocol.
    """
    check_comparable(evaluations)
    return sorted(evaluations, key=lambda e: -e.mean(e.protocol.headline))


def summary_table(evaluations: list[Evaluation]) -> str:
    """Plain-text table, a row for each tracker, best first; figures in percent.

    Raises:
        DataError: there are none, or they differ in data set or protocol.
    """
    ranked = rank(evaluations)
    best, protocol = ranked[0], ranked[0].protocol
    header = ["tracker", *protocol.figures, "95 % interval", "fps", "sequences"]
    rows = [header]
    for evaluation in ranked:
        low, high = evaluation.interval(protocol.headline)
        fps = evaluation.speed.tracker
        done = len(evaluation.sequences)
        rows.append(
            [
                evaluation.tracker,
                *(f"{100 * evaluation.mean(figure):.1f}" for figure in protocol.figures),
                f"{100 * low:.1f} .. {100 * high:.1f}",
                f"{fps:.0f}" if fps else "-",
                f"{done}/{done + len(evaluation.missing)}",
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    title = f"{best.dataset}, protocol {protocol.name} ({protocol.description})"
    return "\n".join([title, *lines])
