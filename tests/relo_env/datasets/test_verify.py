"""The report on a data set's files."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest

from relo_env.datasets import make_dataset
from relo_env.datasets.verify import verify
from relo_env.errors import ConfigError, DataError
from tests.relo_env.datasets import layouts
from tests.relo_env.datasets.layouts import BOXES, write


def test_a_whole_data_set(tmp_path):
    layouts.make_folder(tmp_path)
    report = verify("folder", root=tmp_path, decode=True)
    assert report.ok
    assert report.found == ("a", "b")
    assert report.frames == 6
    assert report.table.splitlines() == [
        "data set     Folder",
        "split        all",
        "found        2 sequences, 6 frames",
        "missing      0 sequences",
        "malformed    0 sequences",
    ]


def test_all_faults_are_reported(tmp_path):
    layouts.make_lasot(tmp_path)
    (tmp_path / "zebra" / "zebra-10" / "groundtruth.txt").unlink()
    steps = []
    report = verify(
        "lasot",
        root=tmp_path,
        split="test",
        progress=lambda done, total: steps.append((done, total)),
    )
    assert not report.ok
    assert report.found == ("airplane-1",)
    assert len(report.missing) == 278
    assert [name for name, _ in report.malformed] == ["zebra-10"]
    assert "  missing    airplane-9" in report.table
    assert "  malformed  zebra-10: Cannot read" in report.table
    assert "malformed    1 sequences" in report.table
    assert steps[0] == (1, 280)
    assert steps[-1] == (280, 280)


@pytest.mark.parametrize("box", ["10.0, 10.0, -4.0, 5.0", "inf, 10.0, 4.0, 5.0"])
def test_faults_that_reading_passes_over(tmp_path, box):
    layouts.make_lasot(tmp_path)
    folder = tmp_path / "airplane" / "airplane-2"
    write(folder / "groundtruth.txt", BOXES.replace("3,4,5,6", box))
    (folder / "out_of_view.txt").unlink()
    faults = [message for _, message in verify("lasot", root=tmp_path).malformed]
    assert len(faults) == 2
    assert "there is no" in faults[0]
    assert "out_of_view.txt" in faults[0]
    assert f"line 3: found [{box}]; expected finite numbers and no negative size" in faults[1]


def test_missing_labels_of_got10k_are_reported(tmp_path):
    layouts.make_got10k(tmp_path)
    (tmp_path / "val" / "GOT-10k_Val_000001" / "absence.label").unlink()
    for split, count in (("val", 1), ("test", 0)):
        assert len(verify("GOT10k", root=tmp_path, split=split).malformed) == count


def test_boxes_of_absent_frames_may_be_anything(tmp_path):
    """As in LaSOT's annotation: tiger-6, line 118, and lion-5, line 553."""
    layouts.make_lasot(tmp_path)
    folder = tmp_path / "zebra" / "zebra-10"
    write(folder / "groundtruth.txt", BOXES.replace("2,3,4,5", "-5,-9,-3,-4"))
    report = verify("lasot", root=tmp_path, split="test", decode=True)
    assert not report.malformed
    assert "zebra-10" in report.found


