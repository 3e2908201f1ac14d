import numpy as np
import pytest

from agents.confidence import (
    Confidence,
    Evidence,
    Recovery,
    agreement,
    calibration_error,
    reliability,
)
from agents.network import RELONetwork
from agents.tracker import RELOTracker
from examples.nano.calibration import Judged, absences, calibrate, judge
from relo_env import make_dataset


def evidence(agreed, heat, features=None):
    return Evidence(agreed, heat, np.zeros((*np.shape(heat), 0)) if features is None else features)


def drawn(count=20_000, seed=0):
    """Evidence and outcomes that follow a known confidence."""
    rng = np.random.default_rng(seed)
    seen = Evidence(*rng.uniform(0.05, 0.95, (2, count)), rng.normal(0, 3, (count, 2)))
    truth = Confidence(-0.7, 1.5, 0.5, (0.4, 0.0))
    return truth, seen, rng.random(count) < truth(seen)


def test_fit_finds_the_confidence_that_made_the_data(monkeypatch):
    monkeypatch.setattr("agents.confidence._FEATURES_RIDGE", 1e-3)
    truth, seen, right = drawn()
    found = Confidence.fit(seen, right)
    for name in ("bias", "agreement", "heat", "features"):
        np.testing.assert_allclose(getattr(found, name), getattr(truth, name), atol=0.1)
    assert calibration_error(found(seen), right) < 0.02
    assert calibration_error(seen.agreement, right) > 0.05


def test_features_that_say_nothing_hardly_count():
    rng = np.random.default_rng(0)
    agreed, heat = rng.uniform(0.05, 0.95, (2, 500))
    right = rng.random(500) < Confidence(-0.7, 1.5, 0.5)(evidence(agreed, heat))
    found = Confidence.fit(evidence(agreed, heat, rng.normal(size=(500, 300))), right)
    alone = Confidence.fit(evidence(agreed, heat), right)
    again = evidence(agreed, heat, rng.normal(size=(500, 300)))
    assert np.abs(found(again) - alone(again)).mean() < 0.1


def test_fit_survives_data_that_it_can_separate():
    agreed = np.linspace(0.01, 0.99, 50)
    found = Confidence.fit(evidence(agreed, agreed), agreed > 0.5)
    assert np.isfinite([found.bias, found.agreement, found.heat]).all()
    assert found(evidence(0.01, 0.01)) < 0.1 < 0.9 < found(evidence(0.99, 0.99))


def test_fit_of_evidence_that_is_mostly_beyond_doubt():
    rng = np.random.default_rng(0)
    seen = evidence(rng.beta(20, 0.2, 3000), rng.beta(0.3, 1.0, 3000))
    right = rng.random(3000) < Confidence(-6.0, 1.2, 0.4)(seen)
    found = Confidence.fit(seen, right)
    assert calibration_error(found(seen), right) < 0.03
    assert found.agreement == pytest.approx(1.2, abs=0.2)


def test_agreement_by_hand():
    candidates = np.array([[0.5, 0.5, 0.2, 0.2], [0.5, 0.5, 0.2, 0.4], [0.1, 0.1, 0.1, 0.1]])
    scores = np.array([0.5, 0.3, 0.2])
    # The first box is half of the second one; the third lies elsewhere.
    assert agreement(scores, candidates, 0) == pytest.approx(0.5 + 0.3 * 0.5)
    assert agreement(3 * scores, candidates, 2) == pytest.approx(0.2)


def test_reliability_by_hand():
    confidence = np.array([0.05, 0.07, 0.95, 1.0])
    mean, share, count = reliability(confidence, np.array([False, True, True, True]))
    np.testing.assert_allclose(mean, [0.06, 0.975])
    np.testing.assert_allclose(share, [0.5, 1.0])
    assert count.tolist() == [2, 2]


def test_absences_by_hand():
    """One of six frames, announced late and found again; one that is too short; one to the end."""
    visible = np.array([1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], bool)
    lost = np.array([0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0], bool)
    iou = np.where(visible, 0.8, 0.0)
    iou[7] = 0.4
    seen = Judged(evidence(1.0, 1.0), iou, lost, iou, visible, np.repeat([0, 1], 10))
    found = absences(seen)
    assert (found.gone, found.announced, found.returns, found.found) == (2, 0.5, 1, 1.0)
    assert found.false_alarms == pytest.approx(1 / 5)  # of the frames 0, 8, 9, 10 and 13


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
    tracker = RELOTracker.from_pretrained(path, num_templates=1)
    assert tracker.confidence == found
    (_, score, _, _), *_ = follow(tracker, video)
    seen = judge(network, [video])
    assert score == pytest.approx(seen.score[0], abs=1e-5)
    assert len(seen.score) == len(video) - 1
    assert seen.evidence.features.shape == (len(video) - 1, network.width)
    assert RELOTracker(network, official=True).confidence is None


@pytest.mark.parametrize(
    ("options", "templates", "interval", "recovers"),
    [
        ({}, 2, 50, True),
        ({"num_templates": 1, "recovery": None}, 1, 50, False),
        ({"update_interval": 10}, 2, 10, True),
        ({"window_exponent": 0}, 1, None, False),
        ({"official": True}, 1, None, False),
    ],
)
def test_a_tracker_that_knows_how_sure_it_is_recovers_and_renews(
    options, templates, interval, recovers, tmp_path
):
    network = RELONetwork.from_preset("micro")
    network.confidence = Confidence(0.0, 1.0, 1.0)
    path = network.save_checkpoint(tmp_path / "micro.safetensors", stage="random")
    tracker = RELOTracker.from_pretrained(path, **options)
    assert (tracker.num_templates, tracker.update_interval) == (templates, interval)
    assert (tracker.recovery is not None) == recovers
    network.confidence = None
    path = network.save_checkpoint(tmp_path / "bare.safetensors", stage="random")
    assert RELOTracker.from_pretrained(path).num_templates == 1


def test_without_recovery_nothing_is_ever_lost(video):
    network = RELONetwork.from_preset("micro")
    assert not any(lost for _, _, lost, _ in follow(RELOTracker(network), video))


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
