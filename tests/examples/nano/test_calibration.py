import numpy as np
import pytest

from agents.confidence import Confidence, Evidence
from examples.nano.calibration import Judged, absences, calibration_error, fit, reliability


def drawn(count=20_000, seed=0):
    """Evidence and outcomes that follow a known confidence."""
    rng = np.random.default_rng(seed)
    seen = Evidence(rng.uniform(0, 6, count), rng.normal(0.5, 0.5, count))
    truth = Confidence(-3.0, 0.8, 1.5)
    return truth, seen, rng.random(count) < truth(seen)


def test_fit_finds_the_confidence_that_made_the_data():
    truth, seen, right = drawn()
    found = fit(seen, right)
    for name in ("bias", "spread", "value"):
        assert getattr(found, name) == pytest.approx(getattr(truth, name), abs=0.1), name
    assert calibration_error(found(seen), right) < 0.02
    assert calibration_error(seen.value.clip(0, 1), right) > 0.05


def test_fit_survives_data_that_it_can_separate():
    value = np.linspace(0, 1, 50)
    found = fit(Evidence(np.ones(50), value), value > 0.5)
    assert np.isfinite([found.bias, found.spread, found.value]).all()
    assert found(Evidence(1.0, 0.0)) < 0.1 < 0.9 < found(Evidence(1.0, 1.0))


def test_fit_of_evidence_that_is_mostly_beyond_doubt():
    rng = np.random.default_rng(0)
    seen = Evidence(6 * rng.beta(20, 0.2, 3000), rng.beta(0.3, 1.0, 3000))
    right = rng.random(3000) < Confidence(-5.0, 1.2, 0.4)(seen)
    found = fit(seen, right)
    assert calibration_error(found(seen), right) < 0.03
    assert found.spread == pytest.approx(1.2, abs=0.2)


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
    seen = Judged(Evidence(iou, iou), iou, lost, iou, visible, np.repeat([0, 1], 10))
    found = absences(seen)
    assert (found.gone, found.announced, found.returns, found.found) == (2, 0.5, 1, 1.0)
    assert found.false_alarms == pytest.approx(1 / 5)  # of the frames 0, 8, 9, 10 and 13
