"""One self-contained HTML page about trackers on a data set: tables, plots and playing clips."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from relo_env.benchmark.comparison import difference
from relo_env.benchmark.evaluation import Evaluation, check_comparable
from relo_env.benchmark.filmstrips import TRUE_COLOUR, Filmstrip, Overlay, make_filmstrip
from relo_env.benchmark.metrics import Failure
from relo_env.benchmark.plots import colour, report_plots, to_svg
from relo_env.benchmark.protocols import Protocol
from relo_env.benchmark.results import read_score_maps
from relo_env.datasets.base import Dataset, Sequence
from relo_env.errors import DataError
from relo_env.files import write_text

CLIPS = 3
"""Of each kind: best, worst, recovered."""
CONTEXT = 8
"""Frames before and after a failure in its clip."""
FAILURES = 500
"""Longest failures in the table; all of LaSOT's would make the page slow."""


def write_report(
    evaluations: list[Evaluation],
    dataset: Dataset,
    out: str | Path,
    *,
    clips: bool = True,
    pictures: Mapping[str, str] | None = None,
) -> Path:
    """Write ``index.html``, which needs no other file and no network.

    Args:
        evaluations: one for each tracker; the clips are chosen by the first one's figures.
        dataset: what they were evaluated on. Where its pictures are missing, the page has no clips
            and says so.
        out: folder of the page, made if need be.
        clips: show clips of the best and worst sequences and of recoveries.
        pictures: plots as SVG by name; by default those of `relo_env.benchmark.plots.report_plots`.

    Returns:
        The page.

    Raises:
        DataError: the evaluations differ in data set or protocol.
    """
    check_comparable(evaluations)
    if pictures is None:
        pictures = {name: to_svg(figure) for name, figure in report_plots(evaluations).items()}
    page = _Page(evaluations, dataset, pictures)
    path = Path(out) / "index.html"
    write_text(path, _environment().get_template("report.html").render(page.context(clips=clips)))
    return path


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("relo_env.benchmark"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.1f}"
    environment.filters["rate"] = _rate
    return environment


def _rate(fps: float | None) -> str:
    """Frames a second in a table; a dash if it was not measured."""
    if fps is None:
        return "–"
    return ">9999" if fps > 9999 else f"{fps:.{0 if fps >= 10 else 1}f}"


@dataclass(frozen=True)
class _Lost:
    """A failure with who failed where."""

    tracker: int
    sequence: str
    failure: Failure


