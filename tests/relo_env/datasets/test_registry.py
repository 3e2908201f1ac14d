"""Data sets by name, and their split lists."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest

from relo_env.datasets import (
    Dataset,
    Sequence,
    list_datasets,
    make_dataset,
    register_dataset,
)
from relo_env.datasets import registry as registry_module
from relo_env.datasets.disk import DiskDataset, find_folder, read_list, read_table
from relo_env.datasets.folder import Folder
from relo_env.errors import ConfigError, DataError
from tests.relo_env.datasets import layouts
from tests.toys import Squares

ON_DISK = [spec.name for spec in list_datasets() if spec.needs_root and spec.name != "Mixture"]


@pytest.fixture
def table(monkeypatch):
    """A copy of the table, so that a test may add to it."""
    monkeypatch.setattr(registry_module, "_SPECS", dict(registry_module._SPECS))


@pytest.mark.parametrize(
    ("file", "count"),
    [
        ("lasot_train.txt", 1120),
        ("lasot_test.txt", 280),
        ("lasot_ext_test.txt", 150),
        ("got10k_vot_overlap.txt", 1000),
        ("nfs.txt", 100),
        ("otb100.txt", 100),
        ("otb50.txt", 50),
        ("otb2013.txt", 51),
        ("dtb70.txt", 70),
        ("uavdt.txt", 50),
        ("uav123.txt", 123),
        ("uav20l.txt", 20),
    ],
)
def test_split_lists(file, count):
    names = read_list(file)
    assert len(names) == count
    assert len(set(names)) == count


def test_otb_subsets_are_subsets():
    whole = set(read_list("otb100.txt"))
    assert set(read_list("otb50.txt")) < whole
    assert set(read_list("otb2013.txt")) < whole


def test_uav123_at_10fps_is_found_beside_the_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("RELO_DATA", str(tmp_path))
    layouts.make_uav123(tmp_path / "UAV123")
    assert make_dataset("UAV123_10fps").root == tmp_path / "UAV123"
    layouts.make_uav123(tmp_path / "UAV123_10fps")
    assert make_dataset("UAV123_10fps").root == tmp_path / "UAV123_10fps"


def test_lasot_splits_are_sixteen_and_four_of_twenty_sequences_of_seventy_classes():
    train, test = read_list("lasot_train.txt"), read_list("lasot_test.txt")
    assert not set(train) & set(test)
    classes = Counter(name.rpartition("-")[0] for name in train)
    assert len(classes) == 70
    assert set(classes.values()) == {16}
    assert set(Counter(name.rpartition("-")[0] for name in test).values()) == {4}
    extension = Counter(name.rpartition("-")[0] for name in read_list("lasot_ext_test.txt"))
    assert set(extension.values()) == {10}
    assert not set(extension) & set(classes)


@pytest.mark.parametrize(
    ("benchmark", "names", "counts"),
    [
        (
            "lasot",
            "lasot_test.txt",
            "IV 47 POC 187 DEF 142 MB 89 CM 86 ROT 175 BC 100 VC 33 SV 273 FOC 118 FM 53 OV 104 "
            "LR 141 ARC 249",
        ),
        (
            "uav123",
            "uav123.txt",
            "SV 109 ARC 68 LR 48 FM 28 FOC 33 POC 73 OV 30 BC 21 IV 31 VC 60 CM 70 SOB 39",
        ),
        (
            "otb100",
            "otb100.txt",
            "IV 38 SV 65 OCC 49 DEF 44 MB 31 FM 43 IPR 51 OPR 64 OV 14 BC 32 LR 10",
        ),
    ],
)
def test_attributes(benchmark, names, counts):
    table = read_table(f"{benchmark}_attributes.txt")
    assert tuple(table) == read_list(names)
    fields = counts.split()
    expected = dict(zip(fields[::2], map(int, fields[1::2]), strict=True))
    assert Counter(mark for marks in table.values() for mark in marks) == expected


def test_uav123_has_112578_frames():
    """The count that its paper gives is 112578 for 123 sequences."""
    rows = read_table("uav123.txt").values()
    frames = sum(int(last) - int(first) + 1 for _, first, last in rows)
    assert frames == 112578


@pytest.mark.parametrize("name", ON_DISK)
def test_a_missing_root_shows_the_layout_and_the_variable(name, tmp_path, monkeypatch):
    spec = registry_module.find_dataset(name)
    layout = spec.resolve().layout
    monkeypatch.delenv("RELO_DATA", raising=False)
    with pytest.raises(DataError) as error:
        make_dataset(name)
    assert "RELO_DATA is not set" in str(error.value)
    assert layout in str(error.value)
    with pytest.raises(DataError) as error:
        make_dataset(name, root=tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in str(error.value)
    assert f"RELO_DATA to the folder that holds {spec.folders[0]}/" in str(error.value)
    assert layout in str(error.value)
    monkeypatch.setenv("RELO_DATA", str(tmp_path))
    with pytest.raises(DataError, match="there is no folder"):
        make_dataset(name)


@pytest.mark.parametrize(
    ("name", "folder"), [("LaSOT", "lasot"), ("LaSOT", "LaSOTBenchmark"), ("LaSOText", "LaSOT_ext")]
)
def test_folders_are_found_in_any_case_and_punctuation(name, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("RELO_DATA", str(tmp_path))
    make = layouts.make_lasot if name == "LaSOT" else layouts.make_lasot_ext
    make(tmp_path / folder)
    assert make_dataset(name, split="test").root == tmp_path / folder


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("GOT-10k", "GOT10k"),
        ("lasot_ext", "LaSOText"),
        ("NFS", "NfS"),
        ("LaSOT_extension_subset", "LaSOText"),
        ("OTB2015", "OTB100"),
    ],
)
def test_names_are_found_in_any_case_and_punctuation(name, meant):
    assert registry_module.find_dataset(name).name == meant


def test_the_folder_of_the_very_name_comes_first(tmp_path):
    for folder in ("Lasot", "LaSOT", "lasot"):
        (tmp_path / folder).mkdir()
    assert find_folder(tmp_path, ("LaSOT",)) == tmp_path / "LaSOT"
    assert find_folder(tmp_path, ("GOT10k",)) == tmp_path / "GOT10k"


@pytest.mark.parametrize("name", ON_DISK)
def test_specs_agree_with_their_classes(name):
    factory = registry_module.find_dataset(name).resolve()
    assert issubclass(factory, DiskDataset)
    assert factory.name == name
    assert factory.splits
    assert set(factory.training_splits) & set(factory.splits) or factory.splits == ("test",)


def test_the_variable_is_read_when_a_data_set_is_made(tmp_path, monkeypatch):
    layouts.make_lasot(tmp_path / "LaSOT")
    monkeypatch.setenv("RELO_DATA", str(tmp_path))
    assert make_dataset("lasot").names == ("airplane-2",)
    assert make_dataset("LASOT", split="test").split == "test"


def test_unknown_names_splits_and_options(tmp_path):
    layouts.make_lasot(tmp_path)
    with pytest.raises(ConfigError, match=r"Unknown data set 'LaSOTT'.*'LaSOT'"):
        make_dataset("LaSOTT")
    with pytest.raises(ConfigError, match=r"Unknown split of LaSOT 'tset'.*'test'"):
        make_dataset("LaSOT", root=tmp_path, split="tset")
    with pytest.raises(ConfigError, match=r"'COCO': .*'lenght'; known: root, split, length"):
        make_dataset("COCO", root=tmp_path, lenght=3)
    with pytest.raises(ConfigError, match="'Mixture': missing a required argument: 'parts'"):
        make_dataset("Mixture")
    with pytest.raises(ConfigError, match="Unknown sequence of LaSOT 'airplane-3'"):
        make_dataset("LaSOT", root=tmp_path)["airplane-3"]


class Toy(Dataset):
    name = "Toy"
    splits = ("train",)
    names = ("one",)

    def load(self, name: str) -> Sequence:
        raise NotImplementedError


@pytest.mark.usefixtures("table")
def test_registering_a_data_set():
    spec = register_dataset("Toy", Toy, needs_root=False)
    assert register_dataset("Toy", Toy, needs_root=False) == spec  # again: no change
    assert list_datasets()[-1] == spec
    assert spec.splits == ("train",)
    assert make_dataset("toy").names == ("one",)
    with pytest.raises(ConfigError, match="reads no folder"):
        make_dataset("toy", root="/data")
    with pytest.raises(ConfigError, match="already registered"):
        register_dataset("TOY", Folder)
    register_dataset("Elsewhere", f"{__name__}:Toy", needs_root=False)
    assert make_dataset("elsewhere").names == ("one",)
    register_dataset("Nowhere", "relo_env.datasets:nothing")
    with pytest.raises(ConfigError, match=r"'Nowhere': factory 'relo_env.datasets:nothing'"):
        make_dataset("nowhere")


@pytest.mark.usefixtures("table")
def test_a_function_may_make_a_data_set():
    def make(split: str | None = None, **options: int) -> Dataset:
        assert options == {"size": 3}
        return Toy(split)

    assert register_dataset("Made", make, needs_root=False).splits == ()
    assert make_dataset("made", size=3).name == "Toy"


def test_what_a_data_set_loads_is_a_sequence(monkeypatch):
    monkeypatch.setattr(Squares, "load", lambda self, name: None)
    with pytest.raises(DataError, match=r"Squares\.load\('square-0'\) returned None"):
        Squares()["square-0"]


def test_data_sets_can_be_pickled(tmp_path):
    layouts.make_lasot(tmp_path)
    dataset = make_dataset("lasot", root=tmp_path)
    again = pickle.loads(pickle.dumps(dataset))
    assert again.names == dataset.names
    assert np.array_equal(again[0].boxes, dataset[0].boxes)
