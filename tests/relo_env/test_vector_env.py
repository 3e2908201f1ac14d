import json
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import relo_env
from relo_env.errors import ConfigError
from relo_env.proposers import PreviousSizeProposer
from tests.toys import SMALL_CROPS, Squares

MODES = list(AutoresetMode)


def options(**more):
    return {"dataset": Squares(absent=(6, 7)), **SMALL_CROPS, "clip_length": 3, **more}


def make(num_envs=3, **more):
    return relo_env.TrackingVectorEnv(num_envs, **options(**more))


def equal_infos(a, b):
    assert a.keys() == b.keys()
    for key in a:
        if isinstance(a[key], dict):
            equal_infos(a[key], b[key])
        elif a[key].dtype == object:
            assert all(data_equivalence(x, y) for x, y in zip(a[key], b[key], strict=True)), key
        else:
            np.testing.assert_array_equal(a[key], b[key], key)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"search_window": "jittered"},
        {"candidate_info": True, "proposer": "target-size"},
        {"action_mode": "box"},
        {"action_mode": "move", "max_moves": 2},
    ],
    ids=["tracked", "jittered", "candidates", "box", "move"],
)
def test_it_equals_gymnasiums_sync_vector_env(mode, more):
    ours = make(autoreset_mode=mode, **more)
    theirs = SyncVectorEnv(
        [lambda: relo_env.TrackingEnv(**options(**more))] * 3, autoreset_mode=mode
    )
    ours.action_space.seed(0)
    (a, a_info), (b, b_info) = ours.reset(seed=7), theirs.reset(seed=7)
    assert data_equivalence(a, b)
    equal_infos(a_info, b_info)
    for _ in range(10):
        actions = ours.action_space.sample()
        ours_step, theirs_step = ours.step(actions), theirs.step(actions)
        for a, b in zip(ours_step[:4], theirs_step[:4], strict=True):
            assert data_equivalence(a, b)
        theirs_info = dict(theirs_step[4])
        if "ious" in theirs_info:  # objects here, a dense array there, where all have one length
            theirs_info["ious"] = ours_step[4]["ious"]
        if "final_info" in theirs_info and "ious" in theirs_info["final_info"]:
            theirs_info["final_info"]["ious"] = ours_step[4]["final_info"]["ious"]
        equal_infos(ours_step[4], theirs_info)
        if mode is AutoresetMode.DISABLED and ours_step[2].any():
            mask = ours_step[2]
            a, _ = ours.reset(options={"reset_mask": mask})
            b, _ = theirs.reset(options={"reset_mask": mask.copy()})
            assert data_equivalence(a, b)


def test_make_vec_finds_it():
    venv = gym.make_vec("RELO-Synthetic-v0", 2, vectorization_mode="vector_entry_point")
    assert isinstance(venv.unwrapped, relo_env.TrackingVectorEnv)
    assert venv.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    observation, _ = venv.reset(seed=0)
    assert observation["search"].shape == (2, 3, 256, 256)


def test_rows_of_a_group_stay_in_step_for_ever():
    venv = make(num_envs=4, group_size=2, autoreset_mode="SameStep")
    venv.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(12):
        info = venv.step(rng.integers(0, 16, 4))[4]
        for key in ("sequence", "frame"):
            assert info[key][0] == info[key][1]
            assert info[key][2] == info[key][3]
    assert venv.engine.episodes[0].clip is venv.engine.episodes[1].clip


def test_a_group_that_nobody_seeds_still_shares_its_clips():
    venv = make(num_envs=4, group_size=4)
    observation, _ = venv.reset()
    assert all((observation["search"][i] == observation["search"][0]).all() for i in range(4))


def test_a_shared_frame_is_decoded_once():
    dataset = Squares(count=1)
    venv = make(num_envs=4, group_size=4, dataset=dataset)
    venv.reset(seed=0)
    reads = dataset.videos["square-0"].frames.reads
    assert len(reads) == len(set(reads)) == 4  # a template and three search frames


