"""Tables for papers, to the letter."""

import csv
from pathlib import Path

import numpy as np
import pytest

from relo_env.benchmark.evaluation import Evaluation
from relo_env.benchmark.protocols import Protocol
from relo_env.benchmark.results import Speed
from relo_env.benchmark.tables import latex_table, write_overview, write_tables
from relo_env.errors import DataError

PROTOCOL = Protocol(name="toy", description="Two figures.", figures=("AO", "P_norm"))


def evaluation(tracker, *, fps=None, missing=(), attributes=((), ()), runs=(), **figures):
    """One of two sequences, the second three times as heavy; figures of each by name."""
    return Evaluation(
        tracker=tracker,
        dataset="Squares",
        protocol=PROTOCOL,
        folder=Path(tracker, "Squares"),
        sequences=("one", "two"),
        attributes=attributes,
        weights=np.array([1.0, 3.0]),
        figures={name: np.array(values) for name, values in figures.items()},
        curves={},
        missing=missing,
        speed=Speed(tracker=fps, model=None, end_to_end=None),
        run_means=runs,
    )


@pytest.fixture
def evaluations():
    return [
        evaluation("static, they say", missing=("three",), AO=[0.5, 0.5], P_norm=[0.25, 1.0]),
        evaluation("a_100%", fps=62.5, AO=[1 / 3, 1.0], P_norm=[0.25, 0.5]),
    ]


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_tables_are_written_best_tracker_first(evaluations, tmp_path):
    out = tmp_path / "new" / "folder"
    files = write_tables(evaluations, out)
    assert sorted(out.iterdir()) == sorted(files)
    assert (out / "table.csv").read_text().splitlines() == [
        "tracker,dataset,protocol,AO,P_norm,AO_low,AO_high,P_norm_low,P_norm_high,fps,sequences,"
        "sequences_in_all",
        "a_100%,Squares,toy,83.3333,43.7500,33.3333,100.0000,25.0000,50.0000,62.50,2,2",
        '"static, they say",Squares,toy,50.0000,81.2500,50.0000,50.0000,25.0000,100.0000,,2,3',
    ]
    assert (out / "sequences.csv").read_text().splitlines() == [
        "tracker,sequence,AO,P_norm,weight",
        "a_100%,one,33.3333,25.0000,1",
        "a_100%,two,100.0000,50.0000,3",
        '"static, they say",one,50.0000,25.0000,1',
        '"static, they say",two,50.0000,100.0000,3',
    ]
    assert (out / "table.tex").read_text().splitlines() == [
        "% Squares, protocol toy (Two figures.), in percent",
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"tracker & AO & $P_\mathrm{norm}$ \\",
        r"\midrule",
        r"a\_100\% & \textbf{83.3} & 43.8 \\",
        r"static, they say & 50.0 & \textbf{81.2} \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]
    intervals = (out / "table-intervals.tex").read_text()
    assert r"& \textbf{83.3 {\scriptsize [33.3, 100.0]}} & 43.8 {\scriptsize [25.0, 50.0]}" in (
        intervals
    )


def test_the_order_may_be_that_of_the_trackers(evaluations, tmp_path):
    write_tables(evaluations, tmp_path, ranked=False)
    assert [line["tracker"] for line in read(tmp_path / "table.csv")] == [
        "static, they say",
        "a_100%",
    ]


def test_differences_are_those_of_the_headline(evaluations, tmp_path):
    write_tables(evaluations, tmp_path)
    (line,) = read(tmp_path / "differences.csv")
    assert (line["first"], line["second"], line["figure"]) == ("a_100%", "static, they say", "AO")
    assert float(line["difference"]) == pytest.approx(100 * (1 / 3 - 1 / 2 + 3 / 2) / 4, abs=1e-3)
    assert float(line["low"]) == pytest.approx(100 * (1 / 3 - 1 / 2), abs=1e-3)
    assert float(line["high"]) == pytest.approx(50)


def test_attributes_have_tables_of_their_own(tmp_path):
    marks = (("blur",), ("blur", "night_time"))
    two = [
        evaluation("a", attributes=marks, AO=[0.2, 0.6], P_norm=[0.5, 0.5]),
        evaluation("b", attributes=marks, AO=[0.4, 0.4], P_norm=[0.5, 0.5]),
    ]
    write_tables(two, tmp_path)
    lines = read(tmp_path / "attributes.csv")
    assert [(x["tracker"], x["attribute"], x["sequences"], x["AO"]) for x in lines] == [
        ("a", "blur", "2", "50.0000"),
        ("a", "night_time", "1", "60.0000"),
        ("b", "blur", "2", "40.0000"),
        ("b", "night_time", "1", "40.0000"),
    ]
    latex = (tmp_path / "attributes.tex").read_text()
    assert r"attribute & a & b \\" in latex
    assert r"night\_time & \textbf{60.0} & 40.0 \\" in latex


def test_runs_have_a_deviation(tmp_path):
    runs = ({"AO": 0.4, "P_norm": 0.5}, {"AO": 0.6, "P_norm": 0.5})
    three = evaluation("a", runs=runs, AO=[0.5, 0.5], P_norm=[0.5, 0.5])
    write_tables([three], tmp_path)
    (line,) = read(tmp_path / "table.csv")
    assert float(line["AO_std"]) == pytest.approx(100 * np.std([0.4, 0.6], ddof=1), abs=1e-3)
    assert r"\textbf{50.0 $\pm$ 14.1}" in (tmp_path / "table.tex").read_text()


def test_data_sets_stand_beside_each_other(evaluations, tmp_path):
    other = [evaluation("a_100%", AO=[0.25, 0.25], P_norm=[0.5, 0.5])]
    write_overview({"Squares": evaluations, "Other_1": other}, tmp_path)
    latex = (tmp_path / "table.tex").read_text().splitlines()
    assert r"\begin{tabular}{lrrrr}" in latex
    assert r" & \multicolumn{2}{c}{Squares} & \multicolumn{2}{c}{Other\_1} \\" in latex
    assert r"\cmidrule(lr){2-3} \cmidrule(lr){4-5}" in latex
    assert r"static, they say & 50.0 & \textbf{81.2} & -- & -- \\" in latex
    assert r"a\_100\% & \textbf{83.3} & 43.8 & \textbf{25.0} & \textbf{50.0} \\" in latex


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
