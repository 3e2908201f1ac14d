"""Training data made of several data sets."""

from __future__ import annotations

import numpy as np
import pytest

from agents.recipes.mixture import Mixture, Sizeable
from relo_env.errors import ConfigError, DataError
from tests.toys import Squares, square_video


def mixture(left: float = 3.0, right: float = 1.0) -> Mixture:
    return Mixture({"left": (Squares(count=2), left), "right": (Squares(count=3), right)})


def test_parts_are_drawn_by_weight():
    rng = np.random.default_rng(0)
    data = mixture()
    drawn = [data.draw(rng).name.split("/")[0] for _ in range(400)]
    # Three quarters of 400, give or take four deviations of sqrt(400 * 3 / 16).
    assert abs(drawn.count("left") - 300) < 35


def test_names_are_those_of_the_parts():
    data = mixture()
    assert list(data.names) == [
        "left/square-0",
        "left/square-1",
        "right/square-0",
        "right/square-1",
        "right/square-2",
    ]
    assert data["right/square-2"].name == "right/square-2"
    with pytest.raises(ConfigError, match="middle/square-0"):
        data["middle/square-0"]


def test_a_part_without_weight_is_never_drawn():
    rng = np.random.default_rng(0)
    data = mixture(left=0.0)
    assert {data.draw(rng).name.split("/")[0] for _ in range(50)} == {"right"}


class OneVideo(Squares):
    """A square of 20 x 16 px that is 4 x 4 px in its first ten frames."""

    def __init__(self) -> None:
        super().__init__(count=1)
        video = square_video(length=50)
        video.boxes[:10, 2:] = 4.0
        self.videos = {video.name: video}


def test_small_targets_count_as_absent():
    (sequence,) = Sizeable(OneVideo(), least=8.0)
    assert not sequence.visible[:10].any()
    assert not sequence.boxes[:10].any()
    assert sequence.visible[10:].all()


def test_sequences_with_few_large_targets_are_left_out():
    with pytest.raises(DataError, match="41 targets of 8"):
        Sizeable(OneVideo(), least=8.0, frames=41)
