"""Zips for the evaluation servers."""

import zipfile

import pytest

from relo_env.benchmark.runner import run
from relo_env.benchmark.submissions import pack, validate
from relo_env.benchmark.trackers import make_tracker_factory
from relo_env.datasets.trackingnet import TrackingNet
from relo_env.errors import ConfigError, DataError
from tests.relo_env.datasets.layouts import make_trackingnet
from tests.toys import Squares

DATASET = Squares("test", count=2)


@pytest.fixture
def results(tmp_path):
    return run(make_tracker_factory("static"), DATASET, tmp_path, progress=False).folder


def rewrite(source, target, change):
    """Copy a zip, passing its {path: text} through ``change``."""
    with zipfile.ZipFile(source) as archive:
        files = {name: archive.read(name).decode() for name in archive.namelist()}
    change(files)
    with zipfile.ZipFile(target, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return target


def test_trackingnet_wants_flat_text_files(results, tmp_path):
    path = pack("trackingnet", results, DATASET, tmp_path / "t.zip")
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["square-0.txt", "square-1.txt"]
        lines = archive.read("square-0.txt").decode().splitlines()
    assert len(lines) == 30
    assert all(len(line.split(",")) == 4 for line in lines)


def test_got10k_wants_a_folder_a_sequence_with_times(results, tmp_path):
    path = pack("got10k", results, DATASET, tmp_path / "g.zip")
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [
            "square-0/square-0_001.txt",
            "square-0/square-0_time.txt",
            "square-1/square-1_001.txt",
            "square-1/square-1_time.txt",
        ]
        assert len(archive.read("square-0/square-0_time.txt").splitlines()) == 30


@pytest.mark.parametrize("server", ["got10k", "trackingnet"])
def test_equal_results_give_equal_zips(results, tmp_path, server):
    one = pack(server, results, DATASET, tmp_path / "1.zip").read_bytes()
    assert pack(server, results, DATASET, tmp_path / "2.zip").read_bytes() == one


def without_one(files):
    del files["square-1.txt"]


def with_a_stranger(files):
    files["notes.md"] = "hello"


def inside_a_folder(files):
    for name in list(files):
        files[f"mine/{name}"] = files.pop(name)


def with_a_line_less(files):
    files["square-0.txt"] = files["square-0.txt"].split("\n", 1)[1]


def with_tabs(files):
    files["square-0.txt"] = files["square-0.txt"].replace(",", "\t")


def with_nan(files):
    files["square-0.txt"] = "nan,0,1,1\n" + files["square-0.txt"].split("\n", 1)[1]


def with_a_negative_size(files):
    lines = files["square-0.txt"].splitlines()
    files["square-0.txt"] = "\n".join([*lines[:3], "1,2,-3,4", *lines[4:]])


def with_another_first_box(files):
    files["square-0.txt"] = "1,2,3,4\n" + files["square-0.txt"].split("\n", 1)[1]


def with_backslashes(files):
    files["mine\\square-0.txt"] = files.pop("square-0.txt")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (with_a_negative_size, "line 4 is '1,2,-3,4', expected width and height of at least 0"),
        (with_another_first_box, "square-0.txt: line 1 is '1,2,3,4', expected the given box "),
        (with_backslashes, "square-0.txt: inside another folder"),
        (without_one, "square-1.txt: missing"),
        (with_a_stranger, "notes.md: not expected"),
        (inside_a_folder, "mine/square-0.txt: inside another folder"),
        (with_a_line_less, "square-0.txt: 29 lines, expected 30"),
        (with_tabs, "line 1 has 1 comma-separated columns, expected 4"),
        (with_nan, "line 1 is 'nan,0,1,1', expected finite numbers"),
    ],
)
def test_faults_are_found(results, tmp_path, change, fault):
    good = pack("trackingnet", results, DATASET, tmp_path / "good.zip")
    assert validate("trackingnet", good, DATASET) == []
    bad = rewrite(good, tmp_path / "bad.zip", change)
    assert any(fault in found for found in validate("trackingnet", bad, DATASET))


