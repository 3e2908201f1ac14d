import numpy as np
import pytest

from agents.confidence import Absence, Confidence, Evidence, Recovery
from agents.network import RELONetwork
from agents.tracker import RELOTracker
from examples.nano.calibration import calibrate, judge
from relo_env import make_dataset


def test_confidence_by_hand():
    rated = Confidence(bias=-2.0, spread=0.5, value=1.5)
    assert rated(Evidence(3.0, 0.8)) == pytest.approx(1 / (1 + np.exp(-(-2 + 1.5 + 1.2))))
    many = rated(Evidence(np.array([3.0, 0.0]), np.array([0.8, 0.0])))
    np.testing.assert_allclose(many, [rated(Evidence(3.0, 0.8)), rated(Evidence(0.0, 0.0))])


@pytest.fixture(scope="module")
def video():
    return make_dataset("Synthetic", split="val", length=20, difficulty="easy")[0]


def follow(tracker, video, count=12):
    tracker.init(video.frames.read(0), tuple(video.boxes[0]))
    seen = []
    for index in range(1, count):
        box, score = tracker.update(video.frames.read(index))
        seen.append((box, score, tracker.lost, tracker.view.window))
    return seen


def test_calibration_is_kept_in_the_checkpoint(tmp_path, video):
    network = RELONetwork.from_preset("micro")
    found = calibrate(network, [video])
    path = network.save_checkpoint(tmp_path / "micro.safetensors", stage="random")
    tracker = RELOTracker.from_pretrained(path)
    assert tracker.confidence == found
    (_, score, _, _), *_ = follow(tracker, video)
    seen = judge(network, [video])
    assert score == pytest.approx(seen.score[0], abs=1e-5)
    assert len(seen.score) == len(video) - 1
    assert seen.evidence.spread.shape == (len(video) - 1,)
    assert RELOTracker(network, official=True).confidence is None


@pytest.mark.parametrize(
    ("options", "templates", "interval", "rule"),
    [
        ({}, 1, None, Absence()),
        ({"recovery": None}, 1, None, Absence()),
        ({"recovery": Recovery()}, 1, None, Recovery()),
        ({"num_templates": 2, "update_interval": 10}, 2, 10, Absence()),
        ({"window_exponent": 0}, 1, None, Absence()),
        ({"official": True}, 1, None, None),
    ],
)
def test_a_tracker_that_knows_how_sure_it_is_tells_of_absences(
    options, templates, interval, rule, tmp_path
):
    network = RELONetwork.from_preset("micro")
    network.confidence = Confidence(0.0, 1.0, 1.0)
    path = network.save_checkpoint(tmp_path / "micro.safetensors", stage="random")
    tracker = RELOTracker.from_pretrained(path, **options)
    assert (tracker.num_templates, tracker.update_interval) == (templates, interval)
    assert tracker.absence == rule
    network.confidence = None
    path = network.save_checkpoint(tmp_path / "bare.safetensors", stage="random")
    assert RELOTracker.from_pretrained(path).absence is None


def test_without_confidence_nothing_is_ever_lost(video):
    network = RELONetwork.from_preset("micro")
    assert not any(lost for _, _, lost, _ in follow(RELOTracker(network), video))


def test_a_lost_target_is_announced_and_followed_as_before(video):
    network = RELONetwork.from_preset("micro")
    network.confidence = Confidence(0.0, 0.0, 0.0)  # .5 in every frame
    calm, alarmed = RELOTracker(network), RELOTracker(network)
    alarmed.absence = Absence(lost_below=2.0, patience=2)
    seen, told = follow(calm, video), follow(alarmed, video)
    assert not any(lost for _, _, lost, _ in seen)
    assert [lost for _, _, lost, _ in told] == [False, False] + [True] * 9
    assert [box for box, *_ in seen] == [box for box, *_ in told]


def test_a_lost_target_is_searched_for_around_where_it_was_last_seen(video):
    recovery = Recovery(lost_below=2.0, patience=2, growth=1.25, reach=1.5)
    tracker = RELOTracker(RELONetwork.from_preset("micro"), recovery=recovery)
    seen = follow(tracker, video)
    assert [lost for _, _, lost, _ in seen] == [False, False] + [True] * 9
    # No score was ever high enough, so there is no trusted box: the window stays where it was.
    sides = [window.side for *_, window in seen[3:]]
    growth = np.array(sides) / sides[0]
    np.testing.assert_allclose(growth, [1, 1.25] + [1.5] * 6)
    centers = {window.center for *_, window in seen[3:]}
    assert len(centers) == 1


def test_a_target_that_is_found_again_is_followed_as_before(video, monkeypatch):
    recovery = Recovery(lost_below=0.5, patience=1, growth=1.5)
    network = RELONetwork.from_preset("micro")
    network.confidence = Confidence(0.0, 1.0, 0.0)
    tracker = RELOTracker(network, recovery=recovery)
    scores = iter([0.9, 0.1, 0.1, 0.1, 0.9, 0.9])
    monkeypatch.setattr(tracker, "confidence", lambda *_: next(scores))
    seen = follow(tracker, video, count=7)
    assert [lost for _, _, lost, _ in seen] == [False, False, True, True, False, False]
    first_box, refound_box = np.array(seen[0][0]), np.array(seen[4][0])
    lost_center = seen[3][3].center
    np.testing.assert_allclose(lost_center, first_box[:2] + first_box[2:] / 2)
    np.testing.assert_allclose(seen[5][3].center, refound_box[:2] + refound_box[2:] / 2)
    assert seen[5][3].side == pytest.approx(4 * np.sqrt(refound_box[2:].prod()))
