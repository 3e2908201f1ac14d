"""Files that appear whole: umask, links, folders, and disks that refuse."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from relo_env.errors import CheckpointError, OutputError
from relo_env.files import read_json, replacing, write_atomically, write_json, write_text


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise ValueError("a fault of the writer")

    with pytest.raises(ValueError, match="of the writer"):
        fail()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_modes_follow_the_umask(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "new" / "a", b"content")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new" / "a").stat().st_mode) == 0o666 & ~mask


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "a").symlink_to(tmp_path / "there" / "a")
    write_text(tmp_path / "a", "é\udcff")
    assert (tmp_path / "a").is_symlink()
    assert (tmp_path / "there" / "a").read_text(encoding="utf-8") == "é\\udcff"


def test_a_disk_that_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "inside", tmp_path):
        with pytest.raises(OutputError, match=f"Cannot write {path}"):
            write_text(path, "content")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("before")
    code = (
        "import resource, sys\n"
        "from relo_env.errors import OutputError\n"
        "from relo_env.files import write_atomically\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    write_atomically(sys.argv[1], bytes(5000))\n"
        "except OutputError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.stdout.startswith(f"Cannot write {path}: File too large."), done.stderr
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"[]", b"5", b'{"a": ', b"\xff\xfe"])
def test_json_that_is_damaged_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_json(path, CheckpointError)


def test_json_comes_back(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"é": [1, None]})
    assert read_json(tmp_path / "a.json", CheckpointError) == {"é": [1, None]}


def test_the_longest_names_are_written(tmp_path: Path) -> None:
    for name in ("a" * 251 + ".txt", "\N{GRINNING FACE}" * 62 + ".json"):
        write_text(tmp_path / name, "x")
        assert (tmp_path / name).read_text() == "x"
