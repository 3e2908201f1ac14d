"""Annotations in the files of evaluation toolkits, without the benchmark's own download."""

import json
import math

import numpy as np
import pytest

from relo_env.benchmark.evaluation import evaluate
from relo_env.datasets.registry import make_dataset
from relo_env.datasets.verify import verify
from relo_env.errors import DataError
from tests.relo_env.datasets import layouts

RECTS = [[2, 3, 30, 40], [3, 4, 30, 40], [4, 5, 30, 40]]


def entry(name, rects=RECTS, **more):
    images = [f"{name}/img/{k:04d}.jpg" for k in range(1, len(rects) + 1)]
    return {
        "video_dir": name,
        "init_rect": rects[0],
        "img_names": images,
        "gt_rect": rects,
        "attr": ["Scale Variation", "Occlusion"],
        **more,
    }


def write_json(path, entries):
    layouts.write(path, json.dumps(entries))


@pytest.mark.parametrize(
    ("dataset", "file", "name", "ours", "origins"),
    [
        ("OTB100", "OTB100.json", "Jogging-1", "Jogging_1", (0, 1)),
        ("OTB100", "otb100.json", "Basketball", "Basketball", (0, 1)),
        ("OTB50", "OTB50.json", "Biker", "Biker", (0, 1)),
        ("OTB2013", "CVPR13.json", "David", "David", (0, 1)),
        ("UAV123", "UAV123.json", "bike1", "bike1", (1, 1)),
        ("UAV20L", "UAV20L.json", "bike1", "bike1", (1, 1)),
        ("NfS", "NFS30.json", "gymnastics", "Gymnastics", (1, 1)),
        ("NfS240", "NFS240.json", "bee", "bee", (1, 1)),
        ("LaSOT", "LaSOT.json", "airplane-1", "airplane-1", (0, 0)),
        ("DTB70", "DTB70.json", "Animal1", "Animal1", (1, 1)),
    ],
)
def test_pysots_json(tmp_path, dataset, file, name, ours, origins):
    write_json(tmp_path / file, {name: entry(name)})
    sequence = make_dataset(dataset, root=tmp_path, split="test").annotation(ours)
    shift = origins[1] - origins[0]
    np.testing.assert_array_equal(sequence.boxes, np.array(RECTS) - [shift, shift, 0, 0])
    assert (sequence.origin, sequence.file_origin) == origins
    assert sequence.visible.all()
    if dataset in ("UAV20L", "NfS", "NfS240", "DTB70"):  # of the others ours are known
        assert sequence.attributes == ("SV", "OCC")


def test_pysots_json_marks_absent_frames(tmp_path):
    rects = [RECTS[0], [math.nan] * 4, RECTS[1], RECTS[2], [0]]
    write_json(
        tmp_path / "LaSOT.json", {"tiger-6": entry("tiger-6", rects, absent=[0, 0, 1, 0, 0])}
    )
    sequence = make_dataset("LaSOT", root=tmp_path, split="test").annotation("tiger-6")
    assert sequence.visible.tolist() == [True, False, False, True, False]


def test_pictures_beside_a_json_are_the_frames(tmp_path):
    write_json(tmp_path / "OTB100.json", {"Biker": entry("Biker")})
    dataset = make_dataset("OTB100", root=tmp_path)
    with pytest.raises(DataError, match="no pictures"):
        dataset["Biker"]
    layouts.write_images(tmp_path / "Biker" / "img", (1, 2, 3), digits=4)
    dataset = make_dataset("OTB100", root=tmp_path)
    (tmp_path / "Biker" / "groundtruth_rect.txt").unlink(missing_ok=True)
    with pytest.raises(DataError):  # its own folder is there, and lacks the boxes
        dataset["Biker"]
    write_json(tmp_path / "NFS30.json", {"bee": entry("bee")})
    layouts.write_images(tmp_path / "bee" / "img", (1, 2, 3), digits=4)
    assert make_dataset("NfS", root=tmp_path)["bee"].frames.read(2)[0, 0, 0] == 3


