"""Tables for papers: comma-separated values for programs, and LaTeX; best trackers first."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from relo_env.benchmark.evaluation import Evaluation, rank
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


def write_tables(evaluations: list[Evaluation], out: str | Path) -> list[Path]:
    """Write ``table.csv``, ``sequences.csv`` and ``table.tex``.

    Args:
        evaluations: one for each tracker.
        out: folder of the tables, made if need be.

    Returns:
        The files.

    Raises:
        DataError: there are no evaluations, or they differ in data set or protocol.
    """
    tables = {
        "table.csv": tracker_csv(evaluations),
        "sequences.csv": sequence_csv(evaluations),
        "table.tex": latex_table(evaluations),
    }
    out = Path(out)
    for name, text in tables.items():
        write_text(out / name, text)
    return [out / name for name in tables]


def tracker_csv(evaluations: list[Evaluation]) -> str:
    """A row for each tracker: means in percent, the interval of the headline figure, speed.

    Raises:
        DataError: there are no evaluations, or they differ in data set or protocol.
    """
    return _csv([_tracker_row(evaluation) for evaluation in rank(evaluations)])


def sequence_csv(evaluations: list[Evaluation]) -> str:
    """A row for each tracker and sequence: figures in percent, and the weight in the means.

    Raises:
        DataError: there are no evaluations, or they differ in data set or protocol.
    """
    return _csv([row for evaluation in rank(evaluations) for row in _sequence_rows(evaluation)])


def latex_table(evaluations: list[Evaluation]) -> str:
    """A ``tabular`` of means in percent, the best of each column in bold; needs ``booktabs``.

    Raises:
        DataError: there are no evaluations, or they differ in data set or protocol.
    """
    ranked = rank(evaluations)
    best, protocol = ranked[0], ranked[0].protocol
    columns = [_latex_column(ranked, figure) for figure in protocol.figures]
    trackers = [evaluation.tracker.translate(_LATEX) for evaluation in ranked]
    header = ["tracker", *(figure.translate(_LATEX) for figure in protocol.figures)]
    rows = zip(trackers, *columns, strict=True)
    return "\n".join(
        [
            f"% {best.dataset}, protocol {protocol.name} ({protocol.description}), in percent",
            rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
            r"\toprule",
            _latex_row(header),
            r"\midrule",
            *(_latex_row(row) for row in rows),
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _tracker_row(evaluation: Evaluation) -> dict[str, object]:
    protocol, fps = evaluation.protocol, evaluation.speed.tracker
    low, high = evaluation.interval(protocol.headline)
    done = len(evaluation.sequences)
    return {
        "tracker": evaluation.tracker,
        "dataset": evaluation.dataset,
        "protocol": protocol.name,
        **{figure: _percent(evaluation.mean(figure)) for figure in protocol.figures},
        f"{protocol.headline}_low": _percent(low),
        f"{protocol.headline}_high": _percent(high),
        "fps": "" if fps is None else f"{fps:.2f}",
        "sequences": done,
        "sequences_in_all": done + len(evaluation.missing),
    }


def _sequence_rows(evaluation: Evaluation) -> Iterator[dict[str, object]]:
    for index, sequence in enumerate(evaluation.sequences):
        yield {
            "tracker": evaluation.tracker,
            "sequence": sequence,
            **{name: _percent(values[index]) for name, values in evaluation.figures.items()},
            "weight": f"{evaluation.weights[index]:.0f}",
        }


def _percent(share: float) -> str:
    return f"{100 * share:.4f}"


def _csv(rows: list[dict[str, object]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _latex_column(evaluations: list[Evaluation], figure: str) -> list[str]:
    """A figure of each tracker; all that print as the best one does are bold."""
    means = [evaluation.mean(figure) for evaluation in evaluations]
    best = f"{100 * max(means):.1f}"
    cells = [f"{100 * mean:.1f}" for mean in means]
    return [rf"\textbf{{{cell}}}" if cell == best else cell for cell in cells]


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"
