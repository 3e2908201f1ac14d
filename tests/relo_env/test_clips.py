import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relo_env.clips import CENTER_JITTER, Augmentation, ClipSampler, jittered_box
from relo_env.config import ClipConfig
from relo_env.errors import ConfigError, DataError
from tests.toys import Squares


def sample(seed=0, templates=2, count=1, video=None, reset_options=None, **config):
    dataset = Squares(count=count, **(video or {}))
    sampler = ClipSampler(dataset, ClipConfig(**config), templates, augment=False)
    return sampler.sample(np.random.default_rng(seed), **(reset_options or {}))


@given(st.integers(0, 1000))
def test_consecutive_frames_have_one_stride_and_templates_come_first(seed):
    clip = sample(seed, clip_length=5, max_stride=3)
    frames = np.concatenate([clip.template_frames, clip.search_frames])
    strides = np.diff(frames)
    assert len(frames) == 7
    assert len(set(strides)) == 1
    assert 1 <= strides[0] <= 3


@given(st.integers(0, 1000))
def test_ordered_frames_are_visible_and_near_each_other(seed):
    absent = (3, 4, 5, 20)
    clip = sample(
        seed, video={"absent": absent}, clip_length=6, frame_sampling="ordered", max_interval=8
    )
    frames = np.concatenate([clip.template_frames, clip.search_frames])
    assert not set(frames) & set(absent)
    assert np.ptp(frames) < 16
    assert (np.diff(frames) > 0).all() or (np.diff(frames) < 0).all() or len(set(frames)) < 8


def test_half_of_the_ordered_clips_and_none_of_the_causal_run_backward():
    def backward(sampling):
        clips = [sample(seed, frame_sampling=sampling, clip_length=4) for seed in range(200)]
        return np.mean([clip.search_frames[0] > clip.search_frames[-1] for clip in clips])

    assert 0.35 < backward("ordered") < 0.65
    assert backward("causal") == 0.0


def test_a_short_video_repeats_its_last_frame():
    clip = sample(video={"length": 4}, clip_length=8)
    assert clip.search_frames[-1] == 3
    assert (np.diff(clip.search_frames) >= 0).all()


def test_a_still_image_is_a_clip():
    for sampling in ("consecutive", "ordered", "causal"):
        clip = sample(video={"length": 1}, clip_length=3, frame_sampling=sampling)
        assert clip.search_frames.tolist() == [0, 0, 0]


@given(st.integers(0, 500))
def test_templates_always_show_the_target(seed):
    video = {"absent": tuple(range(1, 30, 2))}
    clip = sample(seed, templates=3, video=video, max_stride=1)
    assert clip.sequence.visible[clip.template_frames].all()


def test_a_whole_sequence_is_played_in_order_from_its_first_frame():
    clip = sample(mode="sequence")
    assert clip.template_frames.tolist() == [0, 0]
    assert clip.search_frames.tolist() == list(range(1, 30))


@pytest.mark.parametrize("sampling", ["consecutive", "ordered", "causal"])
def test_reset_options_choose_sequence_and_first_template(sampling):
    options = {"sequence": "square-2", "start": 7}
    clip = sample(count=4, reset_options=options, frame_sampling=sampling)
    assert clip.sequence.name == "square-2"
    assert clip.template_frames[0] == 7


def test_wrong_reset_options_are_explained():
    with pytest.raises(ConfigError, match=r"Unknown sequence of Squares 'square-9'.*square"):
        sample(reset_options={"sequence": "square-9"})
    with pytest.raises(ConfigError, match="start=99: expected a frame of 'square-0'"):
        sample(reset_options={"start": 99})
    with pytest.raises(ConfigError, match="start=4"):
        sample(video={"absent": (4,)}, reset_options={"start": 4})


def test_an_empty_data_set_is_refused():
    with pytest.raises(DataError, match="has no sequence"):
        ClipSampler(Squares(count=0), ClipConfig(), 1, augment=False)


def test_augmentation_mirrors_boxes_within_the_frame():
    boxes = np.array([[10.0, 5.0, 20.0, 8.0]])
    np.testing.assert_array_equal(Augmentation(mirror=True).boxes(boxes, 100), [[70, 5, 20, 8]])
    np.testing.assert_array_equal(Augmentation().boxes(boxes, 100), boxes)


def test_augmentation_colours():
    image = np.array([[[200, 100, 0]]], np.uint8)
    assert Augmentation(brightness=1.2).colour(image).tolist() == [[[240, 120, 0]]]
    assert Augmentation(brightness=1.5).colour(image).tolist() == [[[255, 150, 0]]]
    assert len(set(Augmentation(grey=True).colour(image)[0, 0].tolist())) == 1


def test_jitter_moves_by_its_draws():
    box = np.array([10.0, 10.0, 20.0, 20.0])
    np.testing.assert_allclose(jittered_box(box, np.zeros(4)), box)
    moved = jittered_box(box, np.array([0.0, 0.0, 0.5, -0.5]))
    np.testing.assert_allclose(moved[:2], box[:2] + np.array([10.0, -10.0]) * CENTER_JITTER)
