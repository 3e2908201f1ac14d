"""The environment through its public door."""

import json
import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env, data_equivalence
from stable_baselines3.common.env_checker import check_env as check_env_sb3

import relo_env
from relo_env import boxes as bx
from relo_env.episode import STOP
from relo_env.errors import ConfigError, DataError, FrameError
from relo_env.registration import env_id
from relo_env.rewards import clip_auc
from tests.toys import SMALL_CROPS, Squares


def make(**options):
    options = {"dataset": Squares(), "augment": False, **SMALL_CROPS, **options}
    return relo_env.TrackingEnv(**options)


def play(env, policy, seed=0, options=None):
    """Rewards and infos of one episode."""
    env.reset(seed=seed, options=options)
    rewards, infos, done = [], [], False
    while not done:
        _, reward, done, truncated, info = env.step(policy(env))
        assert not truncated
        rewards.append(reward)
        infos.append(info)
    return rewards, infos


def best(env):
    """The position whose candidate overlaps most with the truth."""
    target = env.engine.episodes[0].target_box
    return int(bx.iou(env.candidates, target).argmax())


IDS_WITHOUT_DATA = [
    env_id(spec.name)
    for spec in relo_env.list_datasets()
    if not spec.needs_root and spec.name != "Mixture"  # which is made of others
]


@pytest.mark.parametrize("name", IDS_WITHOUT_DATA)
@pytest.mark.parametrize("options", [{}, {"search_window": "jittered"}])
def test_checkers_find_nothing_in_what_can_be_built_without_data(name, options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make(name, **options).unwrapped)
        check_env_sb3(gym.make(name, **options).unwrapped)


def test_unknown_ids_and_missing_data_are_explained(monkeypatch):
    with pytest.raises(gym.error.NameNotFound, match="RELO-LaSOT"):
        gym.make("RELO-LaSOTT-v0")
    monkeypatch.delenv("RELO_DATA", raising=False)
    with pytest.raises(DataError, match=r"(?s)RELO_DATA is not set.*groundtruth\.txt"):
        gym.make("RELO-LaSOT-v0")


# DESIGN's bounds let a box lie outside the window; Gymnasium recommends symmetric ones.
@pytest.mark.filterwarnings("ignore:.*ecommend.* a symmetric and normalized")
@pytest.mark.parametrize("action_mode", ["grid", "box", "move"])
def test_checkers_find_nothing_in_any_action_mode(action_mode):
    env = make(action_mode=action_mode)
    check_env(env, skip_render_check=True)
    check_env_sb3(env, skip_render_check=True)


def test_observations_are_as_documented():
    env = gym.make("RELO-Synthetic-v0")
    observation, info = env.reset(seed=0)
    assert {k: (v.shape, v.dtype.name) for k, v in observation.items()} == {
        "template": ((6, 128, 128), "uint8"),
        "template_box": ((8,), "float32"),
        "search": ((3, 256, 256), "uint8"),
    }
    assert env.action_space == gym.spaces.Discrete(256)
    assert "iou" not in info


def test_the_template_box_is_where_the_template_is_bright():
    env = make()
    observation, _ = env.reset(seed=3)
    x, y, w, h = observation["template_box"] * SMALL_CROPS["template_size"]
    bright = np.argwhere(observation["template"][0] > 150)
    (top, left), (bottom, right) = bright.min(0), bright.max(0) + 1
    np.testing.assert_allclose([left, top, right, bottom], [x, y, x + w, y + h], atol=1.0)


def test_an_episode_pays_its_overlaps_and_its_auc():
    rewards, infos = play(make(clip_length=5, auc_weight=0.5), best)
    overlaps = [info["iou"] for info in infos]
    assert len(rewards) == 5
    assert min(overlaps) > 0.2  # candidates of the last size on a 4 x 4 grid
    np.testing.assert_allclose(rewards[:-1], overlaps[:-1])
    assert infos[-1]["auc"] == clip_auc(np.array(overlaps))
    assert rewards[-1] == pytest.approx(overlaps[-1] + 0.5 * infos[-1]["auc"])
    np.testing.assert_array_equal(infos[-1]["ious"], overlaps)
    for info in infos:
        assert info["iou"] == pytest.approx(float(bx.iou(info["box"], info["target_box"])))


def test_absent_frames_pay_nothing_and_are_left_out():
    env = make(dataset=Squares(absent=(4, 5)), clip_length=6, max_stride=1)
    rewards, infos = play(env, best, options={"sequence": "square-0", "start": 1})
    assert [info["visible"] for info in infos] == [True, True, False, False, True, True]
    assert rewards[2] == rewards[3] == infos[2]["iou"] == 0.0
    assert not infos[2]["target_box"].any()
    seen = [info["iou"] for info in infos if info["visible"]]
    assert infos[-1]["auc"] == clip_auc(np.array(seen))


