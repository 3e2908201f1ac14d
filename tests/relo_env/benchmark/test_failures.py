"""Stretches in which a tracker was off its target."""

import numpy as np
import pytest

from relo_env.benchmark.metrics import Failure, find_failures


def found(overlap, visible=None, min_frames=2):
    overlap = np.array(overlap)
    visible = np.ones(len(overlap), bool) if visible is None else np.array(visible, bool)
    return find_failures(overlap, visible, min_frames=min_frames)


@pytest.mark.parametrize(
    ("overlap", "failures"),
    [
        ([1, 1, 1], []),
        ([1, 0, 0, 0.4, 0.6, 1], [Failure(1, 4, True)]),
        ([1, 0, 0, 0.4, 0.4], [Failure(1, 5, False)]),
        ([1, 0, 1, 0, 0], [Failure(3, 5, False)]),
        ([0, 0, 1, 0, 0, 1], [Failure(0, 2, True), Failure(3, 5, True)]),
    ],
)
def test_stretches(overlap, failures):
    assert found(overlap) == failures


def test_absent_frames_neither_begin_nor_end_a_stretch():
    assert found([1, 0, 0, 0, 1], visible=[1, 0, 0, 0, 1]) == []
    assert found([1, 0, 0, 1, 0, 1], visible=[1, 1, 1, 0, 1, 1]) == [Failure(1, 5, True)]


def test_short_ones_are_left_out_by_visible_frames():
    assert found([1, 0, 0, 0, 1], visible=[1, 1, 0, 0, 1]) == []
