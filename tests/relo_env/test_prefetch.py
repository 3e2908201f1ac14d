"""Frames decoded ahead, once, within a bounded memory; crops cut from them."""

import copy
import gc
import pickle
import time

import numpy as np
import pytest

import relo_env
from relo_env.errors import DataError
from relo_env.prefetch import FrameLoader
from tests.toys import SMALL_CROPS, Squares, square_video


def frame_bytes() -> int:
    return square_video().frames.frames[0].nbytes


@pytest.mark.parametrize("threads", [0, 2])
def test_decoded_frames_are_bounded_by_the_cache(threads):
    bound = 10 * frame_bytes()
    options = {"num_threads": threads, "autoreset_mode": "SameStep", **SMALL_CROPS}
    small = relo_env.TrackingVectorEnv(4, Squares(), cache_bytes=bound, **options)
    large = relo_env.TrackingVectorEnv(4, Squares(), **options)
    (a, _), (b, _) = small.reset(seed=0), large.reset(seed=0)
    rng = np.random.default_rng(0)
    peak = 0
    for _ in range(40):
        np.testing.assert_array_equal(a["search"], b["search"])
        actions = rng.integers(16, size=4)
        a, b = small.step(actions)[0], large.step(actions)[0]
        peak = max(peak, small.engine.loader.kept_bytes)
    # The frame acted on and the one before it stay, with the next, for each row in any case.
    assert bound < peak + frame_bytes()
    assert peak <= bound + 3 * 4 * frame_bytes()
    small.close()
    large.close()


def test_what_is_let_go_is_forgotten():
    loader = FrameLoader(cache_bytes=2 * frame_bytes())
    video = square_video()
    kept = [loader.decode(video, i).result() for i in range(3)]
    assert [loader.keep(frame) for frame in kept] == [True, True, False]
    assert loader.keep(kept[2], always=True)
    assert loader.kept_bytes == 3 * frame_bytes()
    kept.clear()
    gc.collect()
    assert loader.kept_bytes == 0
    assert loader.keep(loader.decode(video, 5).result())


def test_whoever_asks_for_a_frame_in_memory_gets_that_one():
    loader = FrameLoader()
    video = square_video()
    first = loader.decode(video, 3).result()
    assert loader.decode(video, 3).result() is first
    assert video.frames.reads == [3]
    del first
    gc.collect()
    loader.decode(video, 3)
    assert video.frames.reads == [3, 3]


def test_the_next_clips_are_decoded_while_the_agent_thinks():
    dataset = Squares(count=1)
    venv = relo_env.TrackingVectorEnv(
        1, dataset, num_threads=1, clip_length=4, autoreset_mode="SameStep", **SMALL_CROPS
    )
    venv.reset(seed=0)
    for _ in range(3):
        venv.step([5])
    venv.engine.clips.wait_for_next()
    before = len(dataset.videos["square-0"].frames.reads)
    *_, terminated, _, _ = venv.step([5])
    assert terminated.all()
    # One frame more than were there: the last of the clip that begins.
    venv.engine.clips.wait_for_next()
    assert len(dataset.videos["square-0"].frames.reads) - before <= 3
    venv.close()


@pytest.mark.parametrize("options", [{}, {"search_window": "jittered"}, {"augment": True}])
def test_crops_cut_in_threads_are_equal_to_the_bit(options):
    one, many = (
        relo_env.TrackingVectorEnv(
            7, Squares(), num_threads=threads, autoreset_mode="SameStep", **SMALL_CROPS, **options
        )
        for threads in (0, 3)
    )
    a, b = one.reset(seed=0)[0], many.reset(seed=0)[0]
    for step in range(12):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])
        actions = (np.arange(7) + step) % 16
        a, b = one.step(actions)[0], many.step(actions)[0]
    many.close()


def test_an_error_in_a_thread_that_cuts_is_raised():
    loader = FrameLoader(num_threads=3)

    def fail(item):
        if item == 4:
            raise ValueError("item 4")

    with pytest.raises(ValueError, match="item 4"):
        loader.spread(fail, list(range(8)))
    done = []
    loader.spread(done.append, list(range(8)))
    assert sorted(done) == list(range(8))
    loader.close()


def test_a_copied_loader_has_the_settings_and_no_frames():
    loader = FrameLoader(num_threads=2, cache_bytes=5)
    frame = loader.decode(square_video(), 0).result()
    loader.keep(frame, always=True)
    for twin in (copy.deepcopy(loader), pickle.loads(pickle.dumps(loader))):
        assert twin.decodes_ahead
        assert twin.kept_bytes == 0
        assert not twin.keep(twin.decode(square_video(), 0).result())
        twin.close()
    loader.close()


@pytest.mark.parametrize(
    "image", [np.zeros((72, 96), np.uint8), np.zeros((72, 96, 3)), np.zeros((72, 96, 4), np.uint8)]
)
def test_a_source_that_gives_other_images_is_explained(image):
    dataset = Squares(count=1)
    dataset.videos["square-0"].frames.read = lambda index: image
    env = relo_env.TrackingEnv(dataset, **SMALL_CROPS)
    with pytest.raises(DataError, match=r"its source gave .* shape .*; expected uint8 RGB"):
        env.reset(seed=0)


def test_no_thread_works_on_after_an_error():
    loader, done = FrameLoader(num_threads=2), []

    def work(item):
        if item == 0:
            raise ValueError("item 0")
        time.sleep(0.05)
        done.append(item)

    with pytest.raises(ValueError, match="item 0"):
        loader.spread(work, [0, 1, 2, 3])
    assert done == [2, 3]
    loader.close()
