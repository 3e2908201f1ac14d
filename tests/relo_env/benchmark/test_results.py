"""Result files: round trips, published layouts, and files that are not finished."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from relo_env.benchmark.published import find_results
from relo_env.benchmark.results import (
    SequenceResult,
    format_boxes,
    is_finished,
    parse_boxes,
    read_boxes,
    read_score_maps,
    speed_of,
    write_result,
)
from relo_env.errors import DataError
from tests.relo_env.benchmark.toy_trackers import seconds_of

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
    assert seconds_of(folder, "car-1").tolist() == [9, 0.02]
    assert seconds_of(folder, "car-1", "model") is None
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


@pytest.mark.parametrize(
    "ending", ["_time", "_read_time", "_model_time", "_score_maps", "_read", "_model"]
)
def test_a_name_that_ends_as_a_file_of_ours_does_has_its_own_files(tmp_path, ending):
    other = SequenceResult(RESULT.boxes + 1, {"tracker": np.array([1, 0.5])})
    for order in (("a", f"a{ending}"), (f"a{ending}", "a")):
        folder = tmp_path / order[0]
        for name in order:
            write_result(folder, name, RESULT if name == "a" else other)
        assert (read_boxes(folder, "a") == RESULT.boxes).all()
        assert (read_boxes(folder, f"a{ending}") == other.boxes).all()
        published = find_results(folder, order)
        assert published.read_seconds("a").tolist() == [9, 0.02]
        assert published.read_seconds(f"a{ending}").tolist() == [1, 0.5]
        assert is_finished(folder, f"a{ending}", 2)


def test_published_boxes_of_such_a_name_are_found(tmp_path):
    (tmp_path / "a_time.txt").write_text("1,2,3,4\n")
    assert read_boxes(tmp_path, "a_time").tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize("content", [b"PK", b"", b"\x93NUMPY", None])
def test_damaged_score_maps_are_named(tmp_path, content):
    write_result(tmp_path, "a", RESULT)
    path = tmp_path / "a_score_maps.npz"
    path.write_bytes(path.read_bytes()[:-40] if content is None else content)
    with pytest.raises(DataError, match=r"a_score_maps\.npz is damaged"):
        read_score_maps(tmp_path, "a")


@pytest.mark.parametrize("content", [b"0.1\n0.1,0.2\n", b"\xff\xfe\xff"])
def test_damaged_times_are_named(tmp_path, content):
    write_result(tmp_path, "a", RESULT)
    (tmp_path / "a_time.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"a_time\.txt"):
        seconds_of(tmp_path, "a")


def test_speed_leaves_out_first_frames_and_what_is_unknown(tmp_path):
    write_result(tmp_path, "a", RESULT)
    speed = speed_of(find_results(tmp_path, ["a"]).read_seconds, ["a", "nobody-kept-times"])
    assert speed.tracker == pytest.approx(1 / 0.02)
    assert speed.end_to_end == pytest.approx(1 / 0.05)
    assert speed.model is None
