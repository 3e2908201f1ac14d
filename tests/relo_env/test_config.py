"""Arguments of the environments: in the signatures, checked, explained."""

import inspect
from dataclasses import fields

import gymnasium as gym
import numpy as np
import pytest

import relo_env
from relo_env.config import ENVIRONMENT_ARGUMENTS, ClipConfig, CropConfig, EnvConfig, RewardConfig
from relo_env.errors import ArgumentError, ConfigError
from relo_env.proposers import PreviousSizeProposer
from tests.toys import SMALL_CROPS, Squares


def make(**options):
    options = {"dataset": Squares(), "augment": False, **SMALL_CROPS, **options}
    return relo_env.TrackingEnv(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "video"}, "mode is 'video'; expected one of"),
        ({"action_mode": "boxes"}, "action_mode is 'boxes'"),
        ({"clip_length": 0}, "clip_length is 0; expected an int > 0"),
        ({"search_size": 100}, "search_size 100 is not a multiple of stride 16"),
        ({"proposer": "previous"}, "Did you mean 'previous-size'"),
        ({"proposer": "no.such:thing"}, "Proposer 'no.such:thing': no module 'no'"),
        ({"proposer": object()}, "The proposer is a object; expected an object with extra_spaces"),
        ({"proposer": PreviousSizeProposer}, "is a class PreviousSizeProposer; expected an object"),
        ({"proposer_kwargs": 3}, "proposer_kwargs is 3; expected a dict"),
        ({"proposer_kwargs": {"a": 1}}, "'previous-size', proposer_kwargs=.* argument 'a'"),
        ({"reward": "auc"}, "a callable"),
        ({"reward": "no.such:thing"}, "Reward 'no.such:thing': no module 'no'"),
        ({"reward": "relo_env:clip"}, "'relo_env:clip'.*Did you mean 'clips' or 'clip_auc'"),
        ({"reward": "relo_env.rewards:THRESHOLDS"}, "expected 'iou.auc', a callable"),
        ({"reward": "relo_env.rewards:clip_auc"}, r"takes \(ious"),
        (
            {"reward": lambda iou: iou},
            r"takes \(iou\); expected .* callable \(ious, visible, last\)",
        ),
        ({"auc_weight": float("nan")}, "auc_weight is nan; expected a finite number"),
        ({"iou_weight": "a"}, "iou_weight is 'a'"),
        ({"search_factor": "a"}, "search_factor is 'a'; expected a number > 0"),
        ({"candidate_info": "yes"}, "candidate_info is 'yes'; expected True or False"),
        ({"augment": "yes"}, "augment is 'yes'"),
        (
            {"num_threads": 2},
            r"\['num_threads'\]: arguments of the vector environment, gym.make_vec",
        ),
        ({"proposer_kwargs": {"crop": 3}, "proposer": relo_env}, "not to an instance"),
        ({"action_mode": "move", "candidate_info": True}, "Drop one of the two"),
        ({"mode": "sequence", "search_window": "jittered"}, "needs search_window"),
        ({"dataset": Squares}, "expected a name or an instance of relo_env.Dataset"),
        (
            {"render_mode": "ansi"},
            r"render_mode is 'ansi'; expected one of \['rgb_array', 'human'\] or None",
        ),
        ({"split": "test"}, "cannot change a data set that is given as an instance"),
        ({"colour": "red"}, r"\['colour'\] cannot change a data set"),
    ],
)
def test_wrong_arguments_are_explained(options, message):
    with pytest.raises(ConfigError, match=message):
        make(**options)


def test_a_mistyped_argument_is_not_only_taken_for_the_data_sets():
    with pytest.raises(ConfigError, match="Did you mean the environment's 'clip_length'"):
        gym.make("RELO-Synthetic-v0", clip_lenght=4)


@pytest.mark.parametrize(
    "options",
    [{"length": 1}, {"frame_size": (10, 10)}, {"frame_size": 320}, {"difficulty": 3}],
)
def test_a_wrong_value_of_a_right_argument_is_not_taken_for_another_one(options):
    with pytest.raises(ConfigError) as error:
        gym.make("RELO-Synthetic-v0", **options)
    assert "Did you mean" not in str(error.value)


