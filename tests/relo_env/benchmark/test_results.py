"""Result files: round trips, published layouts, and files that are not finished."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from relo_env.benchmark.results import (
    SequenceResult,
    format_boxes,
    is_finished,
    parse_boxes,
    read_boxes,
    read_score_maps,
    read_seconds,
    read_speed,
    write_atomically,
    write_result,
)
from relo_env.errors import DataError

RESULT = SequenceResult(
    boxes=np.array([[1, 2, 3, 4], [0.1, 1e-7, 1 / 3, 5e6]]),
    seconds={"tracker": np.array([9, 0.02]), "read": np.array([9, 0.03])},
    score_maps=np.arange(32, dtype=np.uint8).reshape(2, 4, 4),
)


def test_a_result_comes_back_as_it_was(tmp_path):
    write_result(tmp_path / "new" / "folder", "car-1", RESULT)
    folder = tmp_path / "new" / "folder"
    assert sorted(path.name for path in folder.iterdir()) == [
        "car-1.txt",
        "car-1_read_time.txt",
        "car-1_score_maps.npz",
        "car-1_time.txt",
    ]
    assert (read_boxes(folder, "car-1") == RESULT.boxes).all()
    assert read_seconds(folder, "car-1").tolist() == [9, 0.02]
    assert read_seconds(folder, "car-1", "model") is None
    assert (read_score_maps(folder, "car-1") == RESULT.score_maps).all()
    assert is_finished(folder, "car-1", 2)


@given(arrays(float, (3, 4), elements=st.floats(-1e9, 1e9)))
def test_floats_survive_text_to_the_bit(tmp_path_factory, boxes):
    path = tmp_path_factory.getbasetemp() / "boxes.txt"
    path.write_text(format_boxes(boxes))
    assert (parse_boxes(path) == boxes).all()


@pytest.mark.parametrize("separator", [",", "\t", " ", ", ", ";"])
def test_published_results_come_with_any_separator(tmp_path, separator):
    lines = [separator.join(row) for row in (["10", "20", "30", "40"], ["1.5", "2", "3", "4e1"])]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    assert read_boxes(tmp_path, "a").tolist() == [[10, 20, 30, 40], [1.5, 2, 3, 40]]


def test_results_of_got10ks_toolkit_are_found(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "a_001.txt").write_text("1,2,3,4\n")
    assert read_boxes(tmp_path, "a").tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize("line", ["1,2,3", "1,2,3,4,5", "1,2,3,x", "1,2,3,nan", ""])
def test_a_malformed_line_is_named(tmp_path, line):
    (tmp_path / "a.txt").write_text(f"1,2,3,4\n{line}\n1,2,3,4\n")
    with pytest.raises(DataError, match=r"a\.txt, line 2: .*four finite numbers"):
        read_boxes(tmp_path, "a")
    assert not is_finished(tmp_path, "a", 3)


def test_a_missing_result_is_named(tmp_path):
    with pytest.raises(DataError, match="No result for sequence 'a'"):
        read_boxes(tmp_path, "a")


def test_half_a_result_is_not_finished(tmp_path):
    (tmp_path / "a.txt").write_text("1,2,3,4\n")
    assert not is_finished(tmp_path, "a", 2)
    assert not is_finished(tmp_path, "b", 2)


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(TypeError):
        write_atomically(path, "text where bytes belong")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_speed_leaves_out_first_frames_and_what_is_unknown(tmp_path):
    write_result(tmp_path, "a", RESULT)
    speed = read_speed(tmp_path, ["a", "nobody-kept-times"])
    assert speed.tracker == pytest.approx(1 / 0.02)
    assert speed.end_to_end == pytest.approx(1 / 0.05)
    assert speed.model is None
