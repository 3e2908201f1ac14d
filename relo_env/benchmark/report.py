"""One self-contained HTML page about trackers on a data set: tables, plots and playing clips."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from relo_env.benchmark.clips import TRUE_COLOUR, Clip, Track, make_clip
from relo_env.benchmark.evaluation import CURVES, Evaluation, check_comparable
from relo_env.benchmark.failures import Failure, find_failures
from relo_env.benchmark.metrics import overlaps
from relo_env.benchmark.plots import attribute_radar, colour, curve_plot, to_svg
from relo_env.benchmark.results import read_boxes, read_score_maps
from relo_env.datasets.base import Dataset, Sequence
from relo_env.files import write_text

CLIPS = 3
"""Of each kind: best, worst, recovered."""
CONTEXT = 8
"""Frames before and after a failure in its clip."""


def write_report(evaluations: list[Evaluation], dataset: Dataset, out: str | Path) -> Path:
    """Write ``index.html``, which needs no other file and no network.

    Args:
        evaluations: one for each tracker; the clips are chosen by the first one's figures.
        dataset: what they were evaluated on, with its frames.
        out: folder of the page, made if need be.

    Returns:
        The page.

    Raises:
        DataError: the evaluations differ in data set or protocol.
        FrameError: a frame of a clip cannot be read.
    """
    check_comparable(evaluations)
    page = _environment().get_template("report.html").render(_Page(evaluations, dataset).context())
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "index.html", page)
    return out / "index.html"


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
    """Frames a second in a table; a dash where nobody measured."""
    if fps is None:
        return "–"
    return ">9999" if fps > 9999 else f"{fps:.{0 if fps >= 10 else 1}f}"


@dataclass(frozen=True)
class _Lost:
    """A failure with who failed where."""

    tracker: int
    sequence: str
    failure: Failure


class _Page:
    """Gathers what the template shows."""

    def __init__(self, evaluations: list[Evaluation], dataset: Dataset) -> None:
        self.evaluations = evaluations
        self.dataset = dataset
        self.protocol = evaluations[0].protocol

    def context(self) -> dict[str, Any]:
        """Variables of ``report.html``."""
        first = self.evaluations[0]
        order = np.argsort(-first.figures[self.protocol.headline], kind="stable")
        names = [first.sequences[i] for i in order if first.weights[i] > 0]
        return {
            "dataset": first.dataset,
            "protocol": self.protocol,
            "colours": [colour(i) for i in range(len(self.evaluations))],
            "true_colour": TRUE_COLOUR,
            "trackers": [evaluation.tracker for evaluation in self.evaluations],
            "summary": [self._summary_row(evaluation) for evaluation in self.evaluations],
            "plots": list(self._plots()),
            "sequences": list(self._sequence_rows()),
            "marked": any(sequence.attributes for sequence in self._sequences.values()),
            "failures": self.failures,
            "clip_groups": {
                f"Best of {first.tracker}": [self._whole(name) for name in names[:CLIPS]],
                f"Worst of {first.tracker}": [
                    self._whole(name) for name in names[CLIPS:][-CLIPS:][::-1]
                ],
                "Lost and found again": [
                    self._around(lost) for lost in self.failures if lost.failure.recovered
                ][:CLIPS],
            },
        }

    def _summary_row(self, evaluation: Evaluation) -> dict[str, Any]:
        figures = self.protocol.figures
        return {
            "tracker": evaluation.tracker,
            "figures": [(evaluation.mean(name), *evaluation.interval(name)) for name in figures],
            "speed": evaluation.speed,
            "done": len(evaluation.sequences),
            "total": len(evaluation.sequences) + len(evaluation.missing),
        }

    def _plots(self) -> Iterator[tuple[str, str]]:
        for curve in CURVES:
            yield f"{curve.capitalize()} plot", to_svg(curve_plot(self.evaluations, curve))
        radar = attribute_radar(self.evaluations, self.protocol.headline)
        if radar is not None:
            yield f"{self.protocol.headline} by attribute", to_svg(radar)

    def _sequence_rows(self) -> Iterator[dict[str, Any]]:
        figures = [
            dict(zip(e.sequences, e.figures[self.protocol.headline], strict=True))
            for e in self.evaluations
        ]
        for name, sequence in self._sequences.items():
            yield {
                "name": name,
                "frames": len(sequence),
                "attributes": " ".join(sequence.attributes),
                "figures": [of_tracker.get(name) for of_tracker in figures],
            }

    @cached_property
    def _sequences(self) -> dict[str, Sequence]:
        """Every sequence that some tracker has a result for, in the data set's order."""
        tracked = {name for evaluation in self.evaluations for name in evaluation.sequences}
        return {name: self.dataset[name] for name in self.dataset.names if name in tracked}

    @cached_property
    def failures(self) -> list[_Lost]:
        """Stretches in which a tracker was lost, the longest first."""
        lost = [
            _Lost(index, name, failure)
            for index, evaluation in enumerate(self.evaluations)
            for name in evaluation.sequences
            for failure in self._failures_of(evaluation, self._sequences[name])
        ]
        return sorted(lost, key=lambda each: -each.failure.length)

    def _failures_of(self, evaluation: Evaluation, sequence: Sequence) -> list[Failure]:
        boxes = read_boxes(evaluation.folder, sequence.name)
        return find_failures(overlaps(boxes, sequence.boxes), sequence.visible)

    def _whole(self, name: str) -> Clip:
        return make_clip(name, self._sequences[name], self._tracks(name))

    def _around(self, lost: _Lost) -> Clip:
        """The stretch with some frames before and after it, the lost tracker first."""
        sequence = self._sequences[lost.sequence]
        tracks = self._tracks(lost.sequence)
        who = self.evaluations[lost.tracker].tracker
        return make_clip(
            f"{who} on {lost.sequence}",
            sequence,
            sorted(tracks, key=lambda track: track.tracker != who),
            max(0, lost.failure.start - CONTEXT),
            min(len(sequence), lost.failure.end + CONTEXT),
        )

    def _tracks(self, name: str) -> list[Track]:
        return [
            Track(
                tracker=evaluation.tracker,
                colour=colour(index),
                boxes=read_boxes(evaluation.folder, name),
                score_maps=read_score_maps(evaluation.folder, name),
            )
            for index, evaluation in enumerate(self.evaluations)
            if name in evaluation.sequences
        ]