def test_what_can_be_read_but_not_used_is_reported(tmp_path):
    layouts.make_folder(tmp_path)
    write(tmp_path / "a" / "absent.txt", "1\n0\n0\n")
    write(tmp_path / "b" / "groundtruth.txt", BOXES.replace("3,4,5,6", "3,4,0.3,6"))
    faults = dict(verify("folder", root=tmp_path).malformed)
    assert "first frame is marked absent" in faults["a"]
    assert "box [3.0, 4.0, 0.3, 6.0] of frame 2 is smaller than a pixel" in faults["b"]


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_images_that_lost_their_end_are_reported(tmp_path, suffix):
    layouts.make_folder(tmp_path)
    for image in (tmp_path / "a" / "img").iterdir():
        image.unlink()
    noise = np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)
    for k, picture in enumerate(noise):
        data = cv2.imencode(f".{suffix}", picture)[1].tobytes()
        if k == 1:
            data = data[: len(data) * 6 // 10] + bytes(len(data) * 4 // 10)
        if k == 2:
            data += b"\0\0 what a camera adds"
        write(tmp_path / "a" / "img" / f"{k}.{suffix}", data)
    faults = verify("folder", root=tmp_path, decode=True).malformed
    assert [name for name, _ in faults] == ["a"]
    assert f"1.{suffix}" in faults[0][1]


def test_a_picture_of_an_impossible_size_is_reported(tmp_path):
    layouts.make_folder(tmp_path)
    path = tmp_path / "a" / "img" / "00000002.jpg"
    data = bytearray(cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes())
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    faults = verify("folder", root=tmp_path, decode=True).malformed
    assert [name for name, _ in faults] == ["a"]
    assert "Cannot decode image" in faults[0][1]


def test_what_a_system_leaves_behind_is_no_frame(tmp_path):
    layouts.make_folder(tmp_path)
    for junk in ("a/img/._00000001.jpg", "a/img/.DS_Store", "__MACOSX/a/img/1.jpg", "a/._v.mp4"):
        write(tmp_path / junk, b"junk")
    (tmp_path / "a" / "img" / "0.jpg").mkdir()
    report = verify("folder", root=tmp_path, decode=True)
    assert report.ok
    assert report.found == ("a", "b")


def test_a_part_of_got10k_is_trained_on_and_the_rest_reported(tmp_path):
    layouts.make_got10k(tmp_path)
    write(tmp_path / "train" / "list.txt", "GOT-10k_Train_000001\nGOT-10k_Train_000009\n")
    assert make_dataset("GOT10k", root=tmp_path).names == ("GOT-10k_Train_000001",)
    assert verify("GOT10k", root=tmp_path).missing == ("GOT-10k_Train_000009",)


def test_a_training_split_reports_what_it_trains_without(tmp_path):
    layouts.make_lasot(tmp_path)
    report = verify("lasot", root=tmp_path)
    assert report.found == ("airplane-2",)
    assert len(report.missing) == 1119


@pytest.mark.parametrize(
    ("layout", "name", "split", "count"),
    [
        ("trackingnet", "TrackingNet", "test", 511),
        ("trackingnet", "TrackingNet", "train", 30132),
        ("tnl2k", "TNL2K", "test", 700),
        ("tnl2k", "TNL2K", "train", 1300),
        ("vasttrack", "VastTrack", "test", 3500),
        ("vasttrack", "VastTrack", "train", 47110),
        ("got10k", "GOT10k", "train", 9335),
        ("got10k", "GOT10k", "vot-train", 8335),
    ],
)
def test_a_part_does_not_pass_for_the_whole(tmp_path, layout, name, split, count):
    getattr(layouts, f"make_{layout}")(tmp_path)
    report = verify(name, root=tmp_path, split=split)
    assert not report.ok
    assert report.unnamed == count - len(report.found) - len(report.malformed) > 0
    assert f"missing      {report.unnamed} sequences" in report.table
    assert f"{report.unnamed} whose names only the download tells" in report.table


def test_frames_are_decoded_only_when_asked(tmp_path):
    layouts.make_folder(tmp_path)
    write(tmp_path / "a" / "img" / "00000002.jpg", "no image")
    write(tmp_path / "a" / "img" / "00000003.jpg", "")
    write(tmp_path / "b" / "groundtruth.txt", BOXES.replace("3,4,5,6", "30,4,5,6"))
    assert verify("folder", root=tmp_path).ok
    report = verify("folder", root=tmp_path, decode=True)
    assert [name for name, _ in report.malformed] == ["a", "a", "b"]
    messages = [message for _, message in report.malformed]
    assert "00000002.jpg" in messages[0]
    assert "00000003.jpg" in messages[1]
    assert messages[2] == ("box [30.0, 4.0, 5.0, 6.0] of frame 2 lies outside its frame of 24 x 16")
    assert "malformed    2 sequences" in report.table


def test_what_cannot_be_verified(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        verify("lasot", root=tmp_path / "nowhere")
    with pytest.raises(DataError, match="no sequence of split 'train'"):
        verify("lasot", root=tmp_path)
    with pytest.raises(ConfigError, match="Unknown data set"):
        verify("nothing")


def test_real_sequences(dev_root):
    report = verify("folder", root=dev_root, decode=True)
    assert report.ok, report.table
    assert len(report.found) == 13


def test_a_file_that_the_disk_refuses_costs_its_sequence_only(tmp_path):
    layouts.make_folder(tmp_path)
    (tmp_path / "a" / "img" / "loop.jpg").symlink_to("loop.jpg")
    report = verify("folder", root=tmp_path)
    assert report.frames == 3
    [(name, message)] = report.malformed
    assert name == "a"
    assert "loop.jpg: Too many levels of symbolic links" in message
