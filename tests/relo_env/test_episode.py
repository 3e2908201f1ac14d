"""One episode in plain numpy: outcomes computed before anything changes, then applied."""

import numpy as np
import pytest

from relo_env import boxes as bx
from relo_env.clips import Clip
from relo_env.config import ClipConfig, CropConfig, EnvConfig, RewardConfig
from relo_env.crops import SearchWindow
from relo_env.episode import Episode
from relo_env.prefetch import ClipPrefetch, FrameLoader
from relo_env.rewards import clip_auc
from relo_env.spaces import STOP, Choice
from tests.toys import SMALL_CROPS, square_video

CROP = CropConfig(**SMALL_CROPS)


def start(config=None, absent=(), frames=(1, 2, 3)):
    video = square_video(absent=absent)
    clip = Clip(video, np.array([0]), np.array(frames))
    return Episode(ClipPrefetch(clip, FrameLoader(), CROP), config or EnvConfig(), CROP), video


def settle(episode, box):
    """Choose an xywh box of the frame."""
    outcome = episode.choose(episode.window.to_crop(box))
    episode.apply(outcome)
    return outcome


def test_it_starts_around_the_template():
    episode, video = start()
    assert (episode.t, episode.settled, episode.is_over) == (0, 0, False)
    np.testing.assert_array_equal(episode.box, video.boxes[0])
    assert episode.window == SearchWindow.around(video.boxes[0], 4.0, 64)
    info = episode.first_info()
    assert info["frame"] == 0
    np.testing.assert_array_equal(info["target_box"], video.boxes[0])


def test_choosing_changes_nothing_before_it_is_applied():
    episode, video = start()
    for _ in range(2):
        outcome = episode.choose(episode.window.to_crop(video.boxes[1]))
        assert outcome.info["iou"] == pytest.approx(1.0)
        assert (episode.t, episode.settled) == (0, 0)
        np.testing.assert_array_equal(episode.box, video.boxes[0])
    episode.apply(outcome)
    assert (episode.t, episode.settled) == (1, 1)
    np.testing.assert_allclose(episode.box, video.boxes[1])
    assert episode.window.box[2] == pytest.approx(4 * np.sqrt(20 * 16))


def test_the_last_frame_pays_the_auc_of_the_visible_ones():
    reward = EnvConfig(ClipConfig(clip_length=3), RewardConfig(auc_weight=2.0))
    episode, video = start(reward, absent=(2,))
    first = settle(episode, video.boxes[1])
    hidden = settle(episode, video.boxes[1])
    half = video.boxes[3] + [10, 0, 0, 0]
    last = settle(episode, half)
    assert first.reward == pytest.approx(1.0)
    assert (hidden.reward, hidden.info["visible"], hidden.info["iou"]) == (0.0, False, 0.0)
    overlap = 10 * 16 / (2 * 20 * 16 - 10 * 16)
    auc = clip_auc(np.array([first.info["iou"], overlap]))
    assert last.done
    assert last.reward == pytest.approx(overlap + 2 * auc)
    assert last.info["auc"] == pytest.approx(auc)
    assert isinstance(last.info["iou"], np.float64)
    assert isinstance(last.info["auc"], np.float64)
    assert episode.is_over


def test_what_is_given_out_is_not_what_is_kept():
    episode, video = start()
    outcome = settle(episode, video.boxes[1])
    outcome.info["box"][:] = -1
    outcome.info["target_box"][:] = -1
    assert (episode.box > 0).all()
    assert (episode.target_box > 0).all()


def test_moves_add_up_and_stopping_settles():
    episode, video = start(EnvConfig(action_mode="move", max_moves=3))
    for _ in range(2):
        outcome = episode.move(1)
        assert not outcome.moved_on
        episode.apply(outcome)
    np.testing.assert_allclose(episode.box[0], video.boxes[0][0] + 2 * 0.03 * 20)
    outcome = episode.move(1)  # the last that is allowed
    assert outcome.moved_on
    episode.apply(outcome)
    assert episode.move(STOP).moved_on


def test_boxes_of_the_window():
    episode, video = start(absent=(2,))
    np.testing.assert_array_equal(
        episode.boxes01, episode.window.to_crop(np.stack([video.boxes[0], video.boxes[1]]))
    )
    settle(episode, video.boxes[1])
    np.testing.assert_array_equal(episode.boxes01[1], 0)
    assert not episode.target_box01.any()
    assert not episode.true_overlaps(np.full((5, 4), 0.5)).any()


def test_true_overlaps_are_those_of_the_clipped_boxes():
    episode, video = start()
    candidates = np.array([[0.5, 0.5, 0.25, 0.25], [-1.0, 0.5, 0.1, 0.1]])
    wanted = bx.iou(bx.clip(episode.window.to_image(candidates), (96, 72)), video.boxes[1])
    np.testing.assert_array_equal(episode.true_overlaps(candidates), wanted)


def test_controls_are_applied_to_the_next_frame():
    episode, video = start(EnvConfig(controls=("zoom",)))
    outcome = episode.choose(episode.window.to_crop(video.boxes[1]), choice=Choice(3, zoom=2.25))
    side = episode.window.side
    assert outcome.info["zoom"] == 2.25
    assert "renewed" not in outcome.info
    episode.apply(outcome)
    assert episode.window.side == pytest.approx(2.25 * side)
    assert episode.zoom == 2.25
    settle(episode, video.boxes[2])
    assert episode.zoom == 1.0


def test_the_window_as_a_box():
    window = SearchWindow.around(np.array([10.0, 20, 30, 30]), 4.0, 64)
    np.testing.assert_array_equal(window.box, [25 - 60, 35 - 60, 120, 120])
    assert window.box[0] + window.box[2] / 2 == window.center[0]
