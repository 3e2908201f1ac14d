import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relo_env import boxes as bx

coordinate = st.floats(-500, 500, allow_nan=False)
side = st.floats(0.01, 400, allow_nan=False)
box = st.tuples(coordinate, coordinate, side, side).map(np.array)


def test_iou_of_hand_worked_boxes():
    a = np.array([0.0, 0.0, 4.0, 2.0])
    others = np.array([[0, 0, 4, 2], [2, 0, 4, 2], [0, 0, 2, 1], [4, 0, 1, 1], [9, 9, 1, 1]], float)
    # areas 8; overlaps 8, 4, 2, 0 (touching), 0
    np.testing.assert_allclose(bx.iou(a, others), [1, 4 / 12, 2 / 8, 0, 0])


def test_boxes_without_area_give_zero_and_never_nan():
    flat = np.zeros(4)
    assert bx.iou(flat, flat) == 0.0


@given(box, box)
def test_overlap_is_symmetric_and_bounded(a, b):
    overlap = bx.iou(a, b)
    assert 0.0 <= overlap <= 1.0 + 1e-12
    assert overlap == pytest.approx(bx.iou(b, a))
    assert bx.iou(a, a) == pytest.approx(1.0, abs=1e-9)


@given(box)
def test_centre_form_and_back(a):
    np.testing.assert_allclose(bx.cxcywh_to_xywh(bx.xywh_to_cxcywh(a)), a, atol=1e-9)


@given(box, st.integers(20, 400), st.integers(20, 400))
def test_clipped_boxes_keep_ten_pixels_in_the_frame(a, width, height):
    x, y, w, h = bx.clip(a, (width, height))
    assert w >= 10
    assert h >= 10
    assert min(x + w, width) - max(x, 0) >= 10 - 1e-9
    assert min(y + h, height) - max(y, 0) >= 10 - 1e-9


def test_clipping_leaves_a_box_inside_alone():
    a = np.array([12.25, 7.5, 30.0, 21.0])
    np.testing.assert_array_equal(bx.clip(a, (100, 80)), a)
