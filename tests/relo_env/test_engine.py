"""N episodes in step: all or nothing, copies, states, clips that cannot be read."""

import copy
import json
import pickle
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv

import relo_env
from relo_env.errors import ConfigError, DataError, FrameError
from relo_env.proposers import PreviousSizeProposer
from tests.toys import SMALL_CROPS, Squares

TOYS = {"dataset": "tests.toys:Squares", "augment": False, **SMALL_CROPS}


def make(**options):
    return relo_env.TrackingEnv(**{**TOYS, **options})


def make_vector(num_envs=3, **options):
    return relo_env.TrackingVectorEnv(num_envs, **{**TOYS, "clip_length": 3, **options})


def step_alike(one, other, actions):
    for action in actions:
        a, b = one.step(action), other.step(action)
        assert data_equivalence(a[:4], b[:4])


def place(venv):
    """State of an environment; equal states step alike."""
    return json.dumps(venv.state_dict())


# --- all or nothing


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("bad", [99, -1, 1.5, None])
def test_a_refused_action_changes_nothing(mode, bad):
    venv = make_vector(autoreset_mode=mode, clip_length=2, dataset=Squares())
    venv.reset(seed=0)
    venv.step([1, 2, 3])
    if mode is AutoresetMode.NEXT_STEP:  # rows 1 and 2 still play when row 0 begins anew
        mask = np.array([False, True, True])
        venv.reset(options={"reset_mask": mask})
        venv.step([1, 2, 3])
    before, observation = place(venv), venv.engine.observation()
    with pytest.raises(ConfigError, match="expected an integer"):
        venv.step([5, 6, bad])
    assert place(venv) == before
    assert data_equivalence(venv.engine.observation(), observation)


class Moody:
    """A reward that fails on demand."""

    fails = False

    def __call__(self, ious, visible, last):
        if self.fails and ious[-1] >= 0:
            raise RuntimeError("no reward today")
        return float(ious[-1])


@pytest.mark.parametrize("number", [1, 3])
def test_a_reward_that_raises_changes_nothing(number):
    reward = Moody()
    env = make_vector(number, reward=reward, autoreset_mode="SameStep")
    plain = make_vector(number, reward=Moody(), autoreset_mode="SameStep")
    for each in (env, plain):
        each.reset(seed=0)
        each.step([5] * number)
    reward.fails = True
    before = place(env)
    with pytest.raises(RuntimeError, match="no reward"):
        env.step([6] * number)
    assert place(env) == before
    reward.fails = False
    step_alike(env, plain, [[6] * number] * 4)
    assert place(env) == place(plain)


def test_a_frame_that_cannot_be_read_changes_nothing():
    env = make(dataset=Squares(count=1, broken=(3,)), mode="sequence")
    env.reset(seed=0)
    env.step(0)
    before = place(env)
    for _ in range(2):
        with pytest.raises(FrameError, match="broken on purpose"):
            env.step(0)
        assert place(env) == before


def test_a_reset_that_is_refused_changes_nothing():
    for env in (make(), make_vector()):
        env.reset(seed=0)
        before = place(env)
        for options in ({"sequence": "square-99"}, {"start": 1000}, {"colour": 3}):
            with pytest.raises(ConfigError):
                env.reset(options=options)
            assert place(env) == before


class Silent(PreviousSizeProposer):
    """A proposer that fails on demand."""

    fails = False

    def propose(self, rows, *boxes):
        if self.fails:
            raise RuntimeError("no proposal today")
        return super().propose(rows, *boxes)


def test_after_a_proposer_that_raises_a_reset_is_needed():
    proposer = Silent(relo_env.CropConfig(**SMALL_CROPS))
    env = make(proposer=proposer)
    venv = make_vector(proposer=proposer, autoreset_mode="SameStep")
    for each, action in ((env, 5), (venv, [5, 5, 5])):
        each.reset(seed=0)
        proposer.fails = True
        with pytest.raises(RuntimeError, match="no proposal"):
            each.step(action)
        proposer.fails = False
        with pytest.raises(gym.error.ResetNeeded):
            each.step(action)
        each.reset(seed=0)
        each.step(action)


