"""`relo submit`: zips for the evaluation servers, from results on disk."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from agents.cli import main
from relo_env.datasets.got10k import GOT10k
from relo_env.datasets.trackingnet import TrackingNet
from tests.relo_env.datasets import layouts

GOT10K, TRACKINGNET = "GOT-10k_Test_000001", "test_0"


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test splits on disk, of one sequence each, are all of them."""
    monkeypatch.setattr(GOT10k, "official_names", None)
    monkeypatch.setitem(TrackingNet.official_counts, "test", 1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The data sets."""
    layouts.make_got10k(tmp_path / "data" / "GOT10k")
    layouts.make_trackingnet(tmp_path / "data" / "TrackingNet")
    return tmp_path / "data"


@pytest.fixture
def results(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results of a tracker on both; ``RELO_DATA`` leads to the data sets."""
    monkeypatch.setenv("RELO_DATA", str(root))
    for dataset, sequence in (("GOT10k", GOT10K), ("TrackingNet", TRACKINGNET)):
        test = ["--dataset", dataset, "--split", "test", "--sequences", sequence]
        assert main(["evaluate", *test, "--tracker", "static", "--out", str(tmp_path)]) == 0
    return tmp_path / "static"


def error(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """What `relo submit` says when it must fail."""
    assert main(["submit", *map(str, arguments)]) == 2
    return capsys.readouterr().err


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize(
    ("dataset", "files"),
    [
        ("GOT10k", [f"{GOT10K}/{GOT10K}_001.txt", f"{GOT10K}/{GOT10K}_time.txt"]),
        ("TrackingNet", [f"{TRACKINGNET}.txt"]),
    ],
)
def test_the_folder_says_which_server(
    dataset: str, files: list[str], results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = results / "new" / "folder" / "boxes.zip"
    capsys.readouterr()
    assert main(["submit", str(results / dataset), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"wrote {out}: 1 sequences of {dataset}\n"
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == files
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.usefixtures("whole")
def test_a_folder_with_a_name_of_its_own(results: Path, root: Path, tmp_path: Path) -> None:
    mine = (results / "GOT10k").rename(tmp_path / "mine")
    which = ["--dataset", "got10k", "--root", str(root / "GOT10k"), "--split", "test"]
    assert main(["submit", str(mine), *which, "--out", str(tmp_path / "a.zip")]) == 0
    assert (tmp_path / "a.zip").is_file()


@pytest.mark.usefixtures("whole")
def test_missing_results_are_named(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = results / "a.zip"
    (results / "GOT10k" / f"{GOT10K}.txt").unlink()
    message = error(capsys, results / "GOT10k", "--out", out)
    assert "cannot be submitted to got10k" in message
    assert f"{GOT10K}.txt" in message
    assert not list(results.glob("a.zip*"))


@pytest.mark.parametrize(
    ("dataset", "fault"),
    [("GOT10k", "179 faults:\nNo result for"), ("TrackingNet", "the server expects all 511")],
)
def test_a_part_of_the_test_split_is_refused(
    dataset: str, fault: str, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fault in error(capsys, results / dataset, "--out", results / "a.zip")
    assert not list(results.glob("a.zip*"))


def test_folders_that_will_not_do(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", results / "a.zip"]
    assert "There is no folder" in error(capsys, results / "nowhere", *out)
    for around in ([], ["--dataset", "GOT10k"]):
        assert f"did you mean {results / 'GOT10k'}" in error(capsys, results, *around, *out)
    named = ["--dataset", "GOT10k"]
    assert "There is no folder" in error(capsys, results / "nowhere", *named, *out)
    assert "is a folder" in error(capsys, results / "GOT10k", "--out", results)


def test_data_sets_that_will_not_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("LaSOT", "MyTracker"):
        (tmp_path / name).mkdir()
    out = ["--out", tmp_path / "a.zip"]
    message = error(capsys, tmp_path / "LaSOT", *out)
    assert "LaSOT has no evaluation server; expected results on GOT10k or TrackingNet" in message
    assert "Unknown data set 'MyTracker'" in error(capsys, tmp_path / "MyTracker", *out)
