"""Protocols of published figures against implementations of the toolkits' rules, frame by frame.

Written from the public toolkits: OTB's ``calcSeqErrRobust``, LaSOT's ``calc_seq_err_robust`` and
``eval_tracker``, GOT-10k's ``ExperimentUAV123`` and TrackingNet's ``metrics.py``.
"""

import math

import numpy as np
import pytest

from relo_env.benchmark.metrics import FIGURES
from relo_env.benchmark.protocols import frame_errors, get_protocol

FRAMES = 80
NAN = [math.nan] * 4


@pytest.fixture(scope="module", params=range(3))
def case(request):
    """Truth in 1-based file coordinates, NaN where absent, and results of many kinds."""
    rng = np.random.default_rng(request.param)
    truth = np.concatenate(
        [rng.integers(1, 200, (FRAMES, 2)), rng.integers(20, 60, (FRAMES, 2))], axis=1
    ).astype(float)
    truth[[5, 6, 40]] = NAN
    truth[10, 0], truth[11, 1] = 0.0, -3.0  # the target reaches over the edge of the frame
    results = np.where(np.isnan(truth), 50.0, truth) + rng.normal(0, 6, truth.shape)
    results[:, 2:] = np.abs(results[:, 2:])
    results[20] = truth[20]
    results[[30, 31]] = NAN
    results[50], results[51] = [10, 10, 0, 5], [10, 10, -4, 5]
    results[60] += 300
    return truth, results


def centre(box):
    return box[0] + (box[2] - 1) / 2, box[1] + (box[3] - 1) / 2


def distance(a, b, scale=(1, 1)):
    (ax, ay), (bx, by) = centre(a), centre(b)
    return math.hypot((ax - bx) / scale[0], (ay - by) / scale[1])


def inclusive_overlap(a, b):
    w = max(0, min(a[0] + a[2] - 1, b[0] + b[2] - 1) - max(a[0], b[0]) + 1)
    h = max(0, min(a[1] + a[3] - 1, b[1] + b[3] - 1) - max(a[1], b[1]) + 1)
    return w * h / (a[2] * a[3] + b[2] * b[3] - w * h)


def held(results, truth=None):
    """Results in which an invalid row repeats the one before it, but where the truth is NaN."""
    rows = [list(row) for row in results]
    for i in range(1, len(rows)):
        if truth is not None and any(map(math.isnan, truth[i])):
            continue
        if any(map(math.isnan, rows[i])) or rows[i][2] <= 0 or rows[i][3] <= 0:
            rows[i] = rows[i - 1]
    return rows


def matlab_errors(results, truth, dropped=()):
    """Overlaps, centre errors and normalised ones; -1 of a frame without a positive true box."""
    rows = held(results, truth)
    rows[0] = list(truth[0])
    kept = [i for i in range(len(truth)) if i not in dropped]
    triples = []
    for i in kept:
        if all(value > 0 for value in truth[i]):
            error = distance(rows[i], truth[i]), distance(rows[i], truth[i], truth[i][2:])
            triples.append((inclusive_overlap(rows[i], truth[i]), *error))
        else:
            triples.append((-1, -1, -1))
    return triples


def matlab_figures(triples, frames):
    """Mean of 21 success rates, precision at 20 px and normalised precision at 0.20."""
    rates = [sum(o > 0.05 * k for o, _, _ in triples) / frames for k in range(21)]
    return {
        "success_auc": sum(rates) / 21,
        "P": sum(error <= 20 for _, error, _ in triples) / frames,
        "P_norm": sum(error <= 0.2 for _, _, error in triples) / frames,
    }


def ours(name, results, truth, *, absent=None, origin=1):
    """Figures of a protocol, with truth and results in 0-based coordinates."""
    shift = np.array([origin, origin, 0, 0])
    boxes = np.where(np.isnan(truth), 0.0, truth - shift)
    visible = (boxes[:, 2:] > 0).all(1)
    if absent is not None:
        visible &= ~absent
    protocol = get_protocol(name)
    errors = frame_errors(protocol, results - shift, boxes, visible, file_shift=origin)
    return {figure: FIGURES[figure](errors) for figure in protocol.figures}


def test_otb(case):
    truth, results = case
    expected = matlab_figures(matlab_errors(results, truth), FRAMES)
    found = ours("otb", results, truth)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_otb_holds_no_box_in_frames_without_truth(case):
    truth, results = case
    results = results.copy()
    results[[6, 7, 8]] = NAN
    expected = matlab_figures(matlab_errors(results, truth), FRAMES)
    found = ours("otb", results, truth)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_otb_counts_frames_without_truth_as_hits_of_precision(case):
    truth, results = case
    without = ours("clean,hold_last=true,inclusive=true", results, truth)
    with_hits = ours("otb,positive=false", results, truth)
    assert with_hits["P"] - without["P"] == pytest.approx(3 / FRAMES)
    assert with_hits["success_auc"] == pytest.approx(without["success_auc"])


def test_lasot(case):
    truth, results = case
    truth = np.where(np.isnan(truth), [3.0, 3, 9, 9], truth)  # LaSOT keeps boxes there
    absent = np.zeros(FRAMES, bool)
    absent[[5, 6, 40]] = True
    triples = matlab_errors(results, truth, dropped={5, 6, 40})
    expected = matlab_figures(triples, frames=FRAMES)  # of the whole video, as eval_tracker has it
    found = ours("lasot", results, truth, absent=absent, origin=0)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_got10k_on_uav123(case):
    truth, results = case
    results = np.array(held(results))
    rows = [list(row) for row in results]
    rows[0] = list(truth[0])
    valid = [i for i in range(FRAMES) if not any(map(math.isnan, truth[i]))]
    overlap = [inclusive_overlap(rows[i], truth[i]) for i in valid]
    errors = [distance(rows[i], truth[i]) for i in valid]
    found = ours("got10k-uav123", results, truth)
    rates = [np.mean([o > k / 20 for o in overlap]) for k in range(21)]
    assert found["success_auc"] == pytest.approx(np.mean(rates), abs=2 / 21 / FRAMES)
    assert found["P"] == pytest.approx(np.mean([error <= 20 for error in errors]))
    assert found["OP50"] == pytest.approx(rates[10])


def test_trackingnet(case):
    truth, results = case
    good = ~np.isnan(truth).any(1)
    truth, results = truth[good], np.array(held(results))[good]
    a, b = np.round(results), np.round(truth)
    a[0] = b[0]
    overlap = [inclusive_overlap(x, y) for x, y in zip(a, b, strict=True)]
    thresholds = np.linspace(0, 1, 21)
    rates = np.array([np.mean([o >= t for o in overlap]) for t in thresholds])
    success = sum((rates[k] + rates[k + 1]) / 2 / 20 for k in range(20))
    found = ours("trackingnet", results, truth, origin=0)
    assert found["TN_success"] == pytest.approx(success, abs=1e-9)


@pytest.mark.parametrize(
    ("protocol", "figure", "value"),
    [
        ("clean", "success_auc", 20 / 21),
        ("otb", "success_auc", 20 / 21),
        ("lasot", "success_auc", 20 / 21),
        ("got10k-uav123", "success_auc", 20 / 21),
        ("trackingnet", "TN_success", 1.0),
    ],
)
def test_a_perfect_tracker(protocol, figure, value):
    truth = np.tile([10.0, 10, 20, 20], (9, 1))
    assert ours(protocol, truth, truth)[figure] == pytest.approx(value)
