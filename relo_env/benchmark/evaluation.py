"""Figures of one tracker on one data set, from its result files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np

from relo_env.benchmark.alignment import Aligned, Lengths, align, first_of
from relo_env.benchmark.box_files import SUFFIXES
from relo_env.benchmark.metrics import Failure, bootstrap_interval
from relo_env.benchmark.protocols import Protocol, get_protocol
from relo_env.benchmark.published import Published, find_results, folders_of_results
from relo_env.benchmark.results import Speed, check_data, check_folder, speed_of
from relo_env.benchmark.scoring import CURVES, Score, Truths, score_sequence
from relo_env.datasets.base import Dataset, Sequence
from relo_env.datasets.disk import MissingSequenceError
from relo_env.datasets.registry import is_called_as
from relo_env.errors import ConfigError, DataError, unknown

MANY_ABSENT = 0.2
"""Share of frames without true box above which a table says so."""

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
"""Endings of files that hold results of others, where a folder of results is expected."""


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
        protocol: rules of the figures.
        folder: folder or zip of the boxes.
        sequences: names of the n sequences.
        attributes: challenges of each sequence.
        weights: ``(n,)`` weight of each sequence in a mean: 1, or its frames where the protocol
            pools them, or 0 where none of its frames counts.
        figures: by name, ``(n,)`` each sequence's figure in [0, 1], the mean of its runs.
        curves: by name, ``(n, thresholds)``.
        missing: names of the sequences without result, which are in no mean.
        speed: frames a second where times were kept.
        run_means: by run, the means by name of a figure.
        frames: ``(n,)`` number of frames of each sequence.
        failures: stretches in which the first run was off its target, by sequence.
        notes: sentences about the results that belong under a table.
        aligned: how boxes are read from the folder.
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
    run_means: tuple[Mapping[str, float], ...] = ()
    frames: np.ndarray | None = None
    failures: Mapping[str, list[Failure]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    aligned: Aligned | None = None

    def mean(self, figure: str) -> float:
        """A figure of the whole data set."""
        return float(np.average(self.figures[figure], weights=self.weights))

    def deviation(self, figure: str) -> float | None:
        """Standard deviation of a figure over runs (n - 1); None of a single run."""
        values = [means[figure] for means in self.run_means]
        return float(np.std(values, ddof=1)) if len(values) > 1 else None

    @cached_property
    def intervals(self) -> Mapping[str, tuple[float, float]]:
        """Bootstrap 95 % intervals of the means, over sequences, by figure."""
        return {
            name: bootstrap_interval(values, self.weights) for name, values in self.figures.items()
        }

    def interval(self, figure: str) -> tuple[float, float]:
        """Bootstrap 95 % interval of the mean, over sequences."""
        return self.intervals[figure]

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
    origin: int | None = None,
    lengths: Lengths = "strict",
) -> Evaluation:
    """Figures of the results in a folder or zip of box files, ours or published ones.

    Args:
        folder: holds a box file for every sequence, named and laid out as
            :mod:`relo_env.benchmark.published` says; usually ``<tracker>/<dataset>``.
        dataset: the annotated sequences; its pictures may be missing. Give a
            :class:`~relo_env.benchmark.scoring.Truths` to read annotations once for many trackers.
        protocol: name of a protocol, see :func:`relo_env.benchmark.protocols.get_protocol`, or
            one's own.
        tracker: name in tables; by default the name of the folder, or of the one around it
            where the folder is called as the data set.
        sequences: names of those to evaluate, each once; all of the data set by default.
        allow_missing: evaluate what is there instead of raising.
        origin: coordinates of the top-left pixel in the results, 0 or 1; by default as their first
            lines tell.
        lengths: results with fewer or more lines than frames are refused ("strict"), cut with the
            truth to the common length ("cut"), or held at their last box ("hold").

    Raises:
        ConfigError: there is no such sequence or protocol.
        DataError: a result is missing, malformed or of another length than its sequence; the
            message names every faulty file; or relo made the results on other data.
        HiddenTruthError: no sequence has a box after its first.
    """
    folder, truths = Path(folder), Truths.of(dataset)
    check_data(folder, truths.dataset)
    protocol = get_protocol(protocol) if isinstance(protocol, str) else protocol
    wanted = list(dict.fromkeys(truths.names if sequences is None else sequences))
    for name in wanted if sequences is not None else ():
        if name not in truths:
            raise ConfigError(unknown(f"sequence of {truths.name}", name, truths.names))
    published = find_results(folder, wanted)
    missing = tuple(name for name in wanted if name not in published.boxes)
    if len(missing) == len(wanted) or (missing and not allow_missing):
        raise DataError(_describe_missing(folder, truths, published, wanted, missing))
    present = {name: truths[name] for name in wanted if name in published.boxes}
    if not any(sequence.visible[1:].any() for sequence in present.values()):
        raise HiddenTruthError(
            f"{truths.name}, split {truths.split!r}, has no boxes but the first ones in "
            f"{first_of(list(present))}, so that there are no figures. If a benchmark's server has "
            f"the truth, pack the boxes in {folder} for it with `relo submit`, or with "
            "relo_env.benchmark.submissions.pack; else look at the annotation."
        )
    aligned, boxes = align(
        published, present, origin=origin, lengths=lengths, cut_longer=protocol.cut_longer
    )
    scores = [
        score_sequence(protocol, truths, sequence, boxes.pop(name))
        for name, sequence in present.items()
    ]
    speed, unread = _read_speed(published, present)
    weights = np.array([score.weight for score in scores])
    return Evaluation(
        tracker=tracker or default_name(folder, truths.name),
        dataset=truths.name,
        protocol=protocol,
        folder=folder,
        sequences=tuple(present),
        attributes=tuple(sequence.attributes for sequence in present.values()),
        weights=weights,
        figures={
            name: np.array([score.figures[name].mean() for score in scores])
            for name in protocol.figures
        },
        curves={name: np.stack([score.curves[name] for score in scores]) for name in CURVES},
        missing=missing,
        speed=speed,
        run_means=_run_means(protocol, scores, weights, published.runs),
        frames=np.array([len(sequence) for sequence in present.values()]),
        failures={name: score.failures for name, score in zip(present, scores, strict=True)},
        notes=(*aligned.notes, *_notes(protocol, present, published.runs), *unread),
        aligned=aligned,
    )


def default_name(folder: Path, dataset: str) -> str:
    """Name of a tracker by its folder: the one around it where it is called as the data set."""
    folder = folder.with_suffix("") if folder.suffix.lower() == ".zip" else folder
    same = is_called_as(folder.name, dataset)
    return printable((folder.resolve().parent if same else folder.resolve()).name)


def printable(name: str) -> str:
    """A file's name that can be written as UTF-8: bytes that are no text are escaped."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _describe_missing(
    folder: Path, truths: Truths, published: Published, wanted: list[str], missing: tuple[str, ...]
) -> str:
    if len(missing) == len(wanted):
        if folder.is_dir():
            check_folder(folder, [truths.name])
        inside = [str(folder / place) for place in folders_of_results(published, wanted)]
        if inside:
            unpack = "" if folder.is_dir() else " Unpack it to give one of its folders."
            return (
                f"{folder} holds no results itself; did you mean {first_of(inside)}?{unpack} Give "
                "folders of several runs side by side, with one --name for all of them."
            )
    first = missing[0]
    text = (
        f"{folder} has results for {len(wanted) - len(missing)} of {len(wanted)} sequences of "
        f"{truths.name}; missing: {first_of(missing)}. Looked for {first}.txt, "
        f"{first}/{first}_001.txt and {first}.mat, in any case, with - . or _ between the parts of "
        "the name, and with a prefix or suffix that all files have."
    )
    if published.unmatched:
        return (
            f"{text} Files that match no sequence: {first_of(published.unmatched)}. Check the data "
            f"set and its split (here {truths.split!r}), rename the files, or evaluate the rest: "
            "allow_missing=True, or --allow-missing of `relo report`."
        )
    others = [path for path in published.files if not path.lower().endswith(SUFFIXES)]
    if others and len(missing) == len(wanted):
        packed = any(path.lower().endswith(ARCHIVES) for path in others)
        remedy = "unpack them" if packed else "write them as text, a box a line"
        text += f" There are {first_of(others)}: {remedy}."
    return (
        f"{text} Run the tracker on them, or evaluate the rest: allow_missing=True, or "
        "--allow-missing of `relo report`."
    )


