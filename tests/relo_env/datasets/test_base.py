"""Sequences of one's own: what they take and what they refuse."""

import numpy as np
import pytest

from relo_env.datasets.base import Sequence
from relo_env.datasets.frames import ArrayFrames
from relo_env.datasets.synthetic import Synthetic
from relo_env.errors import DataError

FRAMES = ArrayFrames(np.zeros((2, 8, 8, 3), np.uint8))
BOXES = [[1, 2, 3, 4], [0, 0, 0, 0]]


def test_lists_and_numbers_become_arrays():
    sequence = Sequence("a", FRAMES, BOXES, [1, 0])
    assert sequence.boxes.dtype == np.float64
    assert sequence.visible.tolist() == [True, False]
    assert sequence.boxes[sequence.visible].tolist() == [[1, 2, 3, 4]]
    assert sequence.labelled.all()


@pytest.mark.parametrize(
    ("boxes", "visible", "message"),
    [
        (BOXES[:1], [1, 0], r"2 frames but boxes of shape \(1, 4\)"),
        ([["a"] * 4] * 2, [1, 0], "boxes cannot be read as float64"),
        ([[1, 2, 3, np.nan]] * 2, [1, 0], "box of frame 0 .* four finite numbers"),
        (BOXES, [1, 1], "frame 1 is marked visible but its box .* has no area"),
        (BOXES, [0, 0], "in none of its 2 frames"),
    ],
)
def test_what_cannot_be_is_explained(boxes, visible, message):
    with pytest.raises(DataError, match=message):
        Sequence("a", FRAMES, boxes, visible)


@pytest.mark.parametrize(("given", "options"), [((), {"foo": 1}), (("train", 3), {})])
def test_a_constructor_names_its_wrong_arguments(given, options):
    with pytest.raises(TypeError, match=r"__init__\(\)"):
        Synthetic(*given, **options)
