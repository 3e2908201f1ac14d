"""Names, runs and differences of trackers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from relo_env.benchmark.comparison import difference, distinct_names, merge_by_name
from relo_env.errors import DataError
from tests.relo_env.benchmark.test_tables import evaluation


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["r/nano/LaSOT", "r/ECO/lasot"], ["nano", "ECO"]),
        (["dimp/default_000", "atom/default_000"], ["dimp/default_000", "atom/default_000"]),
        (["a/x/LaSOT", "b/x/LaSOT", "c/LaSOT"], ["a/x", "b/x", "c"]),
        (["zips/ECO.zip", "ECO/LaSOT"], ["zips/ECO", None]),
        (["mine"], ["mine"]),
    ],
)
def test_names_are_as_short_as_they_can_be_different(folders, names, tmp_path):
    found = distinct_names([tmp_path / folder for folder in folders], "LaSOT")
    assert len(set(found)) == len(folders)
    assert all(name is None or name == shown for name, shown in zip(names, found, strict=True))


def test_runs_of_one_name_are_merged():
    runs = [
        replace(
            evaluation("a", AO=[mean, mean], P_norm=[0.5, 0.5]),
            run_means=({"AO": mean, "P_norm": 0.5},),
        )
        for mean in (0.25, 0.75)
    ]
    backwards = replace(
        runs[1],
        sequences=("two", "one"),
        figures={"AO": np.array([0.5, 1.0]), "P_norm": np.array([0.5, 0.5])},
    )
    merged, other = merge_by_name([runs[0], evaluation("b", AO=[0, 0], P_norm=[0, 0]), backwards])
    assert (merged.tracker, other.tracker) == ("a", "b")
    assert merged.figures["AO"].tolist() == [(0.25 + 1.0) / 2, (0.25 + 0.5) / 2]
    assert merged.deviation("AO") == pytest.approx(np.std([0.25, 0.75], ddof=1))
    assert "means of 2 runs" in merged.notes[0]
    few = replace(runs[1], sequences=("one", "three"))
    with pytest.raises(DataError, match="only one has three, two"):
        merge_by_name([runs[0], few])


def test_differences_are_over_common_sequences():
    first = evaluation("a", AO=[0.5, 0.9], P_norm=[0, 0])
    second = replace(evaluation("b", AO=[0.1, 0.2], P_norm=[0, 0]), sequences=("two", "three"))
    assert difference(first, second, "AO").mean == pytest.approx(0.9 - 0.1)
    with pytest.raises(DataError, match="no sequence in common"):
        difference(first, replace(second, sequences=("x", "y")), "AO")


def test_names_that_are_no_text_are_shown(tmp_path):
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    (shown,) = distinct_names([Path(tmp_path / name)])
    assert shown == "caf\\xe9"