def _run_means(
    protocol: Protocol, scores: list[Score], weights: np.ndarray, runs: int
) -> tuple[dict[str, float], ...]:
    """Means of each run; a sequence with fewer runs stands in with its first."""
    means = []
    for run in range(runs):
        values = {
            name: [
                score.figures[name][run if run < len(score.figures[name]) else 0]
                for score in scores
            ]
            for name in protocol.figures
        }
        means.append({name: float(np.average(v, weights=weights)) for name, v in values.items()})
    return tuple(means)


def _notes(protocol: Protocol, sequences: Mapping[str, Sequence], runs: int) -> Iterator[str]:
    if runs > 1:
        yield f"figures are means of {runs} runs"
    frames = sum(map(len, sequences.values()))
    unlabelled = sum(int((~each.labelled).sum()) for each in sequences.values())
    absent = sum(int((~each.visible).sum()) for each in sequences.values()) - unlabelled
    if unlabelled:
        yield f"{unlabelled} of {frames} frames are not labelled and left out"
    if protocol.count_absent and absent > MANY_ABSENT * (frames - unlabelled):
        yield (
            f"{100 * absent / (frames - unlabelled):.0f} % of the frames have no true box and "
            "count as failures of success, of a perfect tracker too; if nobody labelled them, say "
            "so (labelled.txt, or --dataset-option nan=unlabelled), or choose a protocol that "
            "leaves them out, such as dev"
        )


def _read_speed(published: Published, names: Iterable[str]) -> tuple[Speed, tuple[str, ...]]:
    """Speed, and a note if times cannot be read."""
    published.files.parse_ahead(list(published.seconds.values()))
    try:
        return speed_of(published.read_seconds, names), ()
    except DataError as error:
        return Speed(None, None, None), (f"no speed: {str(error).rstrip('.')}",)


def check_comparable(evaluations: list[Evaluation]) -> None:
    """Check that figures can be compared.

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


def summary_table(evaluations: list[Evaluation], *, ranked: bool = True) -> str:
    """Plain-text table, a line for each tracker; figures in percent, then notes.

    Args:
        evaluations: one for each tracker.
        ranked: best trackers first; else in the order given.

    Raises:
        DataError: there are none, or they differ in data set or protocol.
    """
    check_comparable(evaluations)
    evaluations = rank(evaluations) if ranked else evaluations
    protocol = evaluations[0].protocol
    header = ["tracker", *protocol.figures, "95 % interval", "fps", "sequences"]
    rows = [header]
    for evaluation in evaluations:
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
    title = f"{evaluations[0].dataset}, protocol {protocol.name} ({protocol.description})"
    notes = [f"{each.tracker}: {note}." for each in evaluations for note in each.notes]
    return "\n".join([title, *lines, *notes])
