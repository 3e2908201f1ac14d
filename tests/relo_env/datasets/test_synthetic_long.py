"""The level "long": what happens in its videos, counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from relo_env.datasets.base import Sequence
from relo_env.datasets.synthetic import LEVELS, Synthetic

QUIET = replace(
    LEVELS["easy"], distractors=(0, 0), pan=0.0, shake=0.0, zoom=0.0, roll=0.0, light=0.0
)


def gaps(visible: np.ndarray) -> list[tuple[int, int]]:
    """First and last frame, plus one, of each time that a target is absent."""
    edges = np.flatnonzero(np.diff([1, *visible.astype(int), 1]))
    return list(zip(edges[::2], edges[1::2], strict=True))


def videos(count: int, **options) -> list[Sequence]:
    data = Synthetic("val", **options)
    return [data[i] for i in range(count)]


@pytest.fixture(scope="module")
def long() -> list[Sequence]:
    return videos(40, difficulty="long")


@pytest.mark.parametrize(("length", "share"), [(48, 0.6), (64, 0.7), (96, 0.85)])
def test_most_clips_lose_their_target(long, length, share):
    lost = [
        any(end - start >= 5 for start, end in gaps(video.visible[begin : begin + length]))
        for video in long
        for begin in range(0, len(video) - length, 25)
    ]
    assert np.mean(lost) > share


def test_the_target_is_seen_most_of_the_time(long):
    assert 0.55 < np.mean([video.visible.mean() for video in long]) < 0.85


def test_walls_hide_the_whole_target_for_5_to_20_frames():
    lengths = [
        end - start
        for video in videos(40, difficulty=replace(QUIET, blackouts=0.7))
        for start, end in gaps(video.visible)
        if end < len(video)
    ]
    assert len(lengths) > 20
    # A wall slides on and off within 4 frames each, and hides most of the target sooner than all.
    assert min(lengths) >= 5
    assert np.quantile(lengths, 0.9) <= 26  # two walls may follow each other
    assert np.ptp(lengths) > 10


def returns(elsewhere: bool) -> np.ndarray:
    """Distances between where targets left and came back, in their sizes."""
    found = []
    for video in videos(
        40, difficulty=replace(QUIET, size=(16, 0.25), exits=0.7, elsewhere=elsewhere)
    ):
        motion = video.frames.scene.target.motion
        for start, end in gaps(video.visible):
            if end < len(video):
                left, back = motion.centre[start], motion.centre[end]
                found.append(np.linalg.norm(back - left) / motion.size[start].max())
    assert len(found) > 15
    return np.array(found)


def test_targets_come_back_elsewhere():
    # A search window of factor 4 reaches 2 sizes from its centre, one of 2.25 times that 4.5.
    assert np.mean(returns(elsewhere=True) > 2) > 0.3 + np.mean(returns(elsewhere=False) > 2)


def test_the_look_of_the_first_template_is_lost(long):
    for video in long:
        fade = video.frames.scene.target.fade
        assert fade[0] == 0
        assert (np.diff(fade) > 0).all()
        assert fade[47] > 0.6
        others = (*video.frames.scene.behind, *video.frames.scene.front)
        assert all((actor.fade == 0).all() for actor in others)


def mean_colour(video: Sequence, index: int) -> np.ndarray:
    return video.frames.read(index)[video.frames.mask(index) > 200].mean(0)


def test_pixels_follow_the_change_of_look():
    changes = {
        drift: np.median(
            [
                np.abs(mean_colour(video, 50) - mean_colour(video, 0)).max()
                for video in videos(9, difficulty=replace(QUIET, drift=drift), length=60)
            ]
        )
        for drift in (None, (50.0, 50.0))
    }
    assert changes[50.0, 50.0] > 3 * changes[None]


def test_most_videos_have_doubles(long):
    doubles = [
        any(actor.look == video.frames.scene.target.look for actor in video.frames.scene.behind)
        or any(actor.look == video.frames.scene.target.look for actor in video.frames.scene.front)
        for video in long
    ]
    assert np.mean(doubles) > 0.6
