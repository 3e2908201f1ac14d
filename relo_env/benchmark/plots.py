"""Plots: success and precision curves, attribute radar, learning curves.

Every function returns a :class:`matplotlib.figure.Figure` of its own and touches no global state.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from relo_env.benchmark.evaluation import Evaluation
from relo_env.benchmark.metrics import NORMALISED_THRESHOLDS, OVERLAP_THRESHOLDS, PIXEL_THRESHOLDS
from relo_env.files import replacing, write_text

COLOURS = ("#0072b2", "#d55e00", "#cc79a7", "#e69f00", "#56b4e9", "#8172b2", "#a0522d", "#7f7f7f")
"""Of trackers, told apart by colour-blind readers and on light and dark ground; no green."""

LINE_STYLES = ("-", "--", ":", "-.")
_STYLE: dict[Any, Any] = {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "relo"}
_INK = "#010203"  # stands for the page's text colour in SVG
_CURVES = {
    "success": (
        OVERLAP_THRESHOLDS,
        "overlap threshold",
        "success rate",
        ("success_auc", "TN_success", "AO"),
    ),
    "precision": (
        PIXEL_THRESHOLDS,
        "centre error threshold [px]",
        "precision",
        ("P", "TN_precision"),
    ),
    "normalised precision": (
        NORMALISED_THRESHOLDS,
        "normalised centre error threshold",
        "normalised precision",
        ("P_norm", "TN_norm_precision"),
    ),
}


def colour(index: int) -> str:
    """Colour of the tracker at a place in a list."""
    return COLOURS[index % len(COLOURS)]


def line_style(index: int) -> str:
    """Dashes of the tracker at a place in a list: another for each round of the colours."""
    return LINE_STYLES[index // len(COLOURS) % len(LINE_STYLES)]


def curve_plot(evaluations: Sequence[Evaluation], curve: str) -> Figure:
    """Mean "success", "precision" or "normalised precision" curve of each tracker.

    The legend has the best tracker first, by the figure of the curve that the protocol has.
    """
    thresholds, x_label, y_label, names = _CURVES[curve]
    figure, axes = _new_plot(x_label, y_label)
    score = next((name for name in names if name in evaluations[0].figures), None)
    for evaluation, style in _styled(evaluations, score):
        axes.plot(thresholds, evaluation.mean_curve(curve), **style)
    axes.set(xlim=(thresholds[0], thresholds[-1]), ylim=(0, 1))
    _add_legend(figure, axes)
    return figure


def _styled(
    evaluations: Sequence[Evaluation], score: str | None
) -> list[tuple[Evaluation, dict[str, Any]]]:
    """Evaluations with colour, dashes and label of their lines, the best by a figure first."""
    styled = [
        (
            evaluation,
            {
                "color": colour(index),
                "linestyle": line_style(index),
                "label": evaluation.tracker
                + (f" [{100 * evaluation.mean(score):.1f}]" if score else ""),
            },
        )
        for index, evaluation in enumerate(evaluations)
    ]
    return sorted(styled, key=lambda pair: -pair[0].mean(score)) if score else styled


def _add_legend(figure: Figure, axes: Axes) -> None:
    """Legend below a plot, which keeps its size however many trackers there are."""
    figure.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16),
        bbox_transform=axes.transAxes,
        ncols=2,
        fontsize="small",
        frameon=False,
        labelcolor=_INK,
    )


def report_plots(evaluations: Sequence[Evaluation]) -> dict[str, Figure]:
    """Plots of one data set by their name: a curve each, and attributes where there are some."""
    plots = {curve: curve_plot(evaluations, curve) for curve in _CURVES}
    radar = attribute_radar(evaluations, evaluations[0].protocol.headline)
    return plots if radar is None else {**plots, "attributes": radar}


def attribute_radar(evaluations: Sequence[Evaluation], figure_name: str) -> Figure | None:
    """A figure by attribute, a polygon for each tracker; None with fewer than 3 attributes.

    Attributes of which a tracker has no sequence are left out.
    """
    means = {each: each.by_attribute(figure_name) for each in evaluations}
    attributes = sorted(set.intersection(*map(set, means.values())))
    if len(attributes) < 3:
        return None
    figure = Figure(figsize=(4.8, 3.6))
    axes: Any = figure.add_subplot(projection="polar")
    angles = np.linspace(0, 2 * np.pi, len(attributes), endpoint=False)
    for evaluation, style in _styled(evaluations, figure_name):
        radii = [means[evaluation][attribute] for attribute in attributes]
        axes.plot(np.append(angles, angles[0]), np.append(radii, radii[0]), **style)
    axes.set_rlabel_position(np.degrees(angles[1] / 2))
    axes.set_xticks(angles, [attribute.replace("_", " ") for attribute in attributes])
    axes.set_ylim(0, 1)
    axes.tick_params(axis="y", labelsize="x-small")
    _add_legend(figure, axes)
    _ink(axes)
    return figure


def learning_curves(
    runs: Mapping[str, tuple[np.ndarray, np.ndarray]], *, x_label: str, y_label: str
) -> Figure:
    """A value over the course of training.

    Args:
        runs: by name, the steps ``(n,)`` and values ``(n,)`` of one run or ``(seeds, n)`` of
            several, drawn as their mean with a band from the least to the greatest.
        x_label: of the steps.
        y_label: of the values.
    """
    figure, axes = _new_plot(x_label, y_label)
    for index, (name, (steps, values)) in enumerate(runs.items()):
        values = np.atleast_2d(values)
        axes.plot(steps, values.mean(0), color=colour(index), label=name)
        if len(values) > 1:
            axes.fill_between(
                steps, values.min(0), values.max(0), color=colour(index), alpha=0.15, linewidth=0
            )
    axes.legend(frameon=False, labelcolor=_INK)
    return figure


@contextmanager
def _style() -> Iterator[None]:
    """Settings of files; a letter that the font lacks, in a tracker's name, is an empty box."""
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as its file's ending says (.svg, .png, .pdf), black on white."""
    with _style():
        metadata = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
        figure.savefig(
            path,
            facecolor="white",
            dpi=150,
            bbox_inches=_extent(figure),
            metadata=metadata.get(Path(path).suffix.lower()),
        )


