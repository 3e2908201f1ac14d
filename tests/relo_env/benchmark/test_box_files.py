"""Box files as they are published: text in many forms, and MATLAB's."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from relo_env.benchmark.box_files import parse_boxes, parse_seconds
from relo_env.benchmark.results import format_boxes
from relo_env.errors import DataError

BOXES = [[10.0, 20, 30, 40], [1.5, 2, 3, 40]]


@pytest.mark.parametrize(
    "text",
    [
        "10,20,30,40\n1.5,2,3,4e1",
        "10\t20\t30\t40\r\n1.5\t2\t3\t4e1\r\n",
        "\ufeff10,20,30,40\n1.5,2,3,40\n",
        "10, 20, 30, 40\n1.5, 2, 3, 40\n\n\n",
        "10;20;30;40\n1.5;2;3;40\n",
        "   10   20  30 40\n  1.5 2 3 40  \n",
        "x,y,w,h\n10,20,30,40\n1.5,2,3,40\n",
        "left top width height\r\n10 20 30 40\r\n1.5 2 3 40",
        "10,20,30,40,\n1.5,2,3,40,\n".replace(",\n", "\n"),
    ],
)
def test_any_form_of_text(text):
    assert parse_boxes(text.encode(), "a.txt").tolist() == BOXES


@pytest.mark.parametrize(
    "line", ["NaN,NaN,NaN,NaN", "nan\tnan\tnan\tnan", "nan", "NaN NaN NaN NaN"]
)
def test_a_line_of_nan_has_no_prediction(line):
    boxes = parse_boxes(f"1,2,3,4\n{line}\n5,6,7,8\n".encode(), "a.txt")
    assert boxes[[0, 2]].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert np.isnan(boxes[1]).all()


@pytest.mark.parametrize(
    "line",
    [
        "1,2,3",
        "1,2,3,4,5",
        "1,2,3,x",
        "1,2,3,nan",
        "1,2,3,inf",
        "",
        "1,,2,3,4",
        "10,5;20,0;30,1;40,2",
        "1,1,20,40,20,20,1,-1,-1,-1",
        "x,y,w,h",
    ],
)
def test_a_malformed_line_is_named(line):
    with pytest.raises(DataError, match=r"a\.txt, line 2: .*four finite numbers"):
        parse_boxes(f"1,2,3,4\n{line}\n1,2,3,4\n".encode(), "a.txt")


def test_results_of_vots_toolkit():
    text = "1\n3,1,6,4,3,7,0,4\nm5,6,7,8,0,3\n0\n1.5,2,3,4\n"
    boxes = parse_boxes(text.encode(), "a_001.txt")
    assert np.isnan(boxes[[0, 3]]).all()
    assert boxes[[1, 2, 4]].tolist() == [[0, 1, 6, 6], [5, 6, 7, 8], [1.5, 2, 3, 4]]
    with pytest.raises(DataError, match=r"line 3: found '2'.*started it again"):
        parse_boxes(b"1\n1,2,3,4\n2\n0\n", "a_001.txt")


def test_text_of_powershell():
    data = "x,y,w,h\r\n10,20,30,40\r\n1.5,2,3,40\r\n".encode("utf-16")
    assert parse_boxes(data, "a.txt").tolist() == BOXES


def test_polygons_are_no_boxes():
    with pytest.raises(DataError, match=r"line 1: .* the box around a polygon"):
        parse_boxes(b"1,2,3,2,3,5,1,5\n", "a.txt")


def test_all_lines_with_decimal_commas_are_no_boxes():
    with pytest.raises(DataError, match="line 1"):
        parse_boxes(b"10,5;20,0;30,1;40,2\n10,5;20,0;30,1;40,2\n", "a.txt")


def test_a_picture_is_no_text():
    with pytest.raises(DataError, match="not a text file"):
        parse_boxes(b"\xff\xd8\xff\xe0\x00\x10", "a.txt")


@given(arrays(float, (3, 4), elements=st.floats(-1e9, 1e9)))
def test_floats_survive_text_to_the_bit(boxes):
    assert (parse_boxes(format_boxes(boxes).encode(), "a.txt") == boxes).all()


def test_seconds():
    assert parse_seconds(b"0.1\n0.2\n\n", "a").tolist() == [0.1, 0.2]
    assert parse_seconds(b"0.1,0.3\n0.2,0.4\n", "a").tolist() == [0.1, 0.2], "the first run's"
    with pytest.raises(DataError, match="seconds of a frame"):
        parse_seconds(b"fast\n", "a_time.txt")


class TestMatlab:
    """``results`` as OTB's toolkit saves it."""

    @staticmethod
    def v5(results, key="results"):
        scipy_io = pytest.importorskip("scipy.io", reason="needs scipy: pip install 'relo[mat]'")
        buffer = io.BytesIO()
        scipy_io.savemat(buffer, {key: results})
        return buffer.getvalue()

    @staticmethod
    def cell(*structs):
        cell = np.empty((1, len(structs)), dtype=object)
        for k, struct in enumerate(structs):
            cell[0, k] = struct
        return cell

    @staticmethod
    def v73(boxes, kind="rect"):
        """A cell of one struct as MATLAB writes it to HDF5, columns first."""
        h5py = pytest.importorskip("h5py", reason="needs h5py: pip install 'relo[mat]'")
        buffer = io.BytesIO()
        with h5py.File(buffer, "w", userblock_size=512) as file:
            group = file.create_group("#refs#/a")
            group["res"] = np.asarray(boxes).T
            group["type"] = np.array([[ord(letter)] for letter in kind], dtype=np.uint16)
            cell = file.create_dataset("results", (1, 1), dtype=h5py.ref_dtype)
            cell[0, 0] = group.ref
        head = b"MATLAB 7.3 MAT-file, Platform: GLNXA64"
        return head.ljust(512) + buffer.getvalue()[512:]

    @pytest.mark.parametrize("rows", [1, 2])
    def test_a_cell_of_one_result(self, rows):
        data = self.v5(self.cell({"res": np.array(BOXES[:rows]), "type": "rect", "len": rows}))
        assert parse_boxes(data, "Car_ECO.mat").tolist() == BOXES[:rows]

    def test_boxes_alone(self):
        assert parse_boxes(self.v5(np.array(BOXES)), "a.mat").tolist() == BOXES
        assert parse_boxes(self.v5(np.array(BOXES), key="res"), "a.mat").tolist() == BOXES

    def test_version_73(self):
        assert parse_boxes(self.v73(BOXES), "Car_ECO.mat").tolist() == BOXES

    def test_other_kinds_of_results_are_named(self):
        struct = {"res": np.ones((2, 6)), "type": "ivtAff"}
        with pytest.raises(DataError, match="'ivtAff'; expected 'rect'"):
            parse_boxes(self.v5(self.cell(struct)), "a.mat")
        with pytest.raises(DataError, match="'ivtAff'; expected 'rect'"):
            parse_boxes(self.v73(np.ones((2, 6)), "ivtAff"), "a.mat")
        twice = {"res": np.array(BOXES), "type": "rect"}
        with pytest.raises(DataError, match="has 2 results"):
            parse_boxes(self.v5(self.cell(twice, twice)), "a.mat")

    @pytest.mark.parametrize("results", [np.empty((1, 0), object), np.ones((2, 4)) * 1j, "text"])
    def test_what_is_no_box_is_named(self, results):
        with pytest.raises(DataError, match=r"a\.mat cannot be read .*expected real numbers"):
            parse_boxes(self.v5(results), "a.mat")

    @pytest.mark.parametrize("data", [b"", b"not MATLAB", b"MATLAB 7.3 MAT-file but cut"])
    def test_damage_is_named(self, data):
        pytest.importorskip("scipy.io")
        pytest.importorskip("h5py")
        with pytest.raises(DataError, match=r"a\.mat cannot be read"):
            parse_boxes(data, "a.mat")

    def test_other_variables_are_named(self):
        with pytest.raises(DataError, match=r"a\.mat cannot be read"):
            parse_boxes(self.v5(np.array(BOXES), key="boxes"), "a.mat")