# --- copies


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"search_window": "jittered", "augment": True},
        {"mode": "sequence"},
        {"action_mode": "move", "max_moves": 3},
        {"reward": Moody()},
    ],
    ids=["tracked", "jittered", "sequence", "move", "reward"],
)
def test_a_copy_goes_on_with_its_episode(duplicate, options):
    env = make(clip_length=6, **options)
    env.reset(seed=3)
    for action in (5, 6):
        env.step(action)
    twin = duplicate(env)
    before = place(env)
    step_alike(twin, duplicate(env), [1, 2])  # a search may go several ways
    assert place(env) == before
    other = duplicate(env)
    step_alike(env, other, [9, 10])
    env.reset()
    other.reset()
    assert place(env) == place(other)


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("threads", [0, 2])
def test_a_copy_of_many_rows_goes_on_with_their_episodes(mode, threads):
    venv = make_vector(autoreset_mode=mode, num_threads=threads, group_size=3, clip_length=4)
    venv.reset(seed=1)
    venv.step([1, 5, 9])
    twins = copy.deepcopy(venv), pickle.loads(pickle.dumps(venv))
    rounds = 3 if mode is AutoresetMode.DISABLED else 9
    for _ in range(rounds):
        wanted = venv.step([5, 6, 7])[:4]
        assert all(data_equivalence(twin.step([5, 6, 7])[:4], wanted) for twin in twins)
    venv.close()
    twins[0].engine.observe([0])  # threads of its own
    for twin in twins:
        twin.close()


def test_a_copy_before_the_first_reset_and_of_a_wrapped_environment():
    assert data_equivalence(copy.deepcopy(make()).reset(seed=4)[0], make().reset(seed=4)[0])
    env = gym.make("RELO-Synthetic-v0", clip_length=3, **SMALL_CROPS)
    env.reset(seed=4)
    twin = copy.deepcopy(env)
    step_alike(env, twin, [3, 7])
    made = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert data_equivalence(env.reset(seed=4)[0], made.reset(seed=4)[0])


def test_a_copy_shares_the_data_set_and_not_the_frames_in_memory():
    env = make()
    env.reset(seed=0)
    twin = copy.deepcopy(env)
    assert twin.dataset is env.dataset
    assert twin.engine.loader is not env.engine.loader


@pytest.mark.parametrize("start", ["spawn", pytest.param("forkserver", marks=pytest.mark.slow)])
def test_processes_started_anew_play_the_same(start):
    maker = partial(relo_env.TrackingEnv, **TOYS, clip_length=2)
    venv = SubprocVecEnv([maker], start_method=start)
    venv.seed(3)
    seen = venv.reset()
    plain = maker()
    np.testing.assert_array_equal(seen["search"][0], plain.reset(seed=3)[0]["search"])
    for name in ("fingerprint", "config", "crop", "window"):
        assert venv.get_attr(name) == [getattr(plain, name)]
    assert venv.get_attr("dataset")[0].name == "Squares"
    assert isinstance(venv.get_attr("proposer")[0], PreviousSizeProposer)
    venv.close()


@pytest.mark.slow
def test_ids_with_their_module_reach_sb3s_processes():
    venv = make_vec_env(
        "relo_env:RELO-Synthetic-v0",
        1,
        vec_env_cls=SubprocVecEnv,
        vec_env_kwargs={"start_method": "spawn"},
        env_kwargs={**SMALL_CROPS, "clip_length": 2},
    )
    assert venv.reset()["search"].shape == (1, 3, 64, 64)
    venv.close()


def test_ids_and_data_sets_with_their_module_reach_gymnasiums_processes():
    maker = partial(gym.make, "relo_env:RELO-Synthetic-v0", **TOYS)  # which another data set plays
    theirs = AsyncVectorEnv([maker], context="spawn")
    first = theirs.reset(seed=3)[0]["search"][0]
    np.testing.assert_array_equal(first, make().reset(seed=3)[0]["search"])
    theirs.close()


# --- what others read


def test_public_names_are_the_same_on_both():
    env, venv = make(clip_length=3), make_vector()
    for each in (env, venv):
        assert each.config.clip.search_window == "tracked"
        assert each.crop.grid == (4, 4)
        assert each.dataset.name == "Squares"
        assert each.fingerprint == Squares().fingerprint
        assert isinstance(each.proposer, PreviousSizeProposer)
        assert each.fingerprint["name"] == "Squares"
    venv.reset(seed=0)
    env.reset(seed=0)
    assert venv.get_attr("window")[0] == env.window
    np.testing.assert_array_equal(venv.get_attr("frame")[0], env.frame)
    np.testing.assert_array_equal(venv.get_attr("candidates")[0], env.candidates)
    np.testing.assert_array_equal(venv.get_attr("candidate_ious")[0], env.candidate_ious)
    assert venv.get_attr("group_size") == (1, 1, 1)


