import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relo_env.config import RewardConfig
from relo_env.errors import ConfigError
from relo_env.rewards import clip_auc, make_reward


@pytest.mark.parametrize(("iou", "auc"), [(1.0, 0.975), (0.5, 0.475), (0.62, 0.625), (0.0, 0.0)])
def test_auc_of_a_constant_overlap(iou, auc):
    assert clip_auc(np.full(8, iou)) == pytest.approx(auc)


def test_auc_of_no_frame_is_zero():
    assert clip_auc(np.array([])) == 0.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=16))
def test_auc_is_the_mean_of_its_frames_and_near_the_mean_overlap(ious):
    alone = [clip_auc(np.array([iou])) for iou in ious]
    assert clip_auc(np.array(ious)) == pytest.approx(np.mean(alone))
    assert abs(clip_auc(np.array(ious)) - np.mean(ious)) <= 0.05


def test_reward_pays_overlap_each_frame_and_auc_at_the_last():
    reward = make_reward(RewardConfig(iou_weight=2.0, auc_weight=0.5))
    ious, visible = np.array([0.5, 0.0, 0.62]), np.array([True, False, True])
    assert reward(ious[:1], visible[:1], False) == 1.0
    assert reward(ious[:2], visible[:2], False) == 0.0  # absent
    last = 2 * 0.62 + 0.5 * (0.475 + 0.625) / 2
    assert reward(ious, visible, True) == pytest.approx(last)


def test_a_reward_of_ones_own_is_taken_as_it_is():
    def own(ious, visible, last):
        return 7.0

    assert make_reward(RewardConfig(reward=own)) is own


def half_an_auc(ious, visible, last):
    """What the name below names."""
    return 0.5 * clip_auc(ious[visible]) if last else 0.0


def test_a_reward_may_be_given_by_name():
    named = RewardConfig(reward=f"{__name__}:half_an_auc")
    assert make_reward(named) is half_an_auc


def test_a_reward_that_takes_something_else_is_refused():
    with pytest.raises(ConfigError, match=r"a callable \(ious, visible, last\) -> float"):
        RewardConfig(reward=lambda iou: iou)


def test_an_unknown_reward_is_named():
    with pytest.raises(ConfigError, match=r"reward is 'auc'; expected 'iou.auc'"):
        RewardConfig(reward="auc")
