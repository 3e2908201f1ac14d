"""`relo report`: options, several data sets, several runs, and results without pictures."""

from __future__ import annotations

import contextlib
import csv
from pathlib import Path

import numpy as np
import pytest

from agents.cli import main
from tests.relo_env.datasets.layouts import write, write_images

NAMES = ("car", "dog", "cat")


def boxes(seed: int) -> np.ndarray:
    """Boxes of twelve frames of 24 x 16 pixels."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.integers(0, 8, (12, 2)), np.full((12, 2), 6)], axis=1).astype(float)


def publish(folder: Path, shift: float) -> Path:
    """Results that are off by a number of pixels."""
    for k, name in enumerate(NAMES):
        moved = boxes(k)
        moved[:, 0] += shift
        moved[0] = boxes(k)[0]
        write(folder / f"{name}.txt", "\n".join(",".join(map(str, box)) for box in moved))
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Annotations of a Folder data set, without pictures."""
    for k, name in enumerate(NAMES):
        text = "\n".join(",".join(map(str, box)) for box in boxes(k))
        write(tmp_path / "data" / name / "groundtruth.txt", text)
    return tmp_path / "data"


def report(out: Path, *arguments: str | Path) -> list[dict[str, str]]:
    """Lines of ``table.csv``."""
    assert main(["report", *map(str, arguments), "--out", str(out)]) == 0
    with (out / "table.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def folder_options(data: Path) -> list[str]:
    return ["--dataset", "Folder", "--root", str(data), "--no-clips"]


def test_two_folders_of_one_name_are_two_trackers(data: Path, tmp_path: Path) -> None:
    folders = [publish(tmp_path / who / "default_000", k) for k, who in enumerate(("dimp", "atom"))]
    lines = report(tmp_path / "out", *folders, *folder_options(data))
    assert [line["tracker"] for line in lines] == ["dimp/default_000", "atom/default_000"]


@pytest.mark.parametrize(
    "key", ["dimp/default_000", "results/dimp/default_000", "default_000/Folder"]
)
def test_a_tracker_is_named_by_its_name_in_the_table_or_its_folder(
    data: Path, tmp_path: Path, key: str
) -> None:
    folders = [
        publish(tmp_path / "results" / who / "default_000" / "Folder", k)
        for k, who in enumerate(("dimp", "atom"))
    ]
    lines = report(tmp_path / "out", *folders, *folder_options(data), "--name", f"{key}=DiMP")
    assert lines[0]["tracker"] == "DiMP"


def test_display_names_order_and_figures(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [publish(tmp_path / who, k) for k, who in ((2, "b"), (0, "a"))]
    options = ["--name", "b=B 100%", "--figures", "AO", "P", "--order", "given"]
    lines = report(tmp_path / "out", *folders, *folder_options(data), *options)
    assert [line["tracker"] for line in lines] == ["B 100%", "a"]
    printed = capsys.readouterr().out
    assert printed.index("\nB 100%") < printed.index("\na ")
    assert list(lines[0])[3:5] == ["AO", "P"]
    assert (tmp_path / "out" / "plots" / "success.pdf").read_bytes().startswith(b"%PDF")
    assert "<svg" in (tmp_path / "out" / "plots" / "precision.svg").read_text()
    assert not (tmp_path / "out" / "attributes.csv").exists()


def test_folders_of_one_name_given_are_runs(data: Path, tmp_path: Path) -> None:
    folders = [publish(tmp_path / f"run-{k}", k) for k in range(3)]
    names = [text for k in range(3) for text in ("--name", f"run-{k}=Mine")]
    (line,) = report(tmp_path / "out", *folders, *folder_options(data), *names)
    overlap = [(1 + 11 * (6 - k) / (6 + k)) / 12 for k in range(3)]
    assert float(line["AO"]) == pytest.approx(100 * np.mean(overlap), abs=1e-3)
    assert float(line["AO_std"]) == pytest.approx(100 * np.std(overlap, ddof=1), abs=1e-3)
    assert r"$\pm$" in (tmp_path / "out" / "table.tex").read_text()


def test_a_name_of_no_folder_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = publish(tmp_path / "mine", 0)
    arguments = ["report", str(folder), *folder_options(data), "--name", "mien=M"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert "Did you mean 'mine'" in capsys.readouterr().err


def test_data_sets_beside_each_other(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for k, name in enumerate(NAMES):
        text = "\n".join(",".join(map(str, box)) for box in boxes(k))
        write(tmp_path / "TNL2K" / "test" / name / "groundtruth.txt", text)
        write_images(tmp_path / "TNL2K" / "test" / name / "imgs", range(1, 13), digits=5)
    data.rename(tmp_path / "Folder")
    monkeypatch.setenv("RELO_DATA", str(tmp_path))
    folders = [
        publish(tmp_path / "results" / who / dataset, k)
        for k, who in enumerate("ab")
        for dataset in ("Folder", "TNL2K")
    ]
    alone = publish(tmp_path / "more" / "a" / "Folder", 2)
    lines = report(tmp_path / "out", *folders, alone, "--no-clips")
    trackers = [line["tracker"] for line in lines]
    assert trackers == ["results/a", "b", "more/a", "results/a", "b"], "one name on all data sets"
    lines = report(tmp_path / "out", *folders, "--no-clips")
    assert [(line["tracker"], line["dataset"]) for line in lines] == [
        ("a", "Folder"),
        ("b", "Folder"),
        ("a", "TNL2K"),
        ("b", "TNL2K"),
    ]
    assert r"\multicolumn{7}{c}{TNL2K}" in (tmp_path / "out" / "table.tex").read_text()
    assert (tmp_path / "out" / "TNL2K" / "index.html").is_file()
    protocols = ["--protocol", "otb,figures=AO+P", "--protocol", "tnl2k=got10k"]
    lines = report(tmp_path / "own", *folders, "--no-clips", *protocols)
    assert [line["protocol"] for line in lines] == 2 * ["otb, figures=AO+P"] + 2 * ["got10k"]
    assert [bool(line["P"]) for line in lines] == [True, True, False, False]
    assert [bool(line["SR0.5"]) for line in lines] == [False, False, True, True]
    for given, message in (("LaSOT=lasot", "not on LaSOT"), ("TNL2K=lasto", "'lasot'")):
        capsys.readouterr()
        words = [*map(str, folders), "--protocol", given, "--out", str(tmp_path / "out")]
        with contextlib.suppress(SystemExit):
            assert main(["report", *words]) == 2
        assert message in capsys.readouterr().err


def test_clips_that_cannot_be_made_are_told_in_the_page(data: Path, tmp_path: Path) -> None:
    options = [option for option in folder_options(data) if option != "--no-clips"]
    report(tmp_path / "out", publish(tmp_path / "mine", 0), *options)
    page = (tmp_path / "out" / "index.html").read_text()
    assert "Some clips are missing" in page


def test_origin_lengths_and_a_protocol_of_ones_own(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = publish(tmp_path / "mine", 0)
    short = (folder / "car.txt").read_text().splitlines()[:-1]
    write(folder / "car.txt", "\n".join(short))
    options = ["--origin", "1", "--lengths", "cut", "--protocol", "clean,figures=AO"]
    report(tmp_path / "out", folder, *folder_options(data), *options)
    out = capsys.readouterr().out
    assert "taken as 1-based" in out
    assert "car (11 lines, 12 frames)" in out
    assert "protocol clean, figures=AO" in out
