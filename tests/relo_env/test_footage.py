"""Frames decoded ahead, once, within a bounded memory, and perhaps at a fraction of their size."""

import gc
import struct

import cv2
import numpy as np
import pytest

import relo_env
from relo_env.datasets.base import Dataset, Sequence
from relo_env.datasets.frames import ImageFrames, read_image, read_reduced_image
from relo_env.errors import ConfigError, FrameError
from relo_env.loading import FrameLoader
from tests.toys import SMALL_CROPS, Squares, square_video

WIDTH, HEIGHT = 301, 203  # neither is a multiple of 2 or 4


def photograph() -> np.ndarray:
    """Smooth colours, as JPEG likes them: uint8 BGR."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    waves = [np.sin(x / 40), np.cos(y / 30), np.sin((x + y) / 50)]
    return (127 + 100 * np.stack(waves, -1)).astype(np.uint8)


def write_jpeg(path, orientation: int | None = None):
    """A JPEG file, with an EXIF orientation if one is given."""
    data = cv2.imencode(".jpg", photograph(), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    if orientation is not None:
        entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
        tiff = b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
        exif = b"Exif\0\0" + tiff
        data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("reduction", [2, 4])
@pytest.mark.parametrize("orientation", [None, 1, 3, 6])
def test_a_reduced_jpeg_is_the_image_made_smaller(tmp_path, reduction, orientation):
    path = write_jpeg(tmp_path / "frame.jpg", orientation)
    whole = read_image(path)
    image, size, told = read_reduced_image(path, reduction)
    assert size == (whole.shape[1], whole.shape[0])
    assert size == ((HEIGHT, WIDTH) if orientation == 6 else (WIDTH, HEIGHT))
    assert told == reduction
    height, width = image.shape[:2]
    assert (width, height) == tuple(-(-side // reduction) for side in size)
    border = (0, height * reduction - size[1], 0, width * reduction - size[0])
    filled = cv2.copyMakeBorder(whole, *border, cv2.BORDER_REPLICATE)
    smaller = cv2.resize(filled, (width, height), interpolation=cv2.INTER_AREA)
    # The last block of a side is a part of one; turned round it comes first, and shifts the rest.
    assert np.abs(image.astype(int) - smaller).max() < (12 if orientation in (3, 6) else 6)


def test_what_is_no_jpeg_is_not_reduced(tmp_path):
    path = tmp_path / "frame.png"
    cv2.imwrite(str(path), photograph())
    image, size, reduction = read_reduced_image(path, 4)
    assert (size, reduction) == ((WIDTH, HEIGHT), 1)
    np.testing.assert_array_equal(image, read_image(path))


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"\xff\xd8\xff\xe0\x00\x00", b"no image"])
def test_a_bad_image_is_named(tmp_path, content):
    path = tmp_path / "frame.jpg"
    path.write_bytes(content)
    with pytest.raises(FrameError, match=r"frame\.jpg"):
        read_reduced_image(path, 2)


class Still(Dataset):
    """One video of the same JPEG file over and over, with a target of 120 by 120 px."""

    name, splits = "Still", ("train",)

    def __init__(self, path):
        super().__init__()
        boxes = np.tile([90.0, 40.0, 120.0, 120.0], (20, 1))
        self.video = Sequence("still", ImageFrames([path] * 20), boxes, np.ones(20, bool))

    @property
    def names(self):
        return ("still",)

    def load(self, name):
        return self.video


@pytest.mark.parametrize("official", [False, True])
@pytest.mark.parametrize("augment", [False, True])
def test_reduced_decoding_shows_the_same_crops_a_little_softer(tmp_path, augment, official):
    dataset = Still(write_jpeg(tmp_path / "frame.jpg"))
    options = {**SMALL_CROPS, "official": official, "augment": augment}
    plain = relo_env.TrackingEnv(dataset, **options)
    reduced = relo_env.TrackingEnv(dataset, reduced_decoding=True, **options)
    for seed in range(5):
        (a, a_info), (b, b_info) = plain.reset(seed=seed), reduced.reset(seed=seed)
        shot = reduced.batch.episodes[0]._footage.shot(0)
        assert shot.frame.reduction == 4  # 480 px of window for 64 px of crop
        assert shot.size == (WIDTH, HEIGHT)
        np.testing.assert_array_equal(reduced.frame, plain.frame)
        np.testing.assert_array_equal(a["template_box"], b["template_box"])
        np.testing.assert_array_equal(a_info["box"], b_info["box"])
        for key in ("template", "search"):
            difference = np.abs(a[key].astype(int) - b[key])
            assert difference.any()
            assert np.median(difference) <= 2


def test_a_target_that_is_shown_enlarged_is_decoded_whole(tmp_path):
    dataset = Still(write_jpeg(tmp_path / "frame.jpg"))
    env = relo_env.TrackingEnv(dataset, reduced_decoding=True, search_size=256)
    env.reset(seed=0)
    footage = env.batch.episodes[0]._footage
    assert footage.shot(0).frame.reduction == 1  # 480 px of window for 256 px of crop
    assert [footage._reduction(turn) for turn in (-1, 0)] == [1, 1]


def test_evaluation_does_not_reduce():
    with pytest.raises(ConfigError, match="reduced_decoding changes pixels"):
        relo_env.TrackingEnv(Squares(), mode="sequence", reduced_decoding=True)


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
        peak = max(peak, small.batch.loader.kept_bytes)
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
    venv.batch._next[0].footage.wait()
    before = len(dataset.videos["square-0"].frames.reads)
    *_, terminated, _, _ = venv.step([5])
    assert terminated.all()
    # One frame more than were there: the last of the clip that begins.
    venv.batch.episodes[0]._footage.wait()
    assert len(dataset.videos["square-0"].frames.reads) - before <= 3
    venv.close()