def _extent(figure: Figure) -> Bbox:
    """Box [inches] around everything drawn; ``bbox_inches="tight"`` draws the figure to find it."""
    return figure.get_tightbbox().padded(mpl.rcParams["savefig.pad_inches"])


def to_svg(figure: Figure) -> str:
    """A figure as an ``<svg>`` element that takes the text colour of the page around it."""
    buffer = io.StringIO()
    with _style():
        figure.savefig(buffer, format="svg", bbox_inches=_extent(figure), metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :].replace(_INK, "currentColor")


def write_plots(
    plots: Mapping[str, Figure], pictures: Mapping[str, str], out: str | Path
) -> list[Path]:
    """Write each plot as PDF and SVG, named after it.

    Args:
        plots: by name.
        pictures: the same as `to_svg` gives them.
        out: folder of the files, made if need be.

    Returns:
        The files.
    """
    files = []
    for name, figure in plots.items():
        stem = Path(out) / name.replace(" ", "-")
        write_text(stem.with_suffix(".svg"), pictures[name].replace("currentColor", "#000000"))
        with replacing(stem.with_suffix(".pdf")) as temporary:
            save(figure, temporary)
        files += [stem.with_suffix(".svg"), stem.with_suffix(".pdf")]
    return files


def _new_plot(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.8, 3.6))
    axes = figure.add_subplot()
    axes.set(xlabel=x_label, ylabel=y_label)
    _ink(axes)
    return figure, axes


def _ink(axes: Axes) -> None:
    """Draw everything but the data in the page's text colour, on no ground."""
    axes.figure.set_facecolor("none")
    axes.set_facecolor("none")
    axes.grid(color=_INK, alpha=0.15)
    axes.tick_params(colors=_INK)
    axes.xaxis.label.set_color(_INK)
    axes.yaxis.label.set_color(_INK)
    for spine in axes.spines.values():
        spine.set_color(_INK)
        spine.set_alpha(0.4)