def test_an_episode_without_the_target_has_auc_zero():
    env = make(dataset=Squares(absent=tuple(range(1, 30))), clip_length=3)
    rewards, infos = play(env, lambda env: 0)
    assert rewards == [0.0, 0.0, 0.0]
    assert infos[-1]["auc"] == 0.0


def test_the_tracked_window_follows_the_choice_and_the_jittered_one_does_not():
    for window, moved in (("tracked", True), ("jittered", False)):
        env = make(search_window=window)
        second = []
        for action in (0, 15):
            env.reset(seed=1)
            second.append(env.step(action)[0]["search"])
        assert (second[0] != second[1]).any() == moved


def test_a_box_action_is_a_box_of_the_search_window():
    env = make(action_mode="box")
    env.reset(seed=0)
    target = env.window.to_crop(env.engine.episodes[0].target_box)
    assert env.step(target)[4]["iou"] == pytest.approx(1.0)
    env.step(np.array([-1.0, 2.0, 2.0, 2.0], np.float32))  # a box outside the window can be said
    for action in (
        [0.5, np.nan, 0.1, 0.1],
        [0.5, 0.5],
        "box",
        None,
        torch.ones(4, requires_grad=True),
    ):
        with pytest.raises(ConfigError, match="four finite numbers"):
            env.step(action)


def test_moves_shift_scale_and_stop():
    env = make(action_mode="move", clip_length=2, max_moves=3, max_stride=1)
    _, first = env.reset(seed=0)
    _, reward, done, _, info = env.step(1)  # right by 0.03 widths
    assert (reward, done) == (0.0, False)
    np.testing.assert_allclose(info["box"] - first["box"], [0.03 * 20, 0, 0, 0], atol=1e-9)
    _, reward, _, _, info = env.step(STOP)
    assert reward == info["iou"] > 0
    frame = info["frame"]
    infos = [env.step(8)[4] for _ in range(3)]  # larger, until the moves are used up
    assert [i["frame"] for i in infos] == [frame + 1] * 3
    assert infos[-1]["box"][2] == pytest.approx(info["box"][2] * 1.03**3)
    assert "auc" in infos[-1]


def test_candidate_info_tells_what_every_position_would_have_earned():
    env = make(candidate_info=True)
    env.reset(seed=5)
    candidates = bx.clip(env.candidates, (96, 72))
    _, _, _, _, info = env.step(6)
    np.testing.assert_array_equal(info["candidate_ious"], bx.iou(candidates, info["target_box"]))
    assert info["candidate_ious"][6] == info["iou"]


def test_a_box_that_lies_outside_the_frame_is_played():
    dataset = Squares(count=1)
    dataset.videos["square-0"].boxes[3:6] = [[-50.0, -40, 20, 16], [90, 70, 20, 16], [200, 9, 9, 9]]
    env = make(dataset=dataset, max_stride=1, clip_length=6)
    for position in (0, 15):
        env.reset(seed=0, options={"sequence": "square-0", "start": 1})
        for _ in range(6):
            *_, info = env.step(position)
            assert np.isfinite(info["iou"])
            left, top, width, height = info["box"]
            assert min(width, height) >= 10  # as the tracker clips
            assert 10 - width <= left <= 96 - 10
            assert 10 - height <= top <= 72 - 10


def test_the_official_reward_compares_inside_the_crop():
    env = make(official=True)
    env.reset(seed=2)
    for position in (0, 5, 10):
        target = bx.clip_to_unit(bx.cxcywh_to_xywh(env.engine.episodes[0].target_box01))
        candidate = bx.cxcywh_to_xywh(env.engine.candidates01[0, position])
        assert env.step(position)[4]["iou"] == float(bx.iou(candidate, target))


def test_a_reward_of_ones_own_sees_the_frames_so_far():
    seen = []

    def reward(ious, visible, last):
        seen.append((len(ious), len(visible), last))
        return 10.0 + len(ious)

    rewards, _ = play(make(clip_length=3, reward=reward), best)
    assert seen == [(1, 1, False), (2, 2, False), (3, 3, True)]
    assert rewards == [11.0, 12.0, 13.0]


def test_the_last_observation_is_repeated_in_fresh_arrays():
    env = make(clip_length=2)
    env.reset(seed=0)
    before = env.step(5)[0]
    after, _, terminated, _, _ = env.step(5)
    assert terminated
    assert data_equivalence(before, after)
    assert not any(np.shares_memory(before[key], after[key]) for key in after)