def test_same_step_hands_over_the_last_observation_and_info():
    venv = make(autoreset_mode=AutoresetMode.SAME_STEP)
    venv.reset(seed=0)
    for _ in range(3):
        observation, _, terminated, _, info = venv.step([5, 5, 5])
    assert terminated.all()
    assert info["_final_obs"].all()
    assert info["final_info"]["auc"].shape == (3,)
    assert len(info["final_info"]["ious"][0]) == 3
    assert (info["final_obs"][0]["search"] != observation["search"][0]).any()
    assert "iou" not in info


def test_returned_arrays_are_fresh():
    venv = make()
    first, _ = venv.reset(seed=0)
    second = venv.step([1, 2, 3])[0]
    kept = {key: value.copy() for key, value in second.items()}
    for key in first:
        assert not np.shares_memory(first[key], second[key])
        first[key][:] = 0
    third = venv.step([1, 2, 3])[0]
    assert data_equivalence(second, kept)
    assert not any(np.shares_memory(second[key], third[key]) for key in third)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_without_copies_the_same_arrays_are_written_anew(mode):
    plain, shared = make(autoreset_mode=mode), make(autoreset_mode=mode, copy=False)
    (a, _), (b, _) = plain.reset(seed=2), shared.reset(seed=2)
    arrays = dict(b)
    for step in range(8):
        assert data_equivalence(a, b)
        assert all(b[key] is array for key, array in arrays.items())
        actions = [step, 5, 15]
        (a, *a_rest, a_info), (b, *b_rest, b_info) = plain.step(actions), shared.step(actions)
        assert data_equivalence(a_rest, b_rest)
        equal_infos(a_info, b_info)


class Mean(PreviousSizeProposer):
    """Sizes that follow from the crop alone; counts the crops that it sees."""

    crops_only = True
    extra_spaces = {"mean": gym.spaces.Box(0, 255, (1,), np.float32)}

    def __init__(self, crop):
        super().__init__(crop)
        self.started, self.looked = [], []

    def reset(self, rows, templates, template_boxes):
        self.started.append(rows.tolist())

    def propose(self, rows, searches, previous_boxes, target_boxes=None):
        self.looked.append(rows.tolist())
        mean = searches.mean((1, 2, 3), dtype=np.float64).astype(np.float32)[:, None]
        boxes = np.repeat(0.1 + mean / 1000, 4, axis=1)
        return relo_env.Proposals(super().propose(rows, searches, boxes).boxes, {"mean": mean})


