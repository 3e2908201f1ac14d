"""Data sets made of other data sets."""

from __future__ import annotations

import pickle
from collections import Counter

import gymnasium as gym
import numpy as np
import pytest

from relo_env.datasets import make_dataset
from relo_env.datasets.mixture import Mixture
from relo_env.errors import ConfigError
from tests.relo_env.datasets import layouts
from tests.toys import SMALL_CROPS, Squares


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder of data sets, which RELO_DATA names."""
    layouts.make_lasot(tmp_path / "LaSOT")
    layouts.make_got10k(tmp_path / "GOT10k")
    layouts.make_trackingnet(tmp_path / "TrackingNet")
    layouts.make_coco(tmp_path / "COCO")
    monkeypatch.setenv("RELO_DATA", str(tmp_path))
    return tmp_path


def squares(left: float = 3.0, right: float = 1.0) -> Mixture:
    return Mixture({"left": Squares(count=2), "right": Squares(count=3)}, weights=(left, right))


def test_names_between_commas(data):
    mixture = make_dataset("mixture", root=data, parts="lasot, got10k")
    listed = make_dataset("mixture", root=data, parts=["lasot", "got10k"])
    assert list(listed.names) == list(mixture.names)
    assert mixture.is_training
    assert list(mixture.names) == [
        "LaSOT/airplane-2",
        "GOT10k/GOT-10k_Train_000001",
        "GOT10k/GOT-10k_Train_000002",
    ]
    assert mixture[1].name == mixture[-2].name == "GOT10k/GOT-10k_Train_000001"
    assert mixture["LaSOT/airplane-2"].name == "LaSOT/airplane-2"
    assert mixture.names[1:] == tuple(mixture.names)[1:]
    with pytest.raises(IndexError):
        mixture[3]


@pytest.mark.usefixtures("data")
def test_the_usual_training_mixture_by_its_name_alone():
    mixture = make_dataset("lasot,got10k,trackingnet,COCO", weights=[4, 3, 2, 1])
    assert mixture.weights == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert {name.split("/")[0] for name in mixture.names} == {
        "LaSOT",
        "GOT10k",
        "TrackingNet",
        "COCO",
    }
    again = pickle.loads(pickle.dumps(mixture))
    assert list(again.names) == list(mixture.names)


@pytest.mark.usefixtures("data")
def test_it_is_an_environment():
    env = gym.make("RELO-Mixture-v0", parts="lasot,coco", clip_length=1, **SMALL_CROPS)
    names = {env.reset(seed=seed)[1]["sequence"].split("/")[0] for seed in range(12)}
    assert names == {"LaSOT", "COCO"}


def test_parts_are_drawn_by_weight():
    rng = np.random.default_rng(0)
    mixture = squares()
    drawn = Counter(mixture.draw(rng).name for _ in range(2000))
    shares = [drawn[name] / 2000 for name in mixture.names]
    # Halves of 3/4, thirds of 1/4; four standard deviations are below 0.05.
    assert shares == pytest.approx([3 / 8] * 2 + [1 / 12] * 3, abs=0.05)
    without_left = squares(left=0.0)
    assert {without_left.draw(rng).name.split("/")[0] for _ in range(50)} == {"right"}


def test_one_data_set_may_take_part_twice_under_names_of_its_own():
    mixture = squares()
    assert list(mixture.names) == [
        "left/square-0",
        "left/square-1",
        "right/square-0",
        "right/square-1",
        "right/square-2",
    ]
    assert mixture["right/square-2"].name == "right/square-2"
    assert (mixture["right/square-2"].boxes == Squares()["square-2"].boxes).all()
    with pytest.raises(ConfigError, match="middle/square-0"):
        mixture["middle/square-0"]


def test_a_part_may_be_endless(data):
    mixture = make_dataset("lasot,synthetic", root=data)
    assert len(mixture) > 10**6
    assert mixture.names[1].startswith("Synthetic/train-")
    assert mixture.names[1] in mixture.names


@pytest.mark.usefixtures("data")
def test_instances_and_other_splits():
    assert len(Mixture("lasot,got10k", split="test")) == 280 + 180
    assert len(Mixture([Squares(), make_dataset("got10k")])) == 4 + 2


@pytest.mark.parametrize(
    ("parts", "weights", "message"),
    [
        ("lasot,lasot", None, "expected different data sets"),
        ("lasot,gott10k", None, "Unknown data set 'gott10k'"),
        ("lasot,got10k", (1,), "expected 2 numbers"),
        ("lasot,got10k", (1, -1), "none negative"),
        ("lasot,got10k", (0, 0), "above 0"),
        ("lasot,got10k", (1, float("nan")), "expected a list of numbers"),
        ((), None, r"parts is \(\); expected a string or a list"),
        ({}, None, "no data set"),
    ],
)
def test_mixtures_that_cannot_be(data, parts, weights, message):
    with pytest.raises(ConfigError, match=message):
        make_dataset("Mixture", root=data, parts=parts, weights=weights)
