"""Evaluations beside each other: names, runs of one tracker, differences with intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np

from relo_env.benchmark.evaluation import Evaluation, check_comparable, printable
from relo_env.benchmark.metrics import Difference, paired_bootstrap
from relo_env.datasets.registry import is_called_as
from relo_env.errors import DataError


def distinct_names(folders: SequenceOf[Path], dataset: str = "") -> list[str]:
    """Shortest different names for folders of results, made of the ends of their paths.

    A last part that is called as the data set is left out: ``ECO/LaSOT`` is "ECO".

    Args:
        folders: of results, or their zips.
        dataset: name of the data set.
    """
    parts = [tracker_path(folder, dataset).parts for folder in folders]
    lengths = [1] * len(parts)
    while True:
        names = [printable("/".join(p[-n:])) for p, n in zip(parts, lengths, strict=True)]
        repeated = {name for name, count in Counter(names).items() if count > 1}
        longer = [
            n + (name in repeated and n < len(p))
            for p, n, name in zip(parts, lengths, names, strict=True)
        ]
        if longer == lengths:
            return names
        lengths = longer


def tracker_path(folder: Path, dataset: str) -> Path:
    """Path that a tracker is named after: ``ECO`` of the results ``ECO/LaSOT`` or ``ECO.zip``."""
    path = folder.resolve()
    path = path.with_suffix("") if path.suffix.lower() == ".zip" else path
    return path.parent if is_called_as(path.name, dataset) else path


def merge_runs(runs: SequenceOf[Evaluation]) -> Evaluation:
    """One evaluation of several runs of a tracker: the mean of each sequence's figures.

    Args:
        runs: evaluations of one data set and protocol, on the same sequences.

    Raises:
        DataError: they differ in data set, protocol or sequences.
    """
    check_comparable(list(runs))
    first = runs[0]
    if len(runs) == 1:
        return first
    for run in runs[1:]:
        odd = set(first.sequences) ^ set(run.sequences)
        if odd:
            raise DataError(
                f"Runs of {first.tracker} in {first.folder} and {run.folder} are of other "
                f"sequences: only one has {', '.join(sorted(odd)[:5])}. Expected the same ones."
            )
    order = [[run.sequences.index(name) for name in first.sequences] for run in runs]
    pairs = list(zip(runs, order, strict=True))
    total = sum(len(run.run_means) for run in runs)
    return replace(
        first,
        figures={
            name: np.mean([run.figures[name][index] for run, index in pairs], axis=0)
            for name in first.figures
        },
        curves={
            name: np.mean([run.curves[name][index] for run, index in pairs], axis=0)
            for name in first.curves
        },
        run_means=tuple(means for run in runs for means in run.run_means),
        notes=(
            f"figures are means of {total} runs",
            *dict.fromkeys(
                note for run in runs for note in run.notes if not note.startswith("figures are")
            ),
        ),
    )


def merge_by_name(evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    """The evaluations, those of one name merged as runs of one tracker, in order of appearance.

    Raises:
        DataError: runs of a tracker differ in sequences.
    """
    groups: dict[str, list[Evaluation]] = {}
    for evaluation in evaluations:
        groups.setdefault(evaluation.tracker, []).append(evaluation)
    return [merge_runs(group) for group in groups.values()]


def difference(first: Evaluation, second: Evaluation, figure: str) -> Difference:
    """Difference of a figure of two trackers, by the paired bootstrap over common sequences.

    Raises:
        DataError: they differ in data set or protocol, or have no sequence in common.
    """
    check_comparable([first, second])
    at = {name: k for k, name in enumerate(second.sequences)}
    common = [(k, at[name]) for k, name in enumerate(first.sequences) if name in at]
    mine, theirs = (list(index) for index in zip(*common, strict=True)) if common else ([], [])
    if not common or not first.weights[mine].any():
        raise DataError(f"{first.tracker} and {second.tracker} have no sequence in common.")
    return paired_bootstrap(
        first.figures[figure][mine], second.figures[figure][theirs], first.weights[mine]
    )


def differences(
    evaluations: SequenceOf[Evaluation], figure: str
) -> Mapping[tuple[str, str], Difference]:
    """Differences of a figure of every two trackers, by their names in the order given."""
    return {
        (first.tracker, second.tracker): difference(first, second, figure)
        for first, second in combinations(evaluations, 2)
    }