def test_a_part_of_the_split_is_refused(tmp_path):
    make_trackingnet(tmp_path)
    dataset = TrackingNet(tmp_path, "test")
    folder = run(make_tracker_factory("static"), dataset, tmp_path, progress=False).folder
    with pytest.raises(DataError, match="1 sequences on disk, but the server expects all 511"):
        pack("trackingnet", folder, dataset, tmp_path / "t.zip")


def test_another_split_is_refused(results, tmp_path):
    with pytest.raises(ConfigError, match="on the split 'test', not on 'train'"):
        pack("got10k", results, Squares("train", count=2), tmp_path / "g.zip")


def test_nothing_is_left_of_a_submission_with_faults(results, tmp_path):
    (results / "square-0.txt").unlink()
    (results / "square-1_time.txt").unlink()
    with pytest.raises(DataError, match=r"2 faults:\n.*square-0.*\n.*square-1_time"):
        pack("got10k", results, DATASET, tmp_path / "g.zip")
    assert not list(tmp_path.glob("g.zip*"))


def test_nothing_is_left_where_the_data_set_cannot_be_read(results, tmp_path, monkeypatch):
    def load(self, name):
        raise DataError(f"no {name} here")

    monkeypatch.setattr(Squares, "load", load)
    with pytest.raises(DataError, match="no square-0 here"):
        pack("trackingnet", results, DATASET, tmp_path / "t.zip")
    assert not list(tmp_path.glob("t.zip*"))


def test_unknown_server(results, tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'got10k'"):
        pack("got-10k", results, DATASET, tmp_path / "g.zip")


def test_times_are_checked(results, tmp_path):
    good = pack("got10k", results, DATASET, tmp_path / "g.zip")

    def negative(files):
        files["square-0/square-0_time.txt"] = "-1\n" * 30

    def of_three_runs(files):
        files["square-0/square-0_time.txt"] = "0.1,0.2,0.3\n" * 30

    def backslashes(files):
        files["square-0\\square-0_time.txt"] = files.pop("square-0/square-0_time.txt")

    for change, fault in (
        (negative, "line 1 is '-1', expected seconds of at least 0"),
        (of_three_runs, "line 1 has 3 comma-separated columns, expected 1"),
        (backslashes, "has a backslash, expected / between folder and file"),
    ):
        bad = rewrite(good, tmp_path / "bad.zip", change)
        assert any(fault in found for found in validate("got10k", bad, DATASET))


def test_entries_that_are_there_twice(results, tmp_path):
    path = pack("trackingnet", results, DATASET, tmp_path / "t.zip")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("square-0.txt", "1,2,3,4\n" * 30)
    assert any("2 entries of this name" in x for x in validate("trackingnet", path, DATASET))


def test_damaged_zips_are_named(results, tmp_path):
    path = pack("trackingnet", results, DATASET, tmp_path / "t.zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "not a whole zip file" in validate("trackingnet", path, DATASET)[0]
    flipped = bytearray(whole)
    flipped[60] ^= 255  # within the first entry
    path.write_bytes(flipped)
    assert any("square-0.txt: damaged" in x for x in validate("trackingnet", path, DATASET))
    locked = bytearray(whole)
    directory = locked.index(b"PK\x01\x02")
    locked[directory + 8] |= 1  # the flag of encryption
    path.write_bytes(locked)
    assert any("square-0.txt: encrypted" in x for x in validate("trackingnet", path, DATASET))
    assert "not a whole zip" in validate("trackingnet", tmp_path / "no.zip", DATASET)[0]


def test_results_in_got10ks_own_layout_are_packed(results, tmp_path):
    for name in DATASET.names:
        folder = tmp_path / "theirs" / name
        folder.mkdir(parents=True)
        (folder / f"{name}_001.txt").write_bytes((results / f"{name}.txt").read_bytes())
        (folder / f"{name}_time.txt").write_text("0.1,0.2,0.3\n" * 30)
    path = pack("got10k", tmp_path / "theirs", DATASET, tmp_path / "g.zip")
    with zipfile.ZipFile(path) as archive:
        assert archive.read("square-0/square-0_time.txt").splitlines()[0] == b"0.10000000"
