"""Tables for papers: comma-separated values for programs, and LaTeX that needs ``booktabs``."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Sequence as SequenceOf
from pathlib import Path
from typing import Any

from relo_env.benchmark.comparison import differences
from relo_env.benchmark.evaluation import Evaluation, check_comparable, rank
from relo_env.files import write_text

_LATEX = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
    }
)
_HEADERS = {
    "success_auc": "AUC",
    "OP50": r"OP$_{50}$",
    "OP75": r"OP$_{75}$",
    "P": "$P$",
    "P_norm": r"$P_\mathrm{norm}$",
    "P_norm_auc": r"$P_\mathrm{norm}$ AUC",
    "SR0.5": r"SR$_{0.5}$",
    "SR0.75": r"SR$_{0.75}$",
    "TN_success": "Success",
    "TN_precision": "Precision",
    "TN_norm_precision": r"Precision$_\mathrm{norm}$",
}
Cell = Callable[[Evaluation, str], str]


def write_tables(
    evaluations: SequenceOf[Evaluation], out: str | Path, *, ranked: bool = True
) -> list[Path]:
    """Write the tables of one data set.

    ``table.csv`` has a line for each tracker, ``sequences.csv`` one for each tracker and sequence,
    ``table.tex`` is LaTeX. ``table-intervals.tex`` has the bootstrap intervals too. Several
    trackers add ``differences.csv``, attributes ``attributes.csv`` and ``attributes.tex``.

    Args:
        evaluations: one for each tracker.
        out: folder of the tables, made if need be.
        ranked: best trackers first; else in the order given.

    Returns:
        The files.

    Raises:
        DataError: there are no evaluations, or they differ in data set or protocol.
    """
    check_comparable(list(evaluations))
    evaluations = rank(list(evaluations)) if ranked else list(evaluations)
    one = {evaluations[0].dataset: evaluations}
    tables = {
        "table.csv": _csv(_tracker_line(evaluation) for evaluation in evaluations),
        "sequences.csv": _csv(line for each in evaluations for line in _sequence_lines(each)),
        "table.tex": latex_table(one),
        "table-intervals.tex": latex_table(one, cell=interval_cell),
    }
    if len(evaluations) > 1:
        tables["differences.csv"] = _csv(_difference_lines(evaluations))
    if any(each.by_attribute(each.protocol.headline) for each in evaluations):
        tables["attributes.csv"] = _csv(x for each in evaluations for x in _attribute_lines(each))
        tables["attributes.tex"] = latex_attributes(evaluations)
    return _write(tables, Path(out))


def write_overview(groups: Mapping[str, SequenceOf[Evaluation]], out: str | Path) -> list[Path]:
    """Write ``table.csv``, ``table.tex`` and ``table-intervals.tex`` of several data sets.

    Args:
        groups: evaluations by data set, each in the order of its trackers.
        out: folder of the tables, made if need be.

    Returns:
        The files.
    """
    tables = {
        "table.csv": _csv(_tracker_line(each) for group in groups.values() for each in group),
        "table.tex": latex_table(groups),
        "table-intervals.tex": latex_table(groups, cell=interval_cell),
    }
    return _write(tables, Path(out))


def _write(tables: Mapping[str, str], out: Path) -> list[Path]:
    for name, text in tables.items():
        write_text(out / name, text)
    return [out / name for name in tables]


def _csv(lines: Iterable[Mapping[str, Any]]) -> str:
    """Text of a table; a column that a line lacks is empty there."""
    lines = list(lines)
    buffer = io.StringIO()
    columns = dict.fromkeys(name for line in lines for name in line)
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()


def _tracker_line(evaluation: Evaluation) -> dict[str, Any]:
    """Means in percent, their intervals and deviations over runs, and speed."""
    figures, fps = evaluation.figures, evaluation.speed.tracker
    done = len(evaluation.sequences)
    bounds = {name: evaluation.interval(name) for name in figures}
    deviations = {name: evaluation.deviation(name) for name in figures}
    return {
        "tracker": evaluation.tracker,
        "dataset": evaluation.dataset,
        "protocol": evaluation.protocol.name,
        **{name: _percent(evaluation.mean(name)) for name in figures},
        **{
            f"{name}_{end}": _percent(bound)
            for name, (low, high) in bounds.items()
            for end, bound in (("low", low), ("high", high))
        },
        **{
            f"{name}_std": _percent(value)
            for name, value in deviations.items()
            if value is not None
        },
        "fps": "" if fps is None else f"{fps:.2f}",
        "sequences": done,
        "sequences_in_all": done + len(evaluation.missing),
    }


def _sequence_lines(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    for index, sequence in enumerate(evaluation.sequences):
        yield {
            "tracker": evaluation.tracker,
            "sequence": sequence,
            **{name: _percent(values[index]) for name, values in evaluation.figures.items()},
            "weight": f"{evaluation.weights[index]:.0f}",
        }


def _attribute_lines(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """Means over the sequences of each attribute."""
    means = {name: evaluation.by_attribute(name) for name in evaluation.figures}
    for attribute in next(iter(means.values())):
        yield {
            "tracker": evaluation.tracker,
            "attribute": attribute,
            "sequences": sum(attribute in marks for marks in evaluation.attributes),
            **{name: _percent(of_attribute[attribute]) for name, of_attribute in means.items()},
        }


def _difference_lines(evaluations: SequenceOf[Evaluation]) -> Iterator[dict[str, Any]]:
    """Differences of the headline figure, by the paired bootstrap."""
    figure = evaluations[0].protocol.headline
    for (first, second), difference in differences(evaluations, figure).items():
        yield {
            "first": first,
            "second": second,
            "figure": figure,
            "difference": _percent(difference.mean),
            "low": _percent(difference.low),
            "high": _percent(difference.high),
            "p_value": f"{difference.p_value:.4f}",
        }


def _percent(share: float) -> str:
    return f"{100 * share:.4f}"


def mean_cell(evaluation: Evaluation, figure: str) -> str:
    """Mean in percent, with the deviation over runs where there are several."""
    deviation = evaluation.deviation(figure)
    mean = f"{100 * evaluation.mean(figure):.1f}"
    return mean if deviation is None else rf"{mean} $\pm$ {100 * deviation:.1f}"


def interval_cell(evaluation: Evaluation, figure: str) -> str:
    """Mean in percent with its 95 % interval."""
    low, high = evaluation.interval(figure)
    return rf"{mean_cell(evaluation, figure)} {{\scriptsize [{100 * low:.1f}, {100 * high:.1f}]}}"


def latex_table(
    groups: Mapping[str, SequenceOf[Evaluation]] | SequenceOf[Evaluation],
    *,
    cell: Cell = mean_cell,
) -> str:
    """A ``tabular`` of means in percent, the best of each column in bold.

    Args:
        groups: evaluations by data set, each in the order of its lines; or those of one data set,
            which are ranked.
        cell: text of a cell.

    Raises:
        DataError: evaluations of one data set differ in data set or protocol, or there are none.
    """
    if not isinstance(groups, Mapping):
        ranked = rank(list(groups))
        groups = {ranked[0].dataset: ranked}
    columns = [(dataset, name) for dataset, group in groups.items() for name in group[0].figures]
    trackers = list(dict.fromkeys(each.tracker for group in groups.values() for each in group))
    of = {(dataset, each.tracker): each for dataset, group in groups.items() for each in group}
    cells = [
        _latex_column([of.get((dataset, tracker)) for tracker in trackers], figure, cell)
        for dataset, figure in columns
    ]
    return _tabular(
        [
            f"{dataset}, protocol {rules.name} ({rules.description}), in percent"
            for dataset, rules in ((name, group[0].protocol) for name, group in groups.items())
        ],
        _spanned([dataset for dataset, _ in columns]) if len(groups) > 1 else [],
        ["tracker", *(_HEADERS.get(name, _escape(name)) for _, name in columns)],
        zip(map(_escape, trackers), *cells, strict=True),
    )


def latex_attributes(evaluations: SequenceOf[Evaluation]) -> str:
    """A ``tabular`` of the headline figure in percent: a line for each attribute."""
    figure = evaluations[0].protocol.headline
    means = [each.by_attribute(figure) for each in evaluations]
    attributes = sorted(set().union(*means))
    lines = []
    for attribute in attributes:
        values = [of_tracker.get(attribute) for of_tracker in means]
        cells = ["--" if value is None else f"{100 * value:.1f}" for value in values]
        lines.append([_escape(attribute), *_bold(cells, values)])
    first = evaluations[0]
    return _tabular(
        [f"{first.dataset}, {figure} under protocol {first.protocol.name}, in percent"],
        [],
        ["attribute", *(_escape(each.tracker) for each in evaluations)],
        lines,
    )


def _latex_column(column: list[Evaluation | None], figure: str, cell: Cell) -> list[str]:
    values = [None if each is None else each.mean(figure) for each in column]
    return _bold(["--" if each is None else cell(each, figure) for each in column], values)


def _bold(cells: list[str], values: list[float | None]) -> list[str]:
    """The cells, bold where the value prints as the greatest one does."""
    best = f"{100 * max((v for v in values if v is not None), default=0):.1f}"
    return [
        rf"\textbf{{{cell}}}" if value is not None and f"{100 * value:.1f}" == best else cell
        for cell, value in zip(cells, values, strict=True)
    ]


def _spanned(datasets: list[str]) -> list[str]:
    """Header lines with each data set above its columns."""
    names = list(dict.fromkeys(datasets))
    spans = [(name, datasets.index(name) + 2, datasets.count(name)) for name in names]
    cells = [rf"\multicolumn{{{count}}}{{c}}{{{_escape(name)}}}" for name, _, count in spans]
    rules = [rf"\cmidrule(lr){{{start}-{start + count - 1}}}" for _, start, count in spans]
    return [_line(["", *cells]), " ".join(rules)]


def _tabular(
    comments: Iterable[str], above: list[str], header: list[str], lines: Iterable[Iterable[str]]
) -> str:
    return "\n".join(
        [
            *(f"% {comment}" for comment in comments),
            rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
            r"\toprule",
            *above,
            _line(header),
            r"\midrule",
            *map(_line, lines),
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _escape(text: str) -> str:
    return text.translate(_LATEX)