def test_candidate_ious_are_those_of_the_info_of_the_step():
    env = make(candidate_info=True)
    env.reset(seed=0)
    before = env.candidate_ious
    np.testing.assert_array_equal(env.step(3)[4]["candidate_ious"], before)


@pytest.mark.parametrize("augment", [False, True])
def test_the_frame_is_read_only(augment):
    env = make(augment=augment)
    for seed in range(4):
        env.reset(seed=seed)
        with pytest.raises(ValueError, match="read-only"):
            env.unwrapped.frame[:] = 0


# --- states


STATES = [
    {"action_mode": "box"},
    {"action_mode": "move"},
    {"search_window": "jittered"},
    {"mode": "sequence"},
]


@pytest.mark.parametrize("options", STATES, ids=lambda options: str(options))
def test_states_are_plain_json_and_bring_back_the_same_run(options):
    env, other = make(**options), make(**options)
    env.reset(seed=1, options={"sequence": np.str_("square-1"), "start": np.int64(2)})
    env.action_space.seed(0)
    observation = env.step(env.action_space.sample())[0]
    state = json.loads(json.dumps(env.state_dict()))
    assert data_equivalence(other.load_state_dict(state), observation)
    step_alike(env, other, [env.action_space.sample() for _ in range(3)])
    assert data_equivalence(env.reset()[0], other.reset()[0])


@pytest.mark.parametrize("maker", [make, make_vector])
def test_a_state_before_the_first_reset_is_a_state(maker):
    env, other = maker(), maker()
    other.load_state_dict(json.loads(json.dumps(env.state_dict())))
    with pytest.raises(gym.error.ResetNeeded):
        other.engine.episode(0)
    assert data_equivalence(env.reset()[0], other.reset()[0])


OTHERS = [
    {"max_stride": 3},
    {"augment": True},
    {"num_templates": 2},
    {"search_factor": 5.0},
    {"frame_sampling": "causal"},
    {"search_window": "jittered"},
    {"mode": "sequence"},
    {"official": True},
    {"action_mode": "box"},
    {"proposer": "target-size"},
    {"reward": Moody()},
    {"auc_weight": 0.5},
    {"split": "test"},
    {"count": 3},
    {"absent": (3, 4)},
    {"dataset": "Synthetic"},
]


@pytest.mark.parametrize("other", OTHERS, ids=lambda options: next(iter(options)))
def test_a_state_of_another_environment_is_refused(other):
    env = make()
    env.reset(seed=0)
    state = json.loads(json.dumps(env.state_dict()))
    target = make(**other)
    target.reset(seed=5)
    before = place(target)
    with pytest.raises(ConfigError, match="The state belongs to"):
        target.load_state_dict(state)
    assert place(target) == before


def test_a_state_may_be_loaded_where_only_infos_or_the_clip_length_differ():
    env, other = make(clip_length=5), make(clip_length=3, candidate_info=True)
    env.reset(seed=0)
    env.step(3)
    other.load_state_dict(env.state_dict())
    assert other.config.clip.clip_length == 5
    step_alike(env, other, [1])


@pytest.mark.parametrize("maker", [make, partial(make_vector, clip_length=8)])
def test_a_state_amid_a_clip_of_another_length_than_the_next(maker):
    env, other = maker(), maker()
    env.reset(seed=0)
    env.step(env.action_space.sample())
    env.set_clip_length(2)
    other.load_state_dict(json.loads(json.dumps(env.state_dict())))
    step_alike(env, other, [env.action_space.sample() for _ in range(5)])
    assert data_equivalence(env.reset()[0], other.reset()[0])


def change(state, **entries):
    return {**state, **entries}


MALFORMED = {
    "nothing": lambda state: None,
    "a list": lambda state: [],
    "a string": lambda state: "state",
    "no rows": lambda state: {key: value for key, value in state.items() if key != "rows"},
    "rows": lambda state: change(state, rows=3),
    "too many rows": lambda state: change(state, rows=state["rows"] * 2),
    "a row": lambda state: change(state, rows=[{}]),
    "a seed": lambda state: change(state, rows=[{**state["rows"][0], "seed": "a"}]),
    "a negative seed": lambda state: change(state, rows=[{**state["rows"][0], "seed": -1}]),
    "an option": lambda state: change(state, rows=[{**state["rows"][0], "reset_options": [1]}]),
    "an action": lambda state: change(state, rows=[{**state["rows"][0], "actions": [99]}]),
    "many actions": lambda state: change(state, rows=[{**state["rows"][0], "actions": [1] * 99}]),
    "a generator": lambda state: change(state, np_random={"bit_generator": "MT"}),
    "playing": lambda state: change(state, playing=None),
    "a length": lambda state: change(state, clip_length="long"),
    "settings": lambda state: change(state, settings=3),
    "a fingerprint": lambda state: change(state, fingerprint=[]),
}