@pytest.mark.parametrize("sampling", ["consecutive", "ordered", "causal"])
@pytest.mark.parametrize("window", ["tracked", "jittered"])
@pytest.mark.parametrize("action_mode", ["grid", "box", "move"])
def test_random_play_breaks_nothing(sampling, window, action_mode):
    if action_mode == "move" and window == "jittered":
        pytest.skip("refused")
    env = make(
        dataset=Squares(absent=(4, 5, 6, 20), broken=(9,)),
        search_window=window,
        frame_sampling=sampling,
        action_mode=action_mode,
        augment=True,
        clip_length=5,
    )
    env.action_space.seed(0)
    for seed in range(6):
        _, info = env.reset(seed=seed)
        done = False
        while not done:
            observation, reward, done, _, info = env.step(env.action_space.sample())
            assert env.observation_space.contains(observation)
            numbers = [reward, info["iou"], info.get("auc", 0.0), *info["box"], *info["target_box"]]
            assert np.isfinite(numbers).all()


def test_a_mirrored_clip_is_the_mirrored_video():
    plain, mirrored = make(), make(augment=True)
    for seed in range(20):
        mirrored.reset(seed=seed)
        augmentation = mirrored.engine.episodes[0].clip.augmentation
        if augmentation.mirror and not augmentation.grey:
            break
    _, a = plain.reset(seed=seed)
    _, b = mirrored.reset(seed=seed)
    # chance is drawn in one order, so that the clip is the same one
    assert (a["sequence"], a["frame"]) == (b["sequence"], b["frame"])
    assert b["box"][0] == 96 - a["box"][0] - a["box"][2]
    x, y, w, h = mirrored.engine.episodes[0].target_box.astype(int)
    inside = mirrored.frame[y : y + h, x : x + w, 0]
    assert inside.min() > 150


def test_sequence_mode_plays_the_whole_video():
    env = make(mode="sequence")
    _, infos = play(env, best, options={"sequence": "square-1"})
    assert [info["frame"] for info in infos] == list(range(1, 30))


def test_a_broken_frame_redraws_the_clip_and_is_counted(caplog):
    env = make(dataset=Squares(count=1, broken=(20,)), max_stride=1)
    for seed in range(10):
        env.reset(seed=seed)
    assert env.engine.clips.redraws > 0
    assert "broken on purpose" in caplog.text


def test_broken_frames_everywhere_and_in_evaluation_are_raised():
    everywhere = Squares(count=1, broken=tuple(range(30)))
    with pytest.raises(FrameError, match="broken on purpose"):
        make(dataset=everywhere).reset(seed=0)
    env = make(dataset=Squares(count=1, broken=(3,)), mode="sequence")
    env.reset(seed=0)
    env.step(0)  # frame 1, and looks at frame 2
    with pytest.raises(FrameError, match="broken on purpose"):
        env.step(0)


def test_state_dict_brings_an_environment_back_in_the_middle_of_an_episode():
    env, other = make(augment=True), make(augment=True)
    env.reset(seed=9)
    for action in (3, 7, 5):
        observation = env.step(action)[0]
    state = json.loads(json.dumps(env.state_dict()))
    assert data_equivalence(other.load_state_dict(state), observation)
    with pytest.raises(ConfigError, match=r"belongs to an environment with .*'grid'.*'box'"):
        make(action_mode="box").load_state_dict(state)
    with pytest.raises(ConfigError, match="'num_rows': None"):
        other.load_state_dict({})
    for _ in range(5):
        assert data_equivalence(env.step(2), other.step(2))
    assert data_equivalence(env.reset(), other.reset())


@pytest.mark.parametrize("name", ["frame", "window", "candidates", "render"])
def test_there_is_nothing_to_see_before_the_first_reset(name):
    env = make(render_mode="rgb_array")
    with pytest.raises(gym.error.ResetNeeded):
        getattr(env, name)()


def test_stepping_without_an_episode_is_refused():
    env = make(clip_length=1)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(0)
    env.reset(seed=0)
    env.step(0)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(0)


def test_wrong_actions_and_reset_options_are_explained():
    env = make()
    env.reset(seed=0)
    for action in (16, -1, 2.5, None, "left", [[1], [2, 3]]):
        with pytest.raises(ConfigError, match="expected an integer from 0 to 15"):
            env.step(action)
    with pytest.raises(ConfigError, match=r"Unknown reset option 'sequenze'.*'sequence'"):
        env.reset(options={"sequenze": "square-1"})
    with pytest.raises(ConfigError, match=r"options is \['sequence'\]; expected a dict or None"):
        env.reset(options=["sequence"])
    with pytest.raises(ConfigError, match=r"seed is 1\.5; expected an int or None"):
        env.reset(seed=1.5)
    with pytest.raises(ConfigError, match="start is 'a'; expected an int"):
        env.reset(options={"start": "a"})
    with pytest.raises(ConfigError, match=r"sequence is \[.*\]; expected a string or None"):
        env.reset(options={"sequence": ["square-1"] * 4})


@pytest.mark.parametrize("value", [None, "3", float("nan"), np.ones(2)])
def test_a_reward_that_is_no_finite_number_is_explained(value):
    env = make(reward=lambda ious, visible, last: value)
    env.reset(seed=0)
    with pytest.raises(ConfigError, match=r"function returned .*; expected a finite number"):
        env.step(0)