@pytest.mark.parametrize("environment", [relo_env.TrackingEnv, relo_env.TrackingVectorEnv])
def test_arguments_stand_in_the_signature_with_types_and_defaults(environment):
    parameters = inspect.signature(environment).parameters
    missing = object()
    for config in (EnvConfig, ClipConfig, RewardConfig):
        for field in fields(config):
            if field.name == "clip" or (config is EnvConfig and field.name == "reward"):
                continue
            assert parameters[field.name].default == field.default, field.name
    for field in fields(CropConfig):
        assert parameters[field.name].default is None, field.name
    for name in ENVIRONMENT_ARGUMENTS:
        assert parameters[name].annotation is not inspect.Parameter.empty, name
    assert parameters["proposer"].default == "previous-size"
    assert parameters["dataset_options"].kind is inspect.Parameter.VAR_KEYWORD
    assert missing not in parameters


def test_both_environments_take_the_same_arguments():
    single, vector = (
        inspect.signature(environment).parameters
        for environment in (relo_env.TrackingEnv, relo_env.TrackingVectorEnv)
    )
    assert set(vector) - set(single) == {
        "num_envs",
        "group_size",
        "autoreset_mode",
        "num_threads",
        "cache_bytes",
        "copy",
    }
    for name in single:
        assert vector[name].default == single[name].default, name
        assert vector[name].annotation == single[name].annotation, name


@pytest.mark.parametrize(
    ("environment", "options", "message"),
    [
        (relo_env.TrackingEnv, {"frameskip": 4}, "'frameskip'"),
        (relo_env.TrackingEnv, {"dificulty": "hard"}, "Did you mean 'difficulty'"),
        (relo_env.TrackingEnv, {"max_strid": 4}, "Did you mean the environment's 'max_stride'"),
        (relo_env.TrackingVectorEnv, {"clip_lenght": 4}, "Did you mean .* 'clip_length'"),
        (
            relo_env.TrackingEnv,
            {"dataset": Squares(), "auc_wieght": 1},
            r"\['auc_wieght'\] cannot change .*Did you mean the environment's 'auc_weight'",
        ),
        (relo_env.TrackingEnv, {"dataset": Squares(), "cut": 1}, r"\['cut'\] cannot change"),
        (relo_env.TrackingEnv, {"group_size": 2}, "arguments of the vector environment"),
        (relo_env.TrackingEnv, {"max_episode_steps": 2}, "AUC is paid.*choose clip_length"),
        (relo_env.TrackingVectorEnv, {"max_episode_steps": 2}, "AUC is paid.*choose clip_length"),
    ],
)
def test_an_unknown_argument_is_a_type_error_too(environment, options, message):
    with pytest.raises(TypeError, match=message) as error:
        environment(**options)
    assert isinstance(error.value, ConfigError)
    assert isinstance(error.value, ArgumentError)


def test_gymnasium_passes_the_type_error_on():
    with pytest.raises(TypeError, match=r"'frameskip'.*raised from the environment creator"):
        gym.make("RELO-Synthetic-v0", frameskip=4)
    with pytest.raises(TypeError, match="AUC is paid"):
        gym.make_vec(
            "RELO-Synthetic-v0", 2, vectorization_mode="vector_entry_point", max_episode_steps=3
        )


def test_a_step_limit_that_cuts_the_auc_off_is_warned_of():
    options = {**SMALL_CROPS, "clip_length": 4}
    env = gym.make("RELO-Synthetic-v0", max_episode_steps=3, **options)
    with pytest.warns(UserWarning, match=r"max_episode_steps=3.*episodes of 4 frames.*AUC"):
        env.reset(seed=0)
    gym.make("RELO-Synthetic-v0", max_episode_steps=4, **options).reset(seed=0)


def test_numpy_numbers_are_taken():
    env = make(clip_length=np.int64(2), search_size=np.int32(64), auc_weight=np.float32(0.5))
    first, _ = env.reset(seed=np.int64(3))
    again, _ = make(clip_length=2, auc_weight=0.5).reset(seed=3)
    assert (first["search"] == again["search"]).all()
    venv = relo_env.TrackingVectorEnv(np.int64(2), Squares(), **SMALL_CROPS)
    rows, _ = venv.reset(seed=np.array([3, 4]))
    assert (rows["search"] == venv.reset(seed=np.uint32(3))[0]["search"]).all()
