"""Every layout, whole and with faults."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from relo_env.datasets import Dataset, make_dataset
from relo_env.datasets.disk import MissingSequenceError
from relo_env.datasets.masks import mask_boxes, read_mask
from relo_env.datasets.verify import verify
from relo_env.errors import DataError
from tests.relo_env.datasets import layouts
from tests.relo_env.datasets.layouts import BOXES, palette_png, picture, write

GOT = "GOT-10k_Train_000001"


def build(tmp_path: Path, layout: str) -> Path:
    getattr(layouts, f"make_{layout}")(tmp_path)
    return tmp_path


def levels(dataset: Dataset, name: str) -> list[int]:
    """Grey levels of a sequence's frames: the numbers of their files."""
    frames = dataset[name].frames
    return [int(frames.read(k)[0, 0, 0]) for k in range(len(frames))]


def test_folder(tmp_path):
    dataset = make_dataset("Folder", root=build(tmp_path, "folder"))
    assert dataset.names == ("a", "b")
    assert dataset.split == "all"
    assert dataset.is_training
    assert levels(dataset, "a") == [1, 2, 3]
    assert dataset["a"].boxes.tolist() == [[1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 6]]
    assert dataset["b"].visible.tolist() == [True, False, True]
    assert dataset["b"].boxes[1].tolist() == [0, 0, 0, 0]


def test_folder_that_is_one_sequence(tmp_path):
    root = build(tmp_path, "folder") / "a"
    dataset = make_dataset("Folder", root=root)
    assert dataset.names == ("a",)
    assert len(dataset[0]) == 3


