"""Trackers by name."""

import pickle

import cv2
import numpy as np
import pytest

from relo_env.benchmark.interface import Tracker
from relo_env.benchmark.trackers import StaticTracker, make_tracker_factory
from relo_env.errors import ConfigError
from tests.toys import square_video


def test_opencv_mil_follows_a_square():
    factory = pickle.loads(pickle.dumps(make_tracker_factory("opencv:MIL")))
    assert factory.name == "opencv-MIL"
    assert factory.fresh_process, "it draws from a generator of its process"
    tracker, video = factory(), square_video(length=4)
    assert isinstance(tracker, Tracker)
    tracker.init(video.frames.read(0), tuple(video.boxes[0]))
    for index in range(1, 4):
        box, score = tracker.update(video.frames.read(index))
        assert np.abs(np.array(box) - video.boxes[index]).max() < 8
        assert score == 1.0


@pytest.mark.skipif(hasattr(cv2, "TrackerCSRT_create"), reason="this OpenCV has contrib modules")
def test_contrib_trackers_say_how_to_get_them():
    with pytest.raises(ConfigError, match="pip install opencv-contrib-python"):
        make_tracker_factory("opencv:CSRT")


def test_module_and_factory_with_arguments():
    factory = make_tracker_factory(
        "tests.relo_env.benchmark.toy_trackers:KilledOnce", name="mine", marker="nowhere"
    )
    assert factory.name == "mine"
    assert factory().marker.name == "nowhere"
    assert not factory.fresh_process
    assert pickle.loads(pickle.dumps(factory)) == factory


def test_static():
    tracker = make_tracker_factory("static")()
    assert isinstance(tracker, StaticTracker)
    tracker.init(np.zeros((8, 8, 3), np.uint8), (1, 2, 3, 4))
    assert tracker.update(np.zeros((8, 8, 3), np.uint8)) == ((1, 2, 3, 4), 1.0)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("opencv:MILL", "Unknown OpenCV tracker 'MILL'. Did you mean 'MIL'"),
        ("nonsense", "neither 'static', 'opencv:<algorithm>' nor 'module:factory'"),
        ("no_such_module:make", "no module 'no_such_module'"),
        ("tests.relo_env.benchmark.toy_trackers:Brightes", "Did you mean 'Brightest'"),
    ],
)
def test_names_that_lead_nowhere(spec, message):
    with pytest.raises(ConfigError, match=message):
        make_tracker_factory(spec)


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("static", {"bogus": 3}, "'static': got an unexpected.* 'bogus'; known: none"),
        ("opencv:MIL", {"algorithm": "MIL"}, "unexpected.*'algorithm'; known: none"),
        (
            "tests.relo_env.benchmark.toy_trackers:KilledOnce",
            {},
            "missing.*'marker'; known: marker",
        ),
    ],
)
def test_options_that_do_not_fit(spec, options, message):
    with pytest.raises(ConfigError, match=message):
        make_tracker_factory(spec, **options)


def test_what_is_no_tracker_is_said_so():
    factory = make_tracker_factory("tests.relo_env.benchmark.toy_trackers:no_tracker")
    with pytest.raises(ConfigError, match="returned object, which has no init"):
        factory()


def test_opencv_starts_on_the_part_of_a_box_that_lies_in_the_frame():
    frame = np.random.default_rng(0).integers(0, 256, (100, 120, 3), np.uint8)
    tracker = make_tracker_factory("opencv:MIL")()
    tracker.init(frame, (-15.0, 10.0, 30.0, 20.0))
    (_, _, width, height), _ = tracker.update(frame)
    assert (width, height) == (15, 20)
    for box in ((10.1, 10.0, 0.2, 10.0), (200.0, 10.0, 5.0, 5.0), (20.0, 20.0, 1.0, 90.0)):
        with pytest.raises(ConfigError, match=f"Box .*{box[0]}"):
            tracker.init(frame, box)
