import numpy as np
import pytest

from agents.confidence import Confidence, Evidence
from examples.nano.calibration import Judged, absences, calibration_error, fit, reliability


def evidence(agreed, heat, features=None):
    return Evidence(agreed, heat, np.zeros((*np.shape(heat), 0)) if features is None else features)


def drawn(count=20_000, seed=0):
    """Evidence and outcomes that follow a known confidence."""
    rng = np.random.default_rng(seed)
    seen = Evidence(*rng.uniform(0.05, 0.95, (2, count)), rng.normal(0, 3, (count, 2)))
    truth = Confidence(-0.7, 1.5, 0.5, (0.4, 0.0))
    return truth, seen, rng.random(count) < truth(seen)


def test_fit_finds_the_confidence_that_made_the_data():
    truth, seen, right = drawn()
    found = fit(seen, right, features_ridge=1e-3)
    for name in ("bias", "agreement", "heat", "features"):
        np.testing.assert_allclose(getattr(found, name), getattr(truth, name), atol=0.1)
    assert calibration_error(found(seen), right) < 0.02
    assert calibration_error(seen.agreement, right) > 0.05


def test_features_that_say_nothing_hardly_count():
    rng = np.random.default_rng(0)
    agreed, heat = rng.uniform(0.05, 0.95, (2, 500))
    right = rng.random(500) < Confidence(-0.7, 1.5, 0.5)(evidence(agreed, heat))
    found = fit(evidence(agreed, heat, rng.normal(size=(500, 300))), right)
    alone = fit(evidence(agreed, heat), right)
    again = evidence(agreed, heat, rng.normal(size=(500, 300)))
    assert np.abs(found(again) - alone(again)).mean() < 0.1


def test_fit_survives_data_that_it_can_separate():
    agreed = np.linspace(0.01, 0.99, 50)
    found = fit(evidence(agreed, agreed), agreed > 0.5)
    assert np.isfinite([found.bias, found.agreement, found.heat]).all()
    assert found(evidence(0.01, 0.01)) < 0.1 < 0.9 < found(evidence(0.99, 0.99))


def test_fit_of_evidence_that_is_mostly_beyond_doubt():
    rng = np.random.default_rng(0)
    seen = evidence(rng.beta(20, 0.2, 3000), rng.beta(0.3, 1.0, 3000))
    right = rng.random(3000) < Confidence(-6.0, 1.2, 0.4)(seen)
    found = fit(seen, right)
    assert calibration_error(found(seen), right) < 0.03
    assert found.agreement == pytest.approx(1.2, abs=0.2)


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
