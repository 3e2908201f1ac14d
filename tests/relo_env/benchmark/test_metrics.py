"""Figures against values worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from relo_env.benchmark import metrics
from relo_env.benchmark.metrics import (
    FIGURES,
    FrameErrors,
    bootstrap_interval,
    crossed_bootstrap,
    paired_bootstrap,
)


def errors(overlap, centre=None, centre_norm=None):
    overlap = np.asarray(overlap, float)
    zeros = np.zeros_like(overlap)
    return FrameErrors(
        overlap,
        zeros if centre is None else np.asarray(centre, float),
        zeros if centre_norm is None else np.asarray(centre_norm, float),
    )


def test_errors_of_single_frames():
    truth = np.array([[0.0, 0, 10, 20], [0, 0, 10, 20], [0, 0, 10, 20], [0, 0, 0, 0]])
    predicted = np.array([[0.0, 0, 10, 20], [5, 0, 10, 20], [3, 4, 10, 20], [0, 0, 10, 20]])
    assert metrics.overlaps(predicted, truth) == pytest.approx(
        [1, 100 / 300, 7 * 16 / (400 - 7 * 16), 0]
    )
    assert metrics.centre_errors(predicted, truth) == pytest.approx([0, 5, 5, np.hypot(5, 10)])
    assert metrics.normalised_centre_errors(predicted, truth) == pytest.approx(
        [0, 0.5, np.hypot(0.3, 0.2), np.inf]
    )


def test_both_overlaps_agree_but_for_rounding():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(1, 100, (2, 500, 4))
    assert metrics.overlaps_of_inclusive_pixels(a, b) == pytest.approx(
        metrics.overlaps(a, b), abs=1e-12
    )


@pytest.mark.parametrize(("overlap", "auc"), [(1.0, 20 / 21), (0.62, 13 / 21), (0.0, 0.0)])
def test_success_auc_of_a_constant_overlap(overlap, auc):
    assert metrics.success_auc(errors([overlap] * 7)) == pytest.approx(auc)


@pytest.mark.parametrize(
    ("overlap", "area"), [(1.0, 1.0), (0.62, 0.625), (0.5, 0.525), (0.0, 0.025)]
)
def test_trackingnet_success_is_the_trapezoid_and_counts_the_threshold(overlap, area):
    assert metrics.trackingnet_success(errors([overlap] * 7)) == pytest.approx(area)


def test_points_of_the_curves():
    e = errors([0.5, 0.51, 0.75, 0.8], [20, 20.1, 0, np.inf], [0.2, 0.21, 0, -1])
    figures = {name: figure(e) for name, figure in FIGURES.items()}
    assert figures["OP50"] == figures["SR0.5"] == 0.75, "strictly above"
    assert figures["OP75"] == figures["SR0.75"] == 0.25
    assert figures["P"] == 0.5, "at most 20 px; infinite never counts"
    assert figures["P_norm"] == 0.75, "at most 0.2; -1 always counts"
    assert figures["AO"] == pytest.approx(0.64)
    # within 0.20: 31 of 51 thresholds, 0.21: 30, 0 and -1: all 51
    assert figures["P_norm_auc"] == pytest.approx((31 + 30 + 51 + 51) / 51 / 4)


@pytest.mark.parametrize("name", FIGURES)
def test_no_frames_give_zero(name):
    assert FIGURES[name](errors([])) == 0.0


@given(arrays(float, st.integers(1, 40), elements=st.floats(0, 1)), st.integers(0, 40))
def test_figures_are_means_over_frames(overlap, cut):
    """So any split of the frames gives the same figure as a weighted mean of its parts."""
    cut = min(cut, len(overlap))
    whole, parts = errors(overlap), (errors(overlap[:cut]), errors(overlap[cut:]))
    for figure in FIGURES.values():
        mean = sum(len(part) * figure(part) for part in parts) / len(overlap)
        assert figure(whole) == pytest.approx(mean)
        assert 0 <= figure(whole) <= 1


def test_bootstrap_interval():
    values = np.random.default_rng(3).uniform(0, 1, 200)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / np.sqrt(200)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)
    assert bootstrap_interval(values) == (low, high), "the same seed, the same interval"
    assert bootstrap_interval(np.array([0.3])) == pytest.approx((0.3, 0.3))


def test_bootstrap_leaves_out_what_weighs_nothing():
    assert bootstrap_interval(np.array([0.3, 0.0]), np.array([1.0, 0.0])) == pytest.approx(
        (0.3, 0.3)
    )


def test_paired_bootstrap():
    rng = np.random.default_rng(4)
    common, noise = rng.uniform(0, 1, 200), rng.normal(0, 0.05, 200)
    better = paired_bootstrap(common + 0.02 + noise, common)
    half = 1.96 * noise.std() / np.sqrt(200)
    assert better.mean == pytest.approx(0.02 + noise.mean())
    assert (better.low, better.high) == pytest.approx(
        (better.mean - half, better.mean + half), abs=0.001
    )
    assert better.p_value < 0.01
    worse = paired_bootstrap(common, common + 0.02 + noise)
    assert (worse.mean, worse.p_value) == pytest.approx((-better.mean, better.p_value))
    assert paired_bootstrap(common, common).p_value == 1.0


def test_paired_bootstrap_weighs_sequences():
    difference = paired_bootstrap(np.array([0.5, 0.9]), np.array([0.1, 0.8]), np.array([1.0, 3.0]))
    assert difference.mean == pytest.approx((0.4 + 3 * 0.1) / 4)


def test_intervals_are_over_seeds_and_clips():
    rng = np.random.default_rng(0)
    clips = rng.normal(0, 1, 40)
    # Clips that differ much and seeds that do not: the mean is uncertain, a difference is not.
    one, other = clips + 0.1 + np.zeros((5, 1)), clips + np.zeros((5, 1))
    low, high = crossed_bootstrap(one)
    assert high - low == pytest.approx(2 * 1.96 * clips.std() / 40**0.5, rel=0.15)
    assert crossed_bootstrap(one, other) == pytest.approx((0.1, 0.1))
    # Seeds that differ much: no number of clips helps.
    seeds = np.array([[0.0], [1.0]]) + np.zeros((1, 1000))
    assert crossed_bootstrap(seeds) == pytest.approx((0.0, 1.0))
