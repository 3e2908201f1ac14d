"""Annotations without pictures, for figures of results."""

from pathlib import Path

import numpy as np
import pytest

from relo_env.benchmark.evaluation import evaluate
from relo_env.datasets.registry import make_dataset
from relo_env.errors import DataError, FrameError
from tests.relo_env.datasets import layouts

LAYOUTS = [
    ("Folder", "all", layouts.make_folder),
    ("LaSOT", "test", layouts.make_lasot),
    ("LaSOT", "test", layouts.make_lasot_flat),
    ("LaSOText", "test", layouts.make_lasot_ext),
    ("GOT10k", "val", layouts.make_got10k),
    ("TNL2K", "test", layouts.make_tnl2k),
    ("NfS", "test", layouts.make_nfs_family),
    ("UAV123", "test", layouts.make_uav123),
    ("OTB100", "test", layouts.make_otb),
    ("VastTrack", "test", layouts.make_vasttrack),
    ("VOT", "test", layouts.make_vot),
    ("TrackingNet", "train", layouts.make_trackingnet),
    ("DTB70", "test", layouts.make_dtb70),
    ("UAVDT", "test", layouts.make_uavdt),
]


def without_pictures(root: Path) -> None:
    for path in root.rglob("*"):
        if path.suffix in (".jpg", ".png", ".avi", ".mp4"):
            path.unlink()
    for folder in sorted((p for p in root.rglob("*") if p.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


@pytest.mark.parametrize(("name", "split", "make"), LAYOUTS)
def test_annotations_are_those_of_the_sequences(tmp_path, name, split, make):
    make(tmp_path)
    dataset = make_dataset(name, root=tmp_path, split=split)
    there = layouts.on_disk(dataset)
    whole = {n: dataset[n] for n in there}
    without_pictures(tmp_path)
    bare = make_dataset(name, root=tmp_path, split=split)
    for n in there:
        annotation = bare.annotation(n)
        assert annotation.name == n
        np.testing.assert_array_equal(annotation.boxes, whole[n].boxes)
        np.testing.assert_array_equal(annotation.visible, whole[n].visible)
        np.testing.assert_array_equal(annotation.labelled, whole[n].labelled)
        assert annotation.attributes == whole[n].attributes
        assert (annotation.origin, annotation.file_origin) == (
            whole[n].origin,
            whole[n].file_origin,
        )
        with pytest.raises(FrameError, match="only the annotation"):
            annotation.frames.read(0)
        with pytest.raises(DataError):
            bare[n]


def got10k_without_pictures(root: Path):
    """The data set, and its only sequence, whose target is always there."""
    layouts.make_got10k(root)
    without_pictures(root)
    for labels in root.rglob("*.label"):
        labels.unlink()
    dataset = make_dataset("GOT10k", root=root, split="val")
    return dataset, layouts.on_disk(dataset)[0]


def test_an_evaluation_needs_no_pictures(tmp_path):
    dataset, name = got10k_without_pictures(tmp_path / "data")
    results = tmp_path / "results"
    results.mkdir()
    np.savetxt(results / f"{name}.txt", dataset.annotation(name).boxes)
    for protocol in ("clean", "got10k"):
        evaluation = evaluate(results, dataset, protocol=protocol, sequences=[name])
        assert evaluation.mean("AO") > 0


class TestFrameSize:
    """The size that GOT-10k's protocol cuts boxes at."""

    def results(self, tmp_path, box):
        dataset, name = got10k_without_pictures(tmp_path / "data")
        boxes = dataset.annotation(name).boxes
        boxes[1] = box
        (tmp_path / "results").mkdir()
        np.savetxt(tmp_path / "results" / f"{name}.txt", boxes)
        return dataset, name

    def test_it_is_asked_for_only_where_a_box_reaches_far(self, tmp_path):
        dataset, name = self.results(tmp_path, [100, 3, 40, 40])
        arguments = {"protocol": "got10k", "sequences": [name]}
        with pytest.raises(DataError, match="no picture to tell its size"):
            evaluate(tmp_path / "results", dataset, **arguments)
        folder = tmp_path / "data" / "val" / name
        layouts.write(folder / "meta_info.ini", "[METAINFO]\nresolution: (24, 16)\n")
        evaluate(tmp_path / "results", dataset, **arguments)
        assert dataset.frame_size(name) == (24, 16)


def test_blank_lines_at_the_end_are_frames_where_pictures_say_so(tmp_path):
    layouts.lasot_sequence(tmp_path / "a")
    (tmp_path / "a" / "full_occlusion.txt").unlink()
    layouts.write(tmp_path / "a" / "groundtruth.txt", "1,2,3,4\n2,3,4,5\n\n")
    dataset = make_dataset("Folder", root=tmp_path)
    assert dataset.annotation("a").visible.tolist() == [True, True, False]


def test_damage_is_named_as_with_pictures(tmp_path):
    layouts.lasot_sequence(tmp_path / "a")
    layouts.write(tmp_path / "a" / "full_occlusion.txt", "0,1\n")
    dataset = make_dataset("Folder", root=tmp_path)
    with pytest.raises(DataError, match="full_occlusion"):
        dataset.annotation("a")
