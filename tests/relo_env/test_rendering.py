"""Pictures of episodes."""

import gymnasium as gym
import numpy as np
import pytest

import relo_env
from tests.toys import SMALL_CROPS, Squares


def make(**options):
    options = {"dataset": Squares(), "augment": False, **SMALL_CROPS, **options}
    return relo_env.TrackingEnv(**options)


def test_pictures_are_drawn_on_demand():
    env = make(render_mode="rgb_array")
    env.reset(seed=0)
    first = env.render()
    env.step(5)
    second = env.render()
    assert first.dtype == np.uint8
    assert first.shape == second.shape == (288, 384, 3)  # small frames are enlarged
    assert (first != second).any()
    assert make().render() is None


def test_the_caption_counts_the_frames_that_are_settled():
    env = make(clip_length=2)
    env.reset(seed=0)
    captions = [env.engine.episode(0).shown()["caption"]]
    for _ in range(2):
        env.step(5)
        captions.append(env.engine.episode(0).shown()["caption"])
    assert [caption.split()[1] for caption in captions] == ["0/2", "1/2", "2/2"]


def test_video_is_recorded(tmp_path):
    pytest.importorskip("moviepy")
    env = gym.wrappers.RecordVideo(
        gym.make("RELO-Synthetic-v0", render_mode="rgb_array", clip_length=3),
        str(tmp_path / "videos"),
    )
    env.reset(seed=0)
    for _ in range(3):
        env.step(env.action_space.sample())
    env.close()
    assert list((tmp_path / "videos").glob("*.mp4"))