@pytest.mark.parametrize("content", ["{", "[]", '{"Biker": 1}'])
def test_json_of_another_kind_is_named(tmp_path, content):
    layouts.write(tmp_path / "OTB100.json", content)
    with pytest.raises(DataError, match=r"OTB100\.json"):
        make_dataset("OTB100", root=tmp_path)


@pytest.mark.parametrize("rects", [None, [[1, 2, 3]], "x", [["a"] * 4]])
def test_boxes_of_another_kind_are_named(tmp_path, rects):
    write_json(tmp_path / "OTB100.json", {"Biker": {"gt_rect": rects}})
    dataset = make_dataset("OTB100", root=tmp_path)
    with pytest.raises(DataError, match="sequence 'Biker'"):
        dataset.annotation("Biker")


@pytest.mark.parametrize("folder", ["annos", "."])
def test_lasots_toolkit(tmp_path, folder):
    base = tmp_path / folder
    layouts.write(base / "airplane-1.txt", "1,2,30,40\n2,3,30,40\n3,-4,-30,40\n")
    layouts.write(base / "absent" / "airplane-1.txt", "0\n0\n1\n")
    dataset = make_dataset("LaSOT", root=tmp_path, split="test")
    sequence = dataset.annotation("airplane-1")
    assert sequence.visible.tolist() == [True, True, False]
    assert sequence.attributes == ("POC", "ROT", "SV", "LR")
    results = tmp_path / "results"
    layouts.write(results / "airplane-1.txt", "1,2,30,40\n2,3,30,40\n3,4,30,40\n")
    evaluation = evaluate(results, dataset, protocol="lasot", sequences=["airplane-1"])
    assert evaluation.mean("OP50") == pytest.approx(2 / 3)


def test_lasots_toolkit_is_checked(tmp_path):
    layouts.write(tmp_path / "annos" / "airplane-1.txt", layouts.BOXES)
    layouts.write(tmp_path / "annos" / "absent" / "airplane-1.txt", "0\n0\n")
    dataset = make_dataset("LaSOT", root=tmp_path, split="test")
    with pytest.raises(DataError, match="2 labels"):
        dataset.annotation("airplane-1")
    assert not verify("LaSOT", root=tmp_path, split="test").ok


def test_the_benchmarks_own_files_come_first(tmp_path):
    layouts.make_otb(tmp_path)
    write_json(tmp_path / "OTB100.json", {"Biker": entry("Biker"), "Woman": entry("Woman")})
    dataset = make_dataset("OTB100", root=tmp_path)
    assert dataset.annotation("Biker").boxes[0].tolist() == [1, 2, 3, 4]
    assert dataset.annotation("Woman").boxes[0].tolist() == [1, 2, 30, 40]


class TestNfS:
    """NfS at 30 fps by an annotation at 240 fps, without pictures."""

    def rows(self, count):
        return "".join(f'0 {k} 2 {k + 9} 12 {k} 0 0 0 "bee"\n' for k in range(count))

    @pytest.mark.parametrize(
        ("thirty", "dense", "expected"),
        [
            (None, 22, 3),  # only at 240 fps
            (22, 22, 3),  # the one at 240 fps in both folders
            (3, 22, 3),  # each its own
            (360, None, 45),  # eight times the 45 frames that the benchmark has
            (359, None, 45),
            (46, None, 45),  # one too many
            (45, None, 45),
        ],
    )
    def test_every_eighth_line(self, tmp_path, thirty, dense, expected):
        for folder, count in ((30, thirty), (240, dense)):
            if count:
                layouts.write(tmp_path / "bee" / str(folder) / "bee.txt", self.rows(count))
        sequence = make_dataset("NfS", root=tmp_path).annotation("bee")
        step = 8 if (thirty or dense) > 8 * expected - 8 else 1
        assert sequence.boxes[:, 0].tolist() == [step * k for k in range(expected)]
