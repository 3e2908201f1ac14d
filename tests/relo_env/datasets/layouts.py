"""Miniature copies of the data sets' layouts, as small as their readers allow.

Each ``make_<layout>(root)`` writes a data set with a few sequences of three frames. Frame k of a
sequence (counted as its files are) is a 24 x 16 picture of grey level k, so that a test sees
which file a frame came from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from relo_env.datasets.disk import DiskDataset, MissingSequenceError

BOXES = "1,2,3,4\n2,3,4,5\n3,4,5,6\n"


def on_disk(dataset: DiskDataset) -> list[str]:
    """Names of a data set's sequences that have files."""
    found = []
    for name in dataset.names:
        with suppress(MissingSequenceError):
            dataset.locate(name)
            found.append(name)
    return found


def picture(level: int) -> bytes:
    """An image file of 24 x 16 pixels of one grey level, modulo 256."""
    ok, data = cv2.imencode(".png", np.full((16, 24, 3), level % 256, np.uint8))
    assert ok
    return data.tobytes()


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    else:
        path.write_bytes(content)


def write_images(folder: Path, numbers: Iterable[int], digits: int = 8) -> None:
    for number in numbers:
        write(folder / f"{number:0{digits}d}.jpg", picture(number))


def palette_png(numbers: np.ndarray) -> bytes:
    """A mask of object numbers with the palette of PASCAL VOC, as DAVIS has."""
    palette = []
    for number in range(256):
        colour = [0, 0, 0]
        for bit in range(8):
            colour[bit % 3] |= ((number >> bit) & 1) << (7 - bit // 3)
        palette += colour
    image = Image.fromarray(numbers.astype(np.uint8))
    image.putpalette(palette)
    buffer = BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def lasot_sequence(folder: Path) -> None:
    write_images(folder / "img", (1, 2, 3))
    write(folder / "groundtruth.txt", BOXES)
    write(folder / "full_occlusion.txt", "0,1,0\n")
    write(folder / "out_of_view.txt", "0,0,0\n")


def make_folder(root: Path) -> None:
    for name in ("a", "b"):
        write_images(root / name / "img", (1, 2, 3))
        write(root / name / "groundtruth.txt", BOXES)
    write(root / "b" / "absent.txt", "0\n1\n0\n")


def make_lasot(root: Path) -> None:
    for name in ("airplane-1", "airplane-2", "zebra-10"):
        lasot_sequence(root / name.partition("-")[0] / name)


def make_lasot_flat(root: Path) -> None:
    for name in ("airplane-1", "airplane-2", "zebra-10"):
        lasot_sequence(root / name)


def make_lasot_ext(root: Path) -> None:
    lasot_sequence(root / "atv" / "atv-1")


def make_got10k(root: Path) -> None:
    for split, names in (
        ("train", ["GOT-10k_Train_000001", "GOT-10k_Train_000002"]),
        ("val", ["GOT-10k_Val_000001"]),
        ("test", ["GOT-10k_Test_000001"]),
    ):
        write(root / split / "list.txt", "\n".join(names) + "\n")
        for name in names:
            folder = root / split / name
            write_images(folder, (1, 2, 3))
            if split == "test":
                write(folder / "groundtruth.txt", "1.0000,2.0000,3.0000,4.0000\n")
                continue
            write(folder / "groundtruth.txt", BOXES)
            write(folder / "absence.label", "0\n1\n0\n")
            write(folder / "cover.label", "8\n8\n0\n")


def make_trackingnet(root: Path) -> None:
    for chunk, name, boxes in (
        ("TRAIN_0", "abc_0", BOXES),
        ("TRAIN_11", "xyz_1", BOXES),
        ("TEST", "test_0", "1,2,3,4\n"),
    ):
        write_images(root / chunk / "frames" / name, range(11), digits=1)
        rows = boxes if chunk == "TEST" else "1,2,3,4\n" * 11
        write(root / chunk / "anno" / f"{name}.txt", rows)


def make_tnl2k(root: Path) -> None:
    for folder in ("train/first", "TNL2K_test_subset/part1/second"):
        write_images(root / folder / "imgs", (1, 2, 3), digits=5)
        write(root / folder / "groundtruth.txt", "1,2,3,4\n0,0,0,0\n3,4,5,6\n")


def make_nfs(root: Path) -> None:
    folder = root / "bee"
    write_images(folder / "30" / "bee", (1, 2, 3), digits=5)
    write_images(folder / "240" / "bee", range(1, 23), digits=5)
    rows = "".join(f'0 1 2 4 {6 + k} {k} 0 0 0 "bee"\n' for k in range(22))
    write(folder / "30" / "bee.txt", rows)
    write(folder / "240" / "bee.txt", rows)


def make_nfs_family(root: Path) -> None:
    write_images(root / "sequences" / "bee", (1, 2, 3), digits=5)
    write(root / "anno" / "nfs_bee.txt", BOXES.replace(",", "\t"))


def make_uav123(root: Path) -> None:
    # bird1_2 is images 775 to 1477 of the folder bird1, at 10 fps 259 to 493.
    for folder, first, last in (("UAV123", 775, 1477), ("UAV123_10fps", 259, 493)):
        images = root / "data_seq" / folder / "bird1"
        images.mkdir(parents=True)
        for number in (first - 1, *range(first, last + 1), last + 1):
            (images / f"{number:06d}.jpg").write_bytes(b"not decoded")
        write(images / f"{first:06d}.jpg", picture(7))
        rows = ["1,2,3,4", "NaN,NaN,NaN,NaN", *["3,4,5,6"] * (last - first - 1)]
        write(root / "anno" / folder / "bird1_2.txt", "\n".join(rows))


def make_otb(root: Path) -> None:
    for name in ("Biker", "Jogging", "David"):
        write_images(root / name / "img", (1, 2, 3), digits=4)
    write(root / "Biker" / "groundtruth_rect.txt", "2\t3\t3\t4\n3\t4\t4\t5\n4\t5\t5\t6\n")
    write(root / "Jogging" / "groundtruth_rect.1.txt", "2,3,3,4\n3,4,4,5\n4,5,5,6\n")
    write(root / "Jogging" / "groundtruth_rect.2.txt", "9,9,3,4\n3,4,4,5\n4,5,5,6\n")
    for number in range(298, 773):
        write(root / "David" / "img" / f"{number:04d}.jpg", picture(number))
    write(root / "David" / "groundtruth_rect.txt", "2 3 3 4\n" * 471)


def make_otb_pysot(root: Path) -> None:
    for target, box in (("1", "2,3,3,4"), ("2", "9,9,3,4")):
        folder = root / f"Jogging-{target}"
        write_images(folder / "img", (1, 2, 3), digits=4)
        write(folder / "groundtruth_rect.txt", f"{box}\n3,4,4,5\n4,5,5,6\n")


def make_dtb70(root: Path) -> None:
    write_images(root / "BMX2" / "img", (1, 2, 3), digits=5)
    write(root / "BMX2" / "groundtruth_rect.txt", BOXES)


def make_uavdt(root: Path) -> None:
    for number in (1, 2, 3):
        write(root / "UAV-benchmark-S" / "S0101" / f"img{number:06d}.jpg", picture(number))
    write(root / "anno" / "S0101_gt.txt", BOXES)


def make_vots(root: Path) -> None:
    write(root / "list.txt", "cups\n")
    write_images(root / "cups" / "color", (1, 2, 3, 4, 5))
    write(root / "cups" / "groundtruth_1.txt", "m1,2,3,4,0,5\n0\n3,4,5,6\n")
    write(root / "cups" / "groundtruth_2.txt", "1,2,3,4\n" * 5)


def make_vasttrack(root: Path) -> None:
    for split, name in (("train", "Air Hockey-1"), ("test", "Zebra-2")):
        folder = root / split / name.rpartition("-")[0] / name
        write_images(folder / "imgs", (1, 2, 3), digits=5)
        write(folder / "Groundtruth.txt", "1,2,3,4\n0,0,0,0\n3,4,5,6\n")


def make_vot(root: Path) -> None:
    write(root / "list.txt", "ants1\nbag\n")
    write_images(root / "ants1" / "color", (1, 2, 3))
    write(root / "ants1" / "groundtruth.txt", "1,2,4,2,4,6,1,6\n2,3,6,3,6,8,2,8\nnan,nan,nan,nan\n")
    write(root / "ants1" / "occlusion.tag", "0\n1\n0\n")
    write(root / "ants1" / "size_change.tag", "0\n0\n0\n")
    write_images(root / "bag", (1, 2, 3))
    write(root / "bag" / "groundtruth.txt", "m1,2,3,4,0,5,7\nm2,3,4,5,0,20\nm3,4,5,6,0,30\n")


def make_coco(root: Path) -> None:
    write(root / "train2017" / "000000000009.jpg", picture(9))
    write(
        root / "annotations" / "instances_train2017.json",
        json.dumps(
            {
                "images": [{"id": 9, "file_name": "000000000009.jpg"}],
                "annotations": [
                    {"id": 1, "image_id": 9, "bbox": [1, 2, 60, 51], "iscrowd": 0},
                    {"id": 2, "image_id": 9, "bbox": [1, 2, 60, 50], "iscrowd": 0},
                    {"id": 3, "image_id": 9, "bbox": [1, 2, 60, 70], "iscrowd": 1},
                ],
            }
        ),
    )


def masks() -> list[np.ndarray]:
    """Three masks: object 1 throughout, object 2 in the second only, 38 in the last two."""
    numbers = np.zeros((3, 16, 24), dtype=np.uint8)
    for k in range(3):
        numbers[k, 2 + k : 6 + k, 1 + k : 4 + k] = 1
    numbers[1, 10:12, 20:24] = 2
    numbers[1:, 0:2, 10:20] = 38
    return list(numbers)


def make_davis(root: Path) -> None:
    write(root / "ImageSets" / "2017" / "train.txt", "bear\n")
    for k, mask in enumerate(masks()):
        write(root / "JPEGImages" / "480p" / "bear" / f"{k:05d}.jpg", picture(k))
        write(root / "Annotations" / "480p" / "bear" / f"{k:05d}.png", palette_png(mask))


def make_youtube_vos(root: Path) -> None:
    train = root / "train"
    objects = {number: {"category": "bear"} for number in ("1", "2", "38")}
    write(train / "meta.json", json.dumps({"videos": {"003": {"objects": objects}}}))
    for k, mask in enumerate(masks()):
        write(train / "JPEGImages" / "003" / f"{5 * k:05d}.jpg", picture(5 * k))
        write(train / "Annotations" / "003" / f"{5 * k:05d}.png", palette_png(mask))
    write(train / "JPEGImages" / "003" / "00001.jpg", picture(1))  # a frame without mask
