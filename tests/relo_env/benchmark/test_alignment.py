"""Origin of results: 0-based and 1-based files score alike where that is known."""

from dataclasses import replace

import numpy as np
import pytest

from relo_env.benchmark.evaluation import evaluate, summary_table
from relo_env.benchmark.runner import run
from relo_env.benchmark.trackers import make_tracker_factory
from relo_env.datasets.registry import make_dataset
from relo_env.errors import DataError
from tests.relo_env.datasets import layouts
from tests.toys import Squares

PLUS = np.array([1.0, 1, 0, 0])


class OneBased(Squares):
    """Truth held 0-based, or as in its 1-based file."""

    name = "OneBased"

    def __init__(self, *, origin=0, file_origin=1, **video):
        super().__init__(**video)
        self.origins = {"origin": origin, "file_origin": file_origin}

    def load(self, name):
        return replace(super().load(name), **self.origins)


def publish(folder, dataset, shift):
    """Perfect results, each first line of the given box and ``shift`` [px] of its file."""
    folder.mkdir(exist_ok=True)
    for k, name in enumerate(dataset.names):
        sequence = dataset[name]
        to_file = sequence.file_origin - sequence.origin
        move = shift[k] if isinstance(shift, tuple) else shift
        np.savetxt(folder / f"{name}.txt", sequence.boxes + (to_file + move) * PLUS)
    return folder


@pytest.mark.parametrize("origin", [0, 1])
@pytest.mark.parametrize(
    ("shift", "said"), [(0, "results are 4 in their coordinates"), (-1, "4 a pixel less")]
)
def test_the_first_lines_tell(tmp_path, origin, shift, said):
    dataset = OneBased(origin=origin)
    evaluation = evaluate(publish(tmp_path, dataset, shift), dataset)
    assert evaluation.mean("AO") == 1
    assert said in summary_table([evaluation])
    assert "annotation files are 1-based" in summary_table([evaluation])


def test_results_of_a_zero_based_data_set_may_count_from_one(tmp_path):
    dataset = OneBased(file_origin=0)
    for shift in (1, -1):
        assert evaluate(publish(tmp_path, dataset, shift), dataset).mean("AO") == 1
    plain = evaluate(publish(tmp_path, dataset, 0), dataset)
    assert (plain.mean("AO"), plain.notes) == (1, ())


def test_each_sequence_has_its_own(tmp_path):
    dataset = OneBased()
    evaluation = evaluate(publish(tmp_path, dataset, (0, -1, 0, 0)), dataset)
    assert evaluation.mean("AO") == 1
    assert "3 in their coordinates and 1 a pixel less" in evaluation.notes[0]


def test_a_first_line_that_tells_nothing_is_as_most_are(tmp_path):
    dataset = OneBased()
    folder = publish(tmp_path, dataset, -1)
    boxes = np.loadtxt(folder / "square-2.txt")
    boxes[0] = [3, 3, 9, 9]
    np.savetxt(folder / "square-2.txt", boxes)
    evaluation = evaluate(folder, dataset)
    assert evaluation.mean("AO") == 1
    assert "3 a pixel less" in evaluation.notes[0]
    assert "1 others are taken as most are" in evaluation.notes[0]


def test_where_nothing_tells_the_annotations_origin_is_taken(tmp_path):
    dataset = OneBased()
    folder = publish(tmp_path, dataset, 0)
    for path in folder.iterdir():
        boxes = np.loadtxt(path)
        boxes[0] = [3, 3, 9, 9]
        np.savetxt(path, boxes)
    evaluation = evaluate(folder, dataset)
    assert evaluation.mean("AO") == 1
    assert "--origin" in evaluation.notes[0]
    assert evaluate(folder, dataset, origin=1).mean("AO") == 1
    assert evaluate(folder, dataset, origin=0).mean("AO") < 1


@pytest.mark.parametrize("origin", [0, 1])
def test_the_origin_may_be_given(tmp_path, origin):
    dataset = OneBased()
    right = evaluate(publish(tmp_path, dataset, origin - 1), dataset, origin=origin)
    wrong = evaluate(tmp_path, dataset, origin=1 - origin)
    assert right.mean("AO") == 1
    assert wrong.mean("AO") == pytest.approx((1 + 29 * 19 * 15 / (640 - 19 * 15)) / 30, abs=1e-9)
    assert f"taken as {origin}-based" in right.notes[0]


def test_ours_are_written_as_the_annotation_files_count(tmp_path):
    for k, dataset in enumerate((OneBased(), OneBased(origin=1), Squares())):
        factory = make_tracker_factory("static")
        folder = run(factory, dataset, tmp_path / str(k), progress=False).folder
        sequence = dataset["square-0"]
        first = np.loadtxt(folder / "square-0.txt", delimiter=",")[0]
        shift = sequence.file_origin - sequence.origin
        assert (first == sequence.boxes[0] + shift * PLUS).all()
        evaluation = evaluate(folder, dataset)
        if k == 0:
            still = evaluation.figures["AO"]
        assert evaluation.figures["AO"] == pytest.approx(still)


@pytest.mark.parametrize(
    ("name", "make", "origins"),
    [
        ("OTB100", layouts.make_otb, (0, 1)),
        ("UAV123", layouts.make_uav123, (1, 1)),
        ("NfS", layouts.make_nfs, (1, 1)),
        ("VOT", layouts.make_vot, (1, 1)),
        ("DTB70", layouts.make_dtb70, (1, 1)),
        ("LaSOT", layouts.make_lasot, (0, 0)),
    ],
)
def test_the_data_sets_know_theirs(tmp_path, name, make, origins):
    make(tmp_path)
    dataset = make_dataset(name, root=tmp_path, split="test")
    there = layouts.on_disk(dataset)[0]
    sequence = dataset[there]
    assert (sequence.origin, sequence.file_origin) == origins


def test_otb_in_both_conventions(tmp_path):
    layouts.make_otb(tmp_path / "OTB100")
    dataset = make_dataset("OTB100", root=tmp_path / "OTB100")
    names = layouts.on_disk(dataset)
    for shift in (0, -1):
        folder = tmp_path / f"tracker{shift}"
        folder.mkdir()
        for name in names:
            np.savetxt(folder / f"{name}.txt", dataset[name].boxes + (1 + shift) * PLUS)
        evaluation = evaluate(folder, dataset, protocol="otb", sequences=names)
        assert evaluation.mean("success_auc") == pytest.approx(20 / 21)
        assert evaluation.mean("P") == 1


def test_corners_are_refused(tmp_path):
    dataset = Squares()
    folder = publish(tmp_path, dataset, 0)
    for path in folder.iterdir():
        boxes = np.loadtxt(path)
        boxes[:, 2:] += boxes[:, :2]
        np.savetxt(path, boxes)
    with pytest.raises(DataError, match="left, top, right, bottom"):
        evaluate(folder, dataset)


def test_first_lines_of_other_boxes_are_told(tmp_path):
    dataset = Squares()
    folder = publish(tmp_path, dataset, 30)
    assert "are they results on these sequences?" in summary_table([evaluate(folder, dataset)])


def test_first_lines_without_box_are_no_fault(tmp_path):
    """VOT's toolkit writes 1 where the tracker was given its box."""
    dataset = Squares()
    folder = publish(tmp_path, dataset, 0)
    for path in folder.iterdir():
        path.write_text("\n".join(["1", *path.read_text().splitlines()[1:]]))
    evaluation = evaluate(folder, dataset)
    assert evaluation.mean("P") == 1
    assert "first lines have no box to tell the coordinates" in summary_table([evaluation])