@pytest.mark.parametrize(
    ("more", "rows"),
    [
        ({"search_window": "jittered"}, [0, 2]),
        ({"search_window": "tracked"}, [0, 1, 2, 3]),
        ({"search_window": "jittered", "frame_sampling": "consecutive"}, [0, 1, 2, 3]),
    ],
    ids=["open loop", "closed loop", "a window without a target follows the box"],
)
def test_in_the_open_loop_a_groups_crop_is_looked_at_once(more, rows):
    crop = relo_env.CropConfig(**SMALL_CROPS)
    grouped, single = Mean(crop), Mean(crop)
    ours = make(4, group_size=2, proposer=grouped, autoreset_mode="SameStep", **more)
    theirs = SyncVectorEnv(
        [lambda: relo_env.TrackingEnv(**options(proposer=single, **more))] * 4,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    a, b = ours.reset(seed=3)[0], theirs.reset(seed=[3, 3, 4, 4])[0]
    for step in range(7):
        assert data_equivalence(a, b)
        actions = np.array([0, 5, 10, 15]) - step % 2 * np.array([0, 5, 10, 15])
        a, b = ours.step(actions)[0], theirs.step(actions)[0]
    assert grouped.started == [rows] * len(grouped.started)
    assert grouped.looked == [rows] * 8


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_gymnasiums_own_vector_environments_give_the_same(kind):
    more = {**SMALL_CROPS, "clip_length": 2, "difficulty": "easy"}
    ours = gym.make_vec("RELO-Synthetic-v0", 2, vectorization_mode="vector_entry_point", **more)
    theirs = gym.make_vec("RELO-Synthetic-v0", 2, vectorization_mode=kind, **more)
    a, b = ours.reset(seed=1)[0], theirs.reset(seed=1)[0]
    for _ in range(4):
        assert data_equivalence(a, b)
        a, b = ours.step(np.array([3, 9]))[0], theirs.step(np.array([3, 9]))[0]
    theirs.close()
    ours.close()


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("steps", [3, 4, 5])
def test_state_dict_resumes_the_same_run(mode, steps):
    venv, other = make(autoreset_mode=mode), make(autoreset_mode=mode)
    venv.reset(seed=5)
    rng = np.random.default_rng(1)
    for _ in range(steps):
        observation = venv.step(rng.integers(0, 16, 3))[0]
    state = json.loads(json.dumps(venv.state_dict()))
    assert data_equivalence(other.load_state_dict(state), observation)
    for _ in range(8):
        actions = rng.integers(0, 16, 3)
        for a, b in zip(venv.step(actions)[:4], other.step(actions)[:4], strict=True):
            assert data_equivalence(a, b)


def test_it_is_pickled_by_its_arguments():
    venv = make()
    copy = pickle.loads(pickle.dumps(venv))
    assert isinstance(copy, relo_env.TrackingVectorEnv)
    assert data_equivalence(venv.reset(seed=1)[0], copy.reset(seed=1)[0])


def test_pictures_of_all_rows():
    venv = make(render_mode="rgb_array")
    venv.reset(seed=0)
    pictures = venv.render()
    assert len(pictures) == 3
    assert make().render() is None


def test_wrong_arguments_are_explained():
    with pytest.raises(ConfigError, match="num_envs is 3; expected a multiple of group_size=2"):
        make(num_envs=3, group_size=2)
    with pytest.raises(ConfigError, match="group_size > 1"):
        make(num_envs=4, group_size=2, action_mode="move")
    venv = make(autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(gym.error.ResetNeeded, match=r"Rows \[0, 1, 2\] have no episode"):
        venv.step([0, 0, 0])
    with pytest.raises(ConfigError, match="2 seeds for 3 rows"):
        venv.reset(seed=[1, 2])
    with pytest.raises(ConfigError, match="reset_mask of shape"):
        venv.reset(options={"reset_mask": np.zeros(3, bool)})
    two = make(num_envs=2)
    two.reset(seed=0)
    with pytest.raises(ConfigError, match=r"with .'num_rows': 2.; this one has .'num_rows': 3"):
        venv.load_state_dict(two.state_dict())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"num_envs": "3"}, "num_envs is '3'; expected an int > 0"),
        ({"cache_bytes": "1GB"}, "cache_bytes is '1GB'; expected an int >= 0"),
        ({"cache_bytes": -1}, "cache_bytes is -1"),
        ({"num_threads": -1}, "num_threads is -1"),
        ({"autoreset_mode": "same_step"}, r"'same_step'; expected one of .*'SameStep'"),
    ],
)
def test_wrong_arguments_of_its_own_are_explained(more, message):
    with pytest.raises(ConfigError, match=message):
        make(**more)


@pytest.mark.parametrize("actions", [[0, 0], None, 3, np.array(3)])
def test_actions_that_are_not_one_a_row_are_refused(actions):
    venv = make()
    venv.reset(seed=0)
    with pytest.raises(ConfigError, match="for 3 rows; expected as many"):
        venv.step(actions)


def test_a_closed_environment_is_not_played():
    venv = make()
    venv.reset(seed=0)
    venv.close()
    for play in (lambda: venv.step([0, 0, 0]), venv.reset):
        with pytest.raises(gym.error.ClosedEnvironmentError):
            play()


def test_playing_or_drawing_before_the_first_reset_is_refused():
    venv = make(render_mode="rgb_array")
    for play in (lambda: venv.step([0, 0, 0]), venv.render):
        with pytest.raises(gym.error.ResetNeeded, match="call reset"):
            play()


@pytest.mark.parametrize("wrong", [{"seed": 1.5}, {"seed": [0, 1, "a"]}, {"options": ["a"]}])
def test_wrong_seeds_and_options_are_explained(wrong):
    with pytest.raises(ConfigError, match=r"is .*; expected"):
        make().reset(**wrong)
