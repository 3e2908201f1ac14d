"""Annotation files as arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from relo_env.datasets.annotations import (
    parse_boxes,
    polygon_to_box,
    read_boxes,
    read_labels,
)
from relo_env.errors import DataError


def boxes_of(tmp_path, text: str, count: int | None = None, **options) -> list[list[float]]:
    path = tmp_path / "boxes.txt"
    path.write_text(text, encoding="utf-8")
    return read_boxes(path, count, **options).tolist()


@pytest.mark.parametrize("line", ["1,2,3,4", "1\t2\t3\t4", "1 2 3 4", "1;2;3;4", " 1.0, 2 ,3e0,4 "])
def test_separators(tmp_path, line):
    assert boxes_of(tmp_path, f"{line}\n{line}\n") == [[1, 2, 3, 4], [1, 2, 3, 4]]


@pytest.mark.parametrize(
    "line", ["NaN,NaN,NaN,NaN", "nan 2 3 4", "1,2,inf,4", "", "0,0,0,0", "5,5,0,3", "5,5,-1,3"]
)
def test_frames_without_target_are_zeros(tmp_path, line):
    assert boxes_of(tmp_path, f"1,2,3,4\n{line}\n1,2,3,4\n")[1] == [0, 0, 0, 0]


def test_empty_lines_at_the_end_count_as_frames_up_to_the_video_length(tmp_path):
    text = "1,2,3,4\n\n\n\n"
    assert len(boxes_of(tmp_path, text)) == 1
    assert len(boxes_of(tmp_path, text, 3)) == 3
    assert len(boxes_of(tmp_path, text, 1)) == 1


def test_byte_order_mark_and_windows_line_ends(tmp_path):
    assert boxes_of(tmp_path, "\ufeff1,2,3,4\r\n5,6,7,8\r\n") == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_one_based_boxes_move_by_one_pixel_but_absent_ones_stay_zeros(tmp_path):
    text = "1,1,3,4\n0,0,0,0\n"
    assert boxes_of(tmp_path, text, one_based=True) == [[0, 0, 3, 4], [0, 0, 0, 0]]


def test_polygons_and_masks_become_the_boxes_around_them(tmp_path):
    text = "3,1,6,4,3,7,0,4\nm5,6,7,8,0,3,4,5\n1,2,3,4\n"
    assert boxes_of(tmp_path, text, polygons=True) == [[0, 1, 6, 6], [5, 6, 7, 8], [1, 2, 3, 4]]


@given(hnp.arrays(np.float64, (5, 4, 2), elements=st.floats(-1e3, 1e3)))
def test_a_polygon_touches_all_sides_of_its_box(polygons):
    boxes = polygon_to_box(polygons.reshape(5, 8))
    low, high = boxes[:, None, :2], boxes[:, None, :2] + boxes[:, None, 2:]
    assert (polygons >= low).all()
    assert (polygons <= high + 1e-9).all()
    assert np.allclose((polygons - low).min(1), 0)
    assert np.allclose((high - polygons).min(1), 0)


@pytest.mark.parametrize("line", ["1,2,3", "1,2,3,4,5", "1,2,three,4", "x", "m1,2", "1,,3,4"])
def test_a_malformed_line_is_named(tmp_path, line):
    with pytest.raises(DataError, match=r"boxes\.txt, line 2: .*expected x, y, width, height"):
        boxes_of(tmp_path, f"1,2,3,4\n{line}\n")


def test_counts_that_differ_are_both_named_with_the_file(tmp_path):
    with pytest.raises(DataError, match=r"boxes\.txt has 2 boxes but its video has 3 frames"):
        boxes_of(tmp_path, "1,2,3,4\n1,2,3,4\n", 3)


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(DataError, match=r"Cannot read .*nothing\.txt"):
        read_boxes(tmp_path / "nothing.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xd8\x00\x01")
    with pytest.raises(DataError, match=r"binary\.txt is not a text file"):
        read_boxes(tmp_path / "binary.txt")


@pytest.mark.parametrize("text", ["0,1,0", "0\n1\n0\n", "0 1 0\n", "0.0\n1.0\n0.0"])
def test_labels_on_one_line_or_one_line_each(tmp_path, text):
    path = tmp_path / "absence.label"
    path.write_text(text)
    assert read_labels(path, 3).tolist() == [0, 1, 0]


@pytest.mark.parametrize("text", ["0,1,x", "0,nan,1", "0,1", "0,0.5,1"])
def test_malformed_labels(tmp_path, text):
    path = tmp_path / "absence.label"
    path.write_text(text)
    with pytest.raises(DataError, match=r"absence\.label"):
        read_labels(path, 3)


@pytest.mark.parametrize("sign", ["nan", "0", "NaN", ""])
def test_a_line_may_say_that_there_is_no_box(tmp_path, sign):
    assert boxes_of(tmp_path, f"1,2,3,4\n{sign}\n1,2,3,4\n")[1] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("1", "a lone 1 or 2 is what results of the VOT toolkit have"),
        ("10,5;20,0;30,1;40,2", "decimals with a point"),
        ("10,5 20,0 30,1 40,2", "decimals with a point"),
        ("10,5;20,0", "decimals with a point"),
        ("1,1,20,40,20,20,1,-1,-1,-1", "Remove the other 6 columns"),
        ("1,2,,3,4", "Copy the annotation anew"),
    ],
)
def test_what_looks_like_a_box_and_is_none_is_named(tmp_path, line, words):
    with pytest.raises(DataError, match=r"boxes\.txt, line 1: found") as error:
        boxes_of(tmp_path, f"{line}\n{line}\n")
    assert words in str(error.value)


def test_known_causes_of_counts_that_differ_are_named(tmp_path):
    line = "1,2,3,4\n"
    for lines, words in ((2, "LaSOT (airplane-14, bus-4)"), (6, "TNL2K have twice the lines")):
        with pytest.raises(DataError, match="lengths='cut'") as error:
            boxes_of(tmp_path, line * lines, 3)
        assert words in str(error.value)


def test_results_keep_what_is_no_box_as_nan():
    boxes = parse_boxes(
        b"\xef\xbb\xbf1\t2\t3\t4\r\nNaN\tNaN\tNaN\tNaN\r\n\r\n5\t6\t-7\t8\r\n\r\n", "x"
    )
    assert np.isnan(boxes[1:3]).all()
    assert boxes[[0, 3]].tolist() == [[1, 2, 3, 4], [5, 6, -7, 8]]


def test_a_line_of_names_is_no_box(tmp_path):
    assert boxes_of(tmp_path, "x,y,w,h\n1,2,3,4\n", 1) == [[1, 2, 3, 4]]
    with pytest.raises(DataError, match=r"line 3: found 'x,y,w,h'"):
        boxes_of(tmp_path, "# by hand\n1,2,3,4\nx,y,w,h\n")


def test_text_of_powershell(tmp_path):
    (tmp_path / "boxes.txt").write_bytes("1,2,3,4\r\n".encode("utf-16"))
    assert read_boxes(tmp_path / "boxes.txt", 1).tolist() == [[1, 2, 3, 4]]