@pytest.mark.parametrize("damage", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_state_is_explained(damage):
    env = make()
    env.reset(seed=0)
    state = json.loads(json.dumps(env.state_dict()))
    with pytest.raises(ConfigError):
        env.load_state_dict(damage(state))
    env.load_state_dict(state)
    env.step(0)


def test_a_state_of_version_0_1_0_is_read():
    env, other = make(), make()
    env.reset(seed=0)
    env.step(3)
    state = env.state_dict()
    (row,) = state["rows"]
    old = {
        "origin": {
            "dataset": "Squares",
            "split": "train",
            "num_rows": 1,
            "action_mode": "grid",
            "search_window": "tracked",
        },
        "np_random": state["np_random"],
        "rows": [{"seed": row["seed"], "pins": {}, "actions": row["actions"]}],
        "playing": True,
    }
    other.load_state_dict(json.loads(json.dumps(old)))
    step_alike(env, other, [4, 5])
    with pytest.raises(ConfigError, match=r"'split': 'train'.*'split': 'test'"):
        make(split="test").load_state_dict(old)


def test_rows_that_have_not_begun_stay_so():
    venv, other = (make_vector(autoreset_mode=AutoresetMode.DISABLED) for _ in range(2))
    venv.reset(seed=2, options={"reset_mask": np.array([True, False, True])})
    other.load_state_dict(json.loads(json.dumps(venv.state_dict())))
    assert place(other) == place(venv)
    assert [row is None for row in venv.state_dict()["rows"]] == [False, True, False]


# --- clips that cannot be read


class Faulty(Squares):
    """Every other annotation cannot be read."""

    def load(self, name):
        if name in ("square-0", "square-2"):
            raise DataError(f"annotation of {name} is cut")
        return super().load(name)


def test_an_annotation_that_cannot_be_read_redraws_the_clip(caplog):
    env = make(dataset=Faulty())
    names = {env.reset(seed=seed)[1]["sequence"] for seed in range(12)}
    assert names == {"square-1", "square-3"}
    assert env.engine.clips.redraws > 0
    assert "annotation of square-" in caplog.text
    with pytest.raises(DataError, match="annotation of square-0 is cut"):
        env.reset(options={"sequence": "square-0"})
    evaluation = make(dataset=Faulty(), mode="sequence")
    with pytest.raises(DataError, match="is cut"):
        evaluation.reset(options={"sequence": "square-2"})


@pytest.mark.parametrize("size", [(0.3, 0.3), (1e-9, 40.0)])
@pytest.mark.parametrize("window", ["tracked", "jittered"])
def test_a_box_below_a_pixel_in_a_template_redraws_the_clip(size, window, caplog):
    dataset = Squares(count=2)
    dataset.videos["square-0"].boxes[:, 2:] = size
    env = make(dataset=dataset, search_window=window)
    assert {env.reset(seed=seed)[1]["sequence"] for seed in range(8)} == {"square-1"}
    assert "Sequence 'square-0', frame" in caplog.text
    with pytest.raises(FrameError, match=r"'square-0', frame \d+.*at least a pixel wide"):
        make(dataset=dataset, mode="sequence").reset(options={"sequence": "square-0"})


@pytest.mark.parametrize("window", ["tracked", "jittered"])
def test_a_box_outside_its_frame_redraws_the_clip(window, caplog):
    dataset = Squares(count=2)
    dataset.videos["square-0"].boxes[:, 0] = 5000
    env = make(dataset=dataset, search_window=window)
    assert {env.reset(seed=seed)[1]["sequence"] for seed in range(8)} == {"square-1"}
    assert "lies outside its frame" in caplog.text


def test_a_jittered_window_below_a_pixel_redraws_the_clip(caplog):
    dataset = Squares(count=2)
    dataset.videos["square-0"].boxes[10:, 2:] = 0.5
    env = make(dataset=dataset, search_window="jittered", search_factor=0.5, max_interval=50)
    for seed in range(8):
        env.reset(seed=seed)
    assert env.engine.clips.redraws > 0
    assert "Sequence 'square-0'" in caplog.text
