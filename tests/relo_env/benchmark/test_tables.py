"""Tables for papers, to the letter."""

from pathlib import Path

import numpy as np
import pytest

from relo_env.benchmark.evaluation import Evaluation
from relo_env.benchmark.protocols import Protocol
from relo_env.benchmark.results import Speed
from relo_env.benchmark.tables import latex_table, write_tables
from relo_env.errors import DataError

PROTOCOL = Protocol(name="toy", description="Two figures.", figures=("AO", "P_norm"))


def evaluation(tracker, *, fps=None, missing=(), **figures):
    """One of two sequences, the second three times as heavy; figures of each by name."""
    return Evaluation(
        tracker=tracker,
        dataset="Squares",
        protocol=PROTOCOL,
        folder=Path(tracker, "Squares"),
        sequences=("one", "two"),
        attributes=((), ()),
        weights=np.array([1.0, 3.0]),
        figures={name: np.array(values) for name, values in figures.items()},
        curves={},
        missing=missing,
        speed=Speed(tracker=fps, model=None, end_to_end=None),
    )


@pytest.fixture
def evaluations():
    return [
        evaluation("static, they say", missing=("three",), AO=[0.5, 0.5], P_norm=[0.25, 1.0]),
        evaluation("a_100%", fps=62.5, AO=[1 / 3, 1.0], P_norm=[0.25, 0.5]),
    ]


def test_tables_are_written_best_tracker_first(evaluations, tmp_path):
    out = tmp_path / "new" / "folder"
    files = write_tables(evaluations, out)
    assert files == [out / "table.csv", out / "sequences.csv", out / "table.tex"]
    assert sorted(out.iterdir()) == sorted(files)
    trackers, sequences, latex = (path.read_text() for path in files)
    assert trackers.splitlines() == [
        "tracker,dataset,protocol,AO,P_norm,AO_low,AO_high,fps,sequences,sequences_in_all",
        "a_100%,Squares,toy,83.3333,43.7500,33.3333,100.0000,62.50,2,2",
        '"static, they say",Squares,toy,50.0000,81.2500,50.0000,50.0000,,2,3',
    ]
    assert sequences.splitlines() == [
        "tracker,sequence,AO,P_norm,weight",
        "a_100%,one,33.3333,25.0000,1",
        "a_100%,two,100.0000,50.0000,3",
        '"static, they say",one,50.0000,25.0000,1',
        '"static, they say",two,50.0000,100.0000,3',
    ]
    assert latex.splitlines() == [
        "% Squares, protocol toy (Two figures.), in percent",
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"tracker & AO & P\_norm \\",
        r"\midrule",
        r"a\_100\% & \textbf{83.3} & 43.8 \\",
        r"static, they say & 50.0 & \textbf{81.2} \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_equal_figures_are_bold_together():
    equals = [evaluation(name, AO=[0.5, 0.5], P_norm=[1.0, 1.0]) for name in ("a", "b")]
    assert latex_table(equals).count(r"\textbf{50.0} & \textbf{100.0}") == 2


def test_no_name_breaks_latex():
    table = latex_table([evaluation(r"a\b~c^d{e}<f>|g#&$", AO=[0, 0], P_norm=[0, 0])])
    name = (
        r"a\textbackslash{}b\textasciitilde{}c\textasciicircum{}d\{e\}"
        r"\textless{}f\textgreater{}\textbar{}g\#\&\$"
    )
    assert f"\n{name} & " in table


def test_only_like_is_in_one_table(tmp_path):
    with pytest.raises(DataError, match="one data set and one protocol"):
        write_tables([], tmp_path / "report")
    assert not (tmp_path / "report").exists()
