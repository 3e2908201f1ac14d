"""Fingerprints: equal for equal data, different for different data, cheap, plain JSON."""

import json
import pickle

import numpy as np
import pytest

from relo_env.datasets.base import Dataset
from relo_env.datasets.fingerprint import fingerprint_differences
from relo_env.datasets.folder import Folder
from relo_env.datasets.mixture import Mixture
from relo_env.datasets.registry import find_dataset, make_dataset
from relo_env.datasets.synthetic import LEVELS, Synthetic
from relo_env.errors import ArgumentError, ConfigError
from tests.toys import Squares, square_video


def write_folder(root, boxes, names=("a", "b")):
    for name in names:
        (root / name / "img").mkdir(parents=True)
        for i in range(len(boxes)):
            (root / name / "img" / f"{i}.jpg").touch()
        np.savetxt(root / name / "groundtruth.txt", boxes, delimiter=",")
    return Folder(root)


def test_it_is_plain_json_and_survives_pickling():
    dataset = Synthetic("val", difficulty=LEVELS["hard"], frame_size=(64, 48))
    print_ = dataset.fingerprint
    assert json.loads(json.dumps(print_)) == print_
    assert pickle.loads(pickle.dumps(dataset)).fingerprint == print_
    assert print_["name"] == "Synthetic"
    assert print_["split"] == "val"
    assert print_["root"] is None
    assert print_["options"]["frame_size"] == [64, 48]


@pytest.mark.parametrize(
    "other",
    [
        Synthetic("val"),
        Synthetic(difficulty="hard"),
        Synthetic(length=199),
        Squares(),
        Mixture([Synthetic()]),
    ],
    ids=["split", "difficulty", "length", "name", "mixture"],
)
def test_other_data_have_another(other):
    assert fingerprint_differences(other.fingerprint, Synthetic().fingerprint)


def test_defaults_may_be_written_out():
    written = make_dataset("synthetic", split="train", difficulty="medium", length=200)
    assert written.fingerprint == Synthetic().fingerprint


def test_differences_name_the_options():
    (text,) = fingerprint_differences(
        Mixture([Squares(), Synthetic()], [1, 2]).fingerprint,
        Mixture([Squares(), Synthetic()], [1, 3]).fingerprint,
    )
    assert "[1, 2]" in text
    assert "[1, 3]" in text


def test_options_of_a_data_set_of_ones_own_count_without_a_line_of_code():
    assert Squares(absent=(3,)).fingerprint != Squares(absent=(4,)).fingerprint
    assert Squares(count=3).fingerprint != Squares().fingerprint


def test_a_folder_may_move_but_its_content_may_not_change(tmp_path):
    boxes = np.array([[1.0, 2, 30, 40], [2, 2, 30, 40]])
    here, moved = (write_folder(tmp_path / name, boxes).fingerprint for name in "xy")
    assert here["root"] != moved["root"]
    assert not fingerprint_differences(here, moved)
    other = write_folder(tmp_path / "z", boxes + 1).fingerprint
    assert other["names"] == here["names"]
    assert fingerprint_differences(here, other)
    mixed = [Mixture([Folder(tmp_path / name)]).fingerprint for name in "xyz"]
    assert not fingerprint_differences(mixed[0], mixed[1])
    assert fingerprint_differences(mixed[0], mixed[2])


class InMemory(Dataset):
    """A data set whose options are large."""

    name, splits = "InMemory", ("train",)

    def __init__(self, frames: np.ndarray, labels: list[str]) -> None:
        super().__init__()
        self.names = [f"s{i}" for i in range(len(labels))]

    names: list[str] = []  # type: ignore[assignment]

    def load(self, name):
        return square_video(name)


def test_large_options_are_digested():
    frames = np.zeros((3, 20, 20, 3), np.uint8)
    one = InMemory(frames, ["a"] * 500).fingerprint
    changed = frames.copy()
    changed[2, 3, 4] = 1
    assert (
        one["options"]["frames"] != InMemory(changed, ["a"] * 500).fingerprint["options"]["frames"]
    )
    assert len(json.dumps(one)) < 1000


def test_a_name_in_a_long_list_is_looked_up_without_reading_the_list():
    class Counted(list):
        reads = 0

        def __iter__(self):
            Counted.reads += 1
            return super().__iter__()

        def __contains__(self, name):
            raise AssertionError("scanned")

    dataset = InMemory(np.zeros(1), ["a"] * 2000)
    dataset.names = Counted(dataset.names)
    for i in range(100):
        assert dataset[f"s{i}"].name == f"s{i}"
        assert f"s{i}/" not in dataset
    assert Counted.reads == 1
    dataset.names.append("new")
    assert "new" in dataset


def make_squares(split: str | None = None, count: int = 2) -> Squares:
    """A data set that no table knows."""
    return Squares(split, count)


def test_data_sets_outside_the_table_are_named_by_module():
    assert len(make_dataset("tests.toys:Squares", count=3)) == 3
    assert make_dataset(f"{__name__}:make_squares").fingerprint["options"] == {"count": 2}
    assert not find_dataset("tests.toys:Squares").needs_root
    with pytest.raises(ArgumentError, match="known: split, count"):
        make_dataset(f"{__name__}:make_squares", countt=3)
    with pytest.raises(ConfigError, match="Did you mean 'Squares'"):
        make_dataset("tests.toys:Square")
    with pytest.raises(ConfigError, match=r'named "module:Class"'):
        make_dataset("Squares")