def test_folder_with_a_video_or_with_images_beside_the_annotation(tmp_path):
    root = build(tmp_path, "folder")
    shutil.rmtree(root / "a" / "img")
    writer = cv2.VideoWriter(
        str(root / "a" / "my video.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (24, 16)
    )
    for level in (1, 2, 3):
        writer.write(np.full((16, 24, 3), 60 * level, np.uint8))
    writer.release()
    for image in (root / "b" / "img").iterdir():
        image.rename(root / "b" / image.name)
    (root / "b" / "img").rmdir()
    dataset = make_dataset("Folder", root=root)
    assert [round(level / 60) for level in levels(dataset, "a")] == [1, 2, 3]
    assert levels(dataset, "b") == [1, 2, 3]


@pytest.mark.parametrize("layout", ["lasot", "lasot_flat"])
def test_lasot(tmp_path, layout):
    root = build(tmp_path, layout)
    train = make_dataset("LaSOT", root=root)
    assert train.names == ("airplane-2",)
    assert train.is_training
    assert levels(train, "airplane-2") == [1, 2, 3]
    assert train[0].visible.tolist() == [True, False, True]
    test = make_dataset("LaSOT", root=root, split="test")
    assert len(test) == 280
    assert not test.is_training
    assert levels(test, "zebra-10") == [1, 2, 3]
    assert train[0].attributes == ()
    assert test["airplane-1"].attributes == ("POC", "ROT", "SV", "LR")
    with pytest.raises(MissingSequenceError, match="no sequence 'airplane-9'"):
        test["airplane-9"]


def test_lasot_ext(tmp_path):
    dataset = make_dataset("LaSOText", root=build(tmp_path, "lasot_ext"))
    assert len(dataset) == 150
    assert levels(dataset, "atv-1") == [1, 2, 3]
    assert not dataset.is_training


def test_got10k(tmp_path):
    root = build(tmp_path, "got10k")
    train = make_dataset("GOT10k", root=root)
    assert train.names == ("GOT-10k_Train_000001", "GOT-10k_Train_000002")
    assert levels(train, "GOT-10k_Train_000002") == [1, 2, 3]
    # absence marks the second frame, cover 0 the third.
    assert train[0].visible.tolist() == [True, False, False]
    (root / "train" / "list.txt").unlink()
    assert make_dataset("GOT10k", root=root).names == train.names
    write(root / "train" / "list.txt", "GOT-10k_Train_000003\nGOT-10k_Train_000004\n")
    layouts.write_images(root / "train" / "GOT-10k_Train_000003", (1,))
    without_vot = make_dataset("GOT10k", root=root, split="vot-train")
    assert without_vot.names == ("GOT-10k_Train_000003",)  # 000004 is in VOT too
    assert without_vot.is_training
    assert len(make_dataset("GOT10k", root=root, split="val")) == 180
    test = make_dataset("GOT10k", root=root, split="test")
    assert len(test) == 180
    assert test[0].boxes.tolist() == [[1, 2, 3, 4], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert test[0].visible.tolist() == [True, False, False]


def test_trackingnet(tmp_path):
    root = build(tmp_path, "trackingnet")
    train = make_dataset("TrackingNet", root=root)
    assert train.names == ("abc_0", "xyz_1")
    write(root / "TRAIN_0" / "anno" / "abc_0.txt", "1,2,3,4\n" * 11)
    assert levels(train, "abc_0") == list(range(11))
    test = make_dataset("TrackingNet", root=root, split="test")
    assert test.names == ("test_0",)
    assert test[0].visible.tolist() == [True] + [False] * 10
    assert test[0].labelled.tolist() == [True] + [False] * 10
    write(root / "TEST" / "anno" / "test_0.txt", "1,2,3,4\n" * 2)
    with pytest.raises(DataError, match="2 boxes; expected the first frame's only"):
        test.load("test_0")


def test_tnl2k(tmp_path):
    root = build(tmp_path, "tnl2k")
    train = make_dataset("TNL2K", root=root)
    assert train.names == ("first",)
    assert train[0].visible.tolist() == [True, False, True]
    test = make_dataset("TNL2K", root=root, split="test")
    assert levels(test, "second") == [1, 2, 3]


def test_nfs(tmp_path):
    root = build(tmp_path, "nfs")
    slow = make_dataset("NfS", root=root)
    assert len(slow) == 100
    assert levels(slow, "bee") == [1, 2, 3]
    # Rows 0, 8 and 16 of the 240 fps annotation; row k is 1, 2 to 4, 6 + k.
    assert slow["bee"].boxes.tolist() == [[1, 2, 3, 4], [1, 2, 3, 12], [1, 2, 3, 20]]
    fast = make_dataset("NfS240", root=root)
    assert levels(fast, "bee") == list(range(1, 23))
    assert fast["bee"].boxes[21].tolist() == [1, 2, 3, 25]


def test_nfs_counts_that_differ_by_one_are_cut_and_lost_targets_absent(tmp_path):
    root = build(tmp_path, "nfs")
    rows = '0 1 2 4 6 0 0 0 0 "bee"\n0 1 2 4 6 1 1 0 0 "bee"\n'
    write(root / "bee" / "30" / "bee.txt", rows)
    sequence = make_dataset("NfS", root=root)["bee"]
    assert sequence.visible.tolist() == [True, False]
    write(root / "bee" / "30" / "bee.txt", rows[:24] * 4)
    assert len(make_dataset("NfS", root=root)["bee"]) == 3


@pytest.mark.parametrize("line", ["0 1 2 4", "1,2,3,4"])
def test_nfs_rows_that_are_too_short_are_not_joined(tmp_path, line):
    layouts.make_nfs(tmp_path)
    write(tmp_path / "bee" / "30" / "bee.txt", f"{line}\n" * 22)
    with pytest.raises(DataError, match=f"found {line!r}; expected a track"):
        make_dataset("NfS", root=tmp_path)["bee"]


def test_nfs_in_the_layout_of_the_pytracking_family(tmp_path):
    dataset = make_dataset("NfS", root=build(tmp_path, "nfs_family"))
    assert levels(dataset, "bee") == [1, 2, 3]
    assert dataset["bee"].boxes[2].tolist() == [3, 4, 5, 6]


@pytest.mark.parametrize(("name", "length"), [("UAV123", 703), ("UAV123_10fps", 235)])
def test_uav123(tmp_path, name, length):
    dataset = make_dataset(name, root=build(tmp_path, "uav123"))
    assert len(dataset) == 123
    sequence = dataset["bird1_2"]
    assert len(sequence) == length
    assert sequence.visible.tolist() == [True, False] + [True] * (length - 2)
    assert sequence.frames.read(0)[0, 0, 0] == 7
    assert sequence.attributes == ("SV", "ARC", "LR", "FM", "FOC", "POC", "OV")


def test_otb(tmp_path):
    dataset = make_dataset("OTB100", root=build(tmp_path, "otb"))
    assert len(dataset) == 100
    assert dataset["Biker"].boxes[0].tolist() == [1, 2, 3, 4]  # 1-based in the file
    assert dataset["Biker"].attributes == ("SV", "OCC", "MB", "FM", "OPR", "OV", "LR")
    assert dataset["Jogging_1"].boxes[0].tolist() == [1, 2, 3, 4]
    assert dataset["Jogging_2"].boxes[0].tolist() == [8, 8, 3, 4]
    assert levels(dataset, "David") == [number % 256 for number in range(300, 771)]


def test_otb_leaves_out_the_first_frames_of_tiger1(tmp_path):
    layouts.write_images(tmp_path / "Tiger1" / "img", range(1, 355), digits=4)
    rows = "".join(f"{k} 1 3 4\n" for k in range(1, 355))
    write(tmp_path / "Tiger1" / "groundtruth_rect.txt", rows)
    sequence = make_dataset("OTB100", root=tmp_path)["Tiger1"]
    assert len(sequence) == 349
    assert sequence.boxes[0].tolist() == [5, 0, 3, 4]
    assert sequence.frames.read(0)[0, 0, 0] == 6


def test_vasttrack(tmp_path):
    root = build(tmp_path, "vasttrack")
    train = make_dataset("VastTrack", root=root)
    assert train.names == ("Air Hockey-1",)
    assert train[0].visible.tolist() == [True, False, True]
    assert make_dataset("VastTrack", root=root, split="test").names == ("Zebra-2",)


@pytest.mark.parametrize("workspace", [False, True])
def test_vot(tmp_path, workspace):
    build(tmp_path / "sequences" if workspace else tmp_path, "vot")
    dataset = make_dataset("VOT", root=tmp_path)
    assert dataset.names == ("ants1", "bag")
    ants = dataset["ants1"]
    assert ants.boxes.tolist() == [[1, 2, 3, 4], [2, 3, 4, 5], [0, 0, 0, 0]]
    assert ants.attributes == ("occlusion",)
    assert dataset["bag"].boxes.tolist() == [[1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 6]]


def test_vot_with_several_objects(tmp_path):
    dataset = make_dataset("VOT", root=build(tmp_path, "vots"))
    assert dataset.names == ("cups_1", "cups_2")
    first = dataset["cups_1"]
    assert first.boxes.tolist() == [[1, 2, 3, 4], [0] * 4, [3, 4, 5, 6], [0] * 4, [0] * 4]
    assert first.visible.tolist() == [True, False, True, False, False]
    assert first.labelled.tolist() == [True, True, True, False, False]
    assert dataset["cups_2"].labelled.all()


def test_otb_as_pysot_has_it(tmp_path):
    dataset = make_dataset("OTB2013", root=build(tmp_path, "otb_pysot"))
    assert len(dataset) == 51
    assert dataset["Jogging_2"].boxes[0].tolist() == [8, 8, 3, 4]


@pytest.mark.parametrize(
    ("layout", "name", "sequence", "count"),
    [
        ("dtb70", "DTB70", "BMX2", 70),
        ("uavdt", "UAVDT", "S0101", 50),
        ("otb", "OTB50", "Biker", 50),
    ],
)
def test_further_sets_of_test_sequences(tmp_path, layout, name, sequence, count):
    dataset = make_dataset(name, root=build(tmp_path, layout))
    assert len(dataset) == len(set(dataset.names)) == count
    assert levels(dataset, sequence) == [1, 2, 3]


def test_attributes_that_toolkits_ship(tmp_path):
    root = build(tmp_path, "tnl2k")
    write(root / "att" / "second_attribute.txt", "1,1" + ",0" * 15 + ",1\n")
    assert make_dataset("TNL2K", root=root, split="test")["second"].attributes == ("CM", "MS")
    images = root / "data_seq" / "UAV123" / "person7"
    layouts.write_images(images, range(1, 2066), digits=6)
    write(root / "anno" / "UAV20L" / "person7.txt", "1,2,3,4\n" * 2065)
    write(root / "anno" / "UAV20L" / "att" / "person7.txt", "1,0,0,0,0,0,0,0,0,0,0,1")
    assert make_dataset("UAV20L", root=root)["person7"].attributes == ("SV", "SOB")


def test_frames_that_nobody_labelled(tmp_path):
    root = build(tmp_path, "folder")
    write(root / "a" / "groundtruth.txt", "1,2,3,4\nnan\n0,0,0,0\n")
    assert make_dataset("Folder", root=root)["a"].labelled.all()
    sequence = make_dataset("Folder", root=root, nan="unlabelled")["a"]
    assert sequence.labelled.tolist() == [True, False, True]
    assert sequence.visible.tolist() == [True, False, False]
    write(root / "b" / "labelled.txt", "1 1 0")
    assert make_dataset("Folder", root=root)["b"].labelled.tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("layout", "name", "split", "sequence", "file"),
    [
        ("lasot", "LaSOT", "train", "airplane-2", "airplane/airplane-2/groundtruth.txt"),
        ("got10k", "GOT10k", "train", GOT, f"train/{GOT}/groundtruth.txt"),
        ("dtb70", "DTB70", "test", "BMX2", "BMX2/groundtruth_rect.txt"),
        ("uavdt", "UAVDT", "test", "S0101", "anno/S0101_gt.txt"),
    ],
)
def test_counts_that_differ_are_cut_on_request(tmp_path, layout, name, split, sequence, file):
    root = build(tmp_path, layout)
    write(root / file, "1,2,3,4\n1,2,3,4\n")
    with pytest.raises(DataError, match="lengths='cut'"):
        make_dataset(name, root=root, split=split)[sequence]
    assert len(make_dataset(name, root=root, split=split, lengths="cut")[sequence]) == 2
    write(root / file, "1,2,3,4\n" * 6)
    assert len(make_dataset(name, root=root, split=split, lengths="cut")[sequence]) == 3


def test_coco(tmp_path):
    root = build(tmp_path, "coco")
    dataset = make_dataset("COCO", root=root, length=12)
    assert dataset.names == ("1",)  # the others are too small, or a crowd
    assert levels(dataset, "1") == [9] * 12
    assert dataset[0].boxes.tolist() == [[1, 2, 60, 51]] * 12
    (root / "images").mkdir()
    (root / "train2017").rename(root / "images" / "train2017")
    assert levels(make_dataset("COCO", root=root), "1") == [9] * 20


def test_davis(tmp_path):
    dataset = make_dataset("DAVIS", root=build(tmp_path, "davis"))
    assert dataset.names == ("bear_1",)  # objects of the first mask
    assert dataset[0].boxes.tolist() == [[1, 2, 3, 4], [2, 3, 3, 4], [3, 4, 3, 4]]
    assert levels(dataset, "bear_1") == [0, 1, 2]


def test_youtube_vos(tmp_path):
    dataset = make_dataset("YouTubeVOS", root=build(tmp_path, "youtube_vos"))
    assert dataset.names == ("003_1", "003_2", "003_38")
    assert levels(dataset, "003_1") == [0, 5, 10]  # without the frame that has no mask
    assert levels(dataset, "003_2") == [5, 10]  # from where the object is first seen
    assert dataset["003_2"].boxes.tolist() == [[20, 10, 4, 2], [0, 0, 0, 0]]
    assert dataset["003_38"].boxes.tolist() == [[10, 0, 10, 2]] * 2


def test_masks_of_a_palette_or_in_grey(tmp_path):
    numbers = np.arange(256, dtype=np.uint8).reshape(16, 16)
    write(tmp_path / "palette.png", palette_png(numbers))
    assert np.array_equal(read_mask(tmp_path / "palette.png"), numbers)
    (tmp_path / "grey.png").write_bytes(cv2.imencode(".png", numbers)[1].tobytes())
    assert np.array_equal(read_mask(tmp_path / "grey.png"), numbers)
    boxes = mask_boxes(numbers)
    assert len(boxes) == 255
    assert boxes[17].tolist() == [1, 1, 1, 1]


def replace(file: str, content: str | bytes) -> Callable[[Path], None]:
    return lambda root: write(root / file, content)


def remove(path: str) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        shutil.rmtree(root / path) if (root / path).is_dir() else (root / path).unlink()

    return apply


LASOT = "airplane/airplane-2"
FAULTS = [
    ("folder", "Folder", "a", remove("a/groundtruth.txt"), r"Cannot read .*groundtruth\.txt"),
    ("folder", "Folder", "a", replace("a/groundtruth.txt", ""), r"0 boxes .* 3 frames"),
    ("folder", "Folder", "a", replace("a/groundtruth.txt", "1,2\n" * 3), r"line 1: found '1,2'"),
    ("folder", "Folder", "a", replace("a/groundtruth.txt", "x y z w\n" * 3), r"groundtruth\.txt"),
    (
        "folder",
        "Folder",
        "a",
        replace("a/groundtruth.txt", "0,0,0,0\n" + BOXES[8:]),
        r"first frame",
    ),
    (
        "folder",
        "Folder",
        "a",
        replace("a/groundtruth.txt", "nan,1,2,3\n" + BOXES[8:]),
        r"first frame",
    ),
    ("folder", "Folder", "a", replace("a/groundtruth.txt", b"\xff\xfe\x00"), r"not a text file"),
    ("folder", "Folder", "a", remove("a/img/00000002.jpg"), r"3 boxes .* 2 frames"),
    ("folder", "Folder", "b", replace("b/absent.txt", "0\n1\n"), r"absent\.txt has 2 labels"),
    ("folder", "Folder", "b", replace("b/absent.txt", "1\n1\n1\n"), r"none of its 3 frames"),
    ("folder", "Folder", "b", replace("b/absent.txt", "no\n"), r"absent\.txt.*whole number"),
    ("lasot", "LaSOT", "airplane-2", remove(f"{LASOT}/img"), r"No images in"),
    ("lasot", "LaSOT", "airplane-2", remove(f"{LASOT}/groundtruth.txt"), r"Cannot read"),
    ("lasot", "LaSOT", "airplane-2", replace(f"{LASOT}/out_of_view.txt", "0,0"), r"2 labels"),
    ("lasot", "LaSOT", "airplane-2", replace(f"{LASOT}/full_occlusion.txt", "?"), r"full_occl"),
    ("got10k", "GOT10k", GOT, replace(f"train/{GOT}/00000004.jpg", picture(4)), r"3 boxes .* 4"),
    (
        "got10k",
        "GOT10k",
        GOT,
        replace(f"train/{GOT}/absence.label", "0\n"),
        r"absence\.label has 1",
    ),
    ("got10k", "GOT10k", GOT, replace(f"train/{GOT}/cover.label", "8\n8\nx"), r"cover\.label"),
    ("got10k", "GOT10k", GOT, remove(f"train/{GOT}"), r"no sequence 'GOT-10k_Train_000001'"),
    ("trackingnet", "TrackingNet", "abc_0", remove("TRAIN_0/frames/abc_0"), r"No images in"),
    ("trackingnet", "TrackingNet", "abc_0", replace("TRAIN_0/anno/abc_0.txt", BOXES), r"3 boxes"),
    ("tnl2k", "TNL2K", "first", remove("train/first/groundtruth.txt"), r"Cannot read"),
    ("nfs", "NfS", "bee", replace("bee/30/bee.txt", "0 1 2 3\n"), r"bee\.txt.*expected a track"),
    ("nfs", "NfS", "bee", replace("bee/30/bee.txt", "0 1 2 4 6 0 0\n" * 5), r"5 boxes .* 3 frames"),
    ("nfs", "NfS", "bee", remove("bee/30/bee"), r"No images in"),
    ("nfs_family", "NfS", "bee", remove("sequences/bee"), r"No images in"),
    ("uav123", "UAV123", "bird1_2", remove("data_seq/UAV123/bird1"), r"775 to 1477"),
    ("uav123", "UAV123", "bird1_2", remove("data_seq/UAV123/bird1/000800.jpg"), r"703 .* 702"),
    ("otb", "OTB100", "David", remove("David/img/0400.jpg"), r"471 .*470"),
    (
        "otb",
        "OTB100",
        "Jogging_2",
        remove("Jogging/groundtruth_rect.2.txt"),
        r"Cannot read .*rect\.2",
    ),
    (
        "vasttrack",
        "VastTrack",
        "Air Hockey-1",
        remove("train/Air Hockey/Air Hockey-1/imgs"),
        "No im",
    ),
    ("vot", "VOT", "bag", remove("bag"), r"no sequence 'bag'"),
    ("vot", "VOT", "ants1", replace("ants1/groundtruth.txt", "1,2,3,4,5,6,7\n" * 3), r"corners"),
    ("vot", "VOT", "ants1", replace("ants1/occlusion.tag", "yes"), r"occlusion\.tag"),
    ("coco", "COCO", "1", remove("train2017/000000000009.jpg"), r"no sequence '1'"),
    ("davis", "DAVIS", "bear_1", remove("JPEGImages/480p/bear/00001.jpg"), r"3 masks .* 2 frames"),
    (
        "davis",
        "DAVIS",
        "bear_1",
        replace("Annotations/480p/bear/00001.png", b"no"),
        r"Cannot decode image .*00001\.png",
    ),
    (
        "youtube_vos",
        "YouTubeVOS",
        "003_2",
        replace("train/Annotations/003/00005.png", palette_png(np.zeros((16, 24)))),
        r"first frame's box is empty",
    ),
    ("youtube_vos", "YouTubeVOS", "003_1", remove("train/JPEGImages/003"), r"No images in"),
]


@pytest.mark.parametrize(
    ("layout", "dataset", "sequence", "fault", "message"),
    FAULTS,
    ids=[f"{row[1]}-{k}" for k, row in enumerate(FAULTS)],
)
def test_a_fault_is_named_and_found_by_verify(tmp_path, layout, dataset, sequence, fault, message):
    root = build(tmp_path, layout)
    fault(root)
    with pytest.raises(DataError, match=message):
        make_dataset(dataset, root=root).load(sequence)
    report = verify(dataset, root=root)
    assert not report.ok
    assert sequence in report.missing or sequence in dict(report.malformed)
    assert sequence not in report.found


UNREADABLE = [
    ("coco", "COCO", remove("annotations/instances_train2017.json"), r"instances_train2017\.json"),
    (
        "coco",
        "COCO",
        replace("annotations/instances_train2017.json", "{"),
        r"not a COCO annotation",
    ),
    ("coco", "COCO", replace("annotations/instances_train2017.json", "[]"), r"not a COCO annot"),
    ("davis", "DAVIS", remove("ImageSets"), r"no list of videos"),
    ("youtube_vos", "YouTubeVOS", remove("train/meta.json"), r"no file .*meta\.json"),
    ("youtube_vos", "YouTubeVOS", replace("train/meta.json", '{"videos": 3}'), r"list of objects"),
    ("vot", "VOT", remove("list.txt"), r"Cannot read .*list\.txt"),
    ("trackingnet", "TrackingNet", remove("TRAIN_0"), r""),
    ("lasot", "LaSOT", remove("airplane"), r"no sequence of split 'train'"),
    ("got10k", "GOT10k", remove("train"), r"no sequence of split 'train'"),
    ("folder", "Folder", remove("a"), r""),
]


@pytest.mark.parametrize(("layout", "dataset", "fault", "message"), UNREADABLE)
def test_a_data_set_without_its_lists_or_sequences_is_refused(
    tmp_path, layout, dataset, fault, message
):
    root = build(tmp_path, layout)
    fault(root)
    if message:
        with pytest.raises(DataError, match=message):
            make_dataset(dataset, root=root)
    else:  # the rest of it is still a data set
        assert len(make_dataset(dataset, root=root)) == 1


def test_a_missing_image_does_not_shift_the_boxes_after_it(tmp_path):
    layouts.make_folder(tmp_path)
    (tmp_path / "a" / "img" / "00000002.jpg").unlink()
    with pytest.raises(DataError, match=r"'a'.* numbered \[2\] are missing"):
        make_dataset("Folder", root=tmp_path, lengths="cut")["a"]
    (tmp_path / "b" / "img" / "00000003.jpg").unlink()
    assert len(make_dataset("Folder", root=tmp_path, lengths="cut")["b"]) == 2


def test_annotations_called_otherwise_are_named(tmp_path):
    layouts.make_folder(tmp_path)
    (tmp_path / "a" / "groundtruth.txt").rename(tmp_path / "a" / "groundtruth_rect.txt")
    with pytest.raises(DataError, match=r"Cannot read .* there: groundtruth_rect\.txt"):
        make_dataset("Folder", root=tmp_path)["a"]


def test_a_header_or_utf_16_needs_no_pictures(tmp_path):
    layouts.make_folder(tmp_path)
    write(tmp_path / "a" / "groundtruth.txt", "x,y,w,h\n" + BOXES)
    (tmp_path / "b" / "groundtruth.txt").write_bytes(BOXES.encode("utf-16"))
    for name in "ab":
        shutil.rmtree(tmp_path / name / "img")
        (tmp_path / name / "img").mkdir()
        assert make_dataset("Folder", root=tmp_path).annotation(name).boxes.shape == (3, 4)


def test_a_size_of_zero_in_meta_info_is_none(tmp_path):
    layouts.make_got10k(tmp_path)
    name = "GOT-10k_Val_000001"
    write(tmp_path / "val" / name / "meta_info.ini", "[METAINFO]\nresolution: (0, 0)\n")
    dataset = make_dataset("GOT10k", root=tmp_path, split="val")
    height, width = dataset[name].frames.read(0).shape[:2]
    assert dataset.frame_size(name) == (width, height)


def test_a_missing_annotation_is_named_before_missing_pictures(tmp_path):
    write(tmp_path / "Human4" / "groundtruth_rect.1.txt", BOXES)
    with pytest.raises(DataError, match=r"no annotation .*groundtruth_rect\.2\.txt.*No images"):
        make_dataset("OTB100", root=tmp_path).annotation("Human4_2")