@dataclass(eq=False)
class _Page:
    """Gathers what the template shows."""

    evaluations: list[Evaluation]
    dataset: Dataset
    pictures: Mapping[str, str]

    @property
    def protocol(self) -> Protocol:
        return self.evaluations[0].protocol

    def context(self, *, clips: bool) -> dict[str, Any]:
        """Variables of ``report.html``."""
        first = self.evaluations[0]
        groups, without_clips = self._clip_groups() if clips else ({}, "")
        return {
            "dataset": first.dataset,
            "protocol": self.protocol,
            "colours": [colour(i) for i in range(len(self.evaluations))],
            "true_colour": TRUE_COLOUR,
            "trackers": [evaluation.tracker for evaluation in self.evaluations],
            "notes": [
                f"{each.tracker}: {note}" for each in self.evaluations for note in each.notes
            ],
            "summary": [self._summary_row(evaluation) for evaluation in self.evaluations],
            "differences": list(self._differences()),
            "plots": [(_caption(name), svg) for name, svg in self.pictures.items()],
            "sequences": list(self._sequence_rows()),
            "marked": any(any(each.attributes) for each in self.evaluations),
            "failures": self.failures[:FAILURES],
            "more_failures": len(self.failures[FAILURES:]),
            "clip_groups": groups,
            "without_clips": without_clips,
        }

    def _summary_row(self, evaluation: Evaluation) -> dict[str, Any]:
        figures = self.protocol.figures
        return {
            "tracker": evaluation.tracker,
            "figures": [
                (evaluation.mean(name), *evaluation.interval(name), evaluation.deviation(name))
                for name in figures
            ],
            "speed": evaluation.speed,
            "done": len(evaluation.sequences),
            "total": len(evaluation.sequences) + len(evaluation.missing),
        }

    def _differences(self) -> Iterator[dict[str, Any]]:
        """Differences of each tracker to the best one, by the paired bootstrap."""
        headline = self.protocol.headline
        best = max(self.evaluations, key=lambda each: each.mean(headline))
        for evaluation in self.evaluations:
            if evaluation is not best:
                yield {
                    "tracker": evaluation.tracker,
                    "best": best.tracker,
                    "value": difference(evaluation, best, headline),
                }

    def _sequence_rows(self) -> Iterator[dict[str, Any]]:
        rows: dict[str, dict[str, Any]] = {}
        for k, evaluation in enumerate(self.evaluations):
            values = evaluation.figures[self.protocol.headline]
            for i, name in enumerate(evaluation.sequences):
                row = rows.setdefault(
                    name,
                    {
                        "name": name,
                        "frames": 0 if evaluation.frames is None else int(evaluation.frames[i]),
                        "attributes": " ".join(evaluation.attributes[i]),
                        "figures": [None] * len(self.evaluations),
                    },
                )
                row["figures"][k] = values[i]
        return iter(rows.values())

    @cached_property
    def failures(self) -> list[_Lost]:
        """Stretches in which a tracker was lost, the longest first."""
        lost = [
            _Lost(index, name, failure)
            for index, evaluation in enumerate(self.evaluations)
            for name, failures in evaluation.failures.items()
            for failure in failures
        ]
        return sorted(lost, key=lambda each: -each.failure.length)

    def _clip_groups(self) -> tuple[dict[str, list[Filmstrip]], str]:
        """Clips by title, and why some are missing."""
        first = self.evaluations[0]
        order = np.argsort(-first.figures[self.protocol.headline], kind="stable")
        names = [first.sequences[i] for i in order if first.weights[i] > 0]
        found_again = [lost for lost in self.failures if lost.failure.recovered]
        faults: list[str] = []
        groups = {
            f"Best of {first.tracker}": _made(self._whole, names[:CLIPS], faults),
            f"Worst of {first.tracker}": _made(self._whole, names[CLIPS:][-CLIPS:][::-1], faults),
            "Lost and found again": _made(self._around, found_again[:CLIPS], faults),
        }
        return groups, faults[0].splitlines()[0] if faults else ""

    def _whole(self, name: str) -> Filmstrip:
        sequence = self.dataset[name]
        return make_filmstrip(name, sequence, self._overlays(sequence))

    def _around(self, lost: _Lost) -> Filmstrip:
        """The stretch with some frames before and after it, the lost tracker first."""
        sequence = self.dataset[lost.sequence]
        overlays = self._overlays(sequence)
        who = self.evaluations[lost.tracker].tracker
        return make_filmstrip(
            f"{who} on {lost.sequence}",
            sequence,
            sorted(overlays, key=lambda overlay: overlay.tracker != who),
            max(0, lost.failure.start - CONTEXT),
            min(len(sequence), lost.failure.end + CONTEXT),
        )

    def _overlays(self, sequence: Sequence) -> list[Overlay]:
        return [
            Overlay(
                tracker=evaluation.tracker,
                colour=colour(index),
                boxes=_boxes(evaluation, sequence),
                score_maps=_score_maps(evaluation, sequence),
            )
            for index, evaluation in enumerate(self.evaluations)
            if sequence.name in evaluation.sequences
        ]


def _made(
    make: Callable[[Any], Filmstrip], of: Iterable[Any], faults: list[str]
) -> list[Filmstrip]:
    """The clips that can be made; faults of the others are noted."""
    clips = []
    for each in of:
        try:
            clips.append(make(each))
        except DataError as error:
            faults.append(str(error))
    return clips


def _boxes(evaluation: Evaluation, sequence: Sequence) -> np.ndarray:
    """Boxes of the first run, one a frame; NaN after the last of cut results."""
    boxes = np.full((len(sequence), 4), np.nan)
    if evaluation.aligned is not None:
        read = evaluation.aligned.read(sequence)
        boxes[: len(read)] = read
    return boxes


def _score_maps(evaluation: Evaluation, sequence: Sequence) -> np.ndarray | None:
    maps = read_score_maps(evaluation.folder, sequence.name) if evaluation.folder.is_dir() else None
    return maps if maps is not None and len(maps) == len(sequence) else None


def _caption(plot: str) -> str:
    return "By attribute" if plot == "attributes" else f"{plot.capitalize()} plot"
