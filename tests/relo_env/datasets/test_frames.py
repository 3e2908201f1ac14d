"""Where frames come from."""

from __future__ import annotations

import pickle
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from relo_env.datasets.frames import (
    ArrayFrames,
    ImageFrames,
    StillFrames,
    VideoFrames,
    list_images,
    read_image,
)
from relo_env.errors import ConfigError, FrameError
from tests.relo_env.datasets.layouts import picture, write, write_images

FRAMES = 40


@pytest.fixture(scope="module", params=["mp4", "avi"])
def video(request, tmp_path_factory):
    """A video whose frame k has the grey level 6 k, in a folder with a non-ASCII name."""
    path = tmp_path_factory.mktemp("vidéo") / f"clip.{request.param}"
    codec = cv2.VideoWriter.fourcc(*("mp4v" if request.param == "mp4" else "MJPG"))
    writer = cv2.VideoWriter(str(path), codec, 25.0, (64, 48))
    for k in range(FRAMES):
        writer.write(np.full((48, 64, 3), 6 * k, np.uint8))
    writer.release()
    return path


def index_of(frame: np.ndarray) -> int:
    """Number of a frame; the codecs darken its grey level by up to 4 of the 6 between two."""
    return int(np.ceil(float(frame.mean()) / 6 - 0.1))


def test_images_are_rgb_in_natural_order(tmp_path):
    write_images(tmp_path, (10, 2, 1), digits=1)
    write(tmp_path / "notes.txt", "no image")
    assert [Path(path).name for path in list_images(tmp_path)] == ["1.jpg", "2.jpg", "10.jpg"]
    blue = np.zeros((4, 6, 3), np.uint8)
    blue[..., 0] = 200
    path = tmp_path / "größe 图.png"
    path.write_bytes(cv2.imencode(".png", blue)[1].tobytes())
    frame = ImageFrames([path]).read(0)
    assert frame.shape == (4, 6, 3)
    assert frame.dtype == np.uint8
    assert frame[0, 0].tolist() == [0, 0, 200]


@pytest.mark.parametrize("content", [None, b"", b"not an image", picture(3)[:30]])
def test_a_bad_image_is_named(tmp_path, content):
    if content is not None:
        write(tmp_path / "00000007.jpg", content)
    with pytest.raises(FrameError, match=r"00000007\.jpg"):
        ImageFrames([tmp_path / "00000007.jpg"]).read(0)


def test_grey_and_transparent_images_have_three_channels(tmp_path):
    for name, shape in (("grey.png", (4, 6)), ("alpha.png", (4, 6, 4))):
        path = tmp_path / name
        path.write_bytes(cv2.imencode(".png", np.full(shape, 9, np.uint8))[1].tobytes())
        assert read_image(path).shape == (4, 6, 3)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators do as they like")
def test_frames_are_decoded_into_memory_that_was_used_before(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(cv2.imencode(".png", np.zeros((720, 1280, 3), np.uint8))[1].tobytes())
    script = (
        "import resource\n"
        "from relo_env.datasets.frames import read_image\n"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        f"for _ in range(3): read_image({str(path)!r})\n"
        "before = faults()\n"
        f"for _ in range(20): read_image({str(path)!r})\n"
        "print((faults() - before) / 20)\n"
    )
    # In a process of its own, since malloc remembers what it has learnt elsewhere.
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    pages = 720 * 1280 * 3 / 4096
    assert float(ran.stdout) < 0.1 * pages


def test_array_frames_are_copies():
    array = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    frames = ArrayFrames(array)
    frames.read(1)[:] = 0
    assert len(frames) == 2
    assert np.array_equal(frames.read(1), array[1])
    with pytest.raises(ConfigError, match=r"float64 of shape \(3, 4\)"):
        ArrayFrames(np.zeros((3, 4)))


def test_a_still_is_decoded_once(tmp_path):
    write(tmp_path / "a.jpg", picture(5))
    frames = StillFrames(tmp_path / "a.jpg", 3)
    assert len(frames) == 3
    assert frames.read(0) is frames.read(2)
    assert not frames.read(0).flags.writeable
    with pytest.raises(IndexError, match="frames 0 to 2"):
        frames.read(3)


def test_video_frames_by_exact_index_in_any_order(video):
    frames = VideoFrames(video)
    assert len(frames) == FRAMES
    assert frames.read(0).shape == (48, 64, 3)
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(FRAMES), 3))
    assert [index_of(frames.read(int(k))) for k in order] == order.tolist()


def test_video_with_useless_time_stamps_is_read_from_its_start(video):
    frames = VideoFrames(video)
    frames._time = lambda: 0.0  # what a stream without time stamps reports
    order = [30, 2, 29, 0, 39]
    assert [index_of(frames.read(k)) for k in order] == order


def test_reading_forward_decodes_each_frame_once(video):
    frames = VideoFrames(video)
    grabbed = []
    grab = frames._grab
    frames._grab = lambda: (grabbed.append(1), grab())
    for k in range(FRAMES):
        frames.read(k)
    assert len(grabbed) == FRAMES


def test_threads_may_share_a_video(video):
    frames = VideoFrames(video)
    order = np.random.default_rng(1).integers(0, FRAMES, 60).tolist()
    with ThreadPoolExecutor(4) as pool:
        assert [index_of(frame) for frame in pool.map(frames.read, order)] == order


def test_a_pickled_video_reads_the_same(video):
    frames = VideoFrames(video)
    frames.read(20)
    again = pickle.loads(pickle.dumps(frames))
    assert len(again) == FRAMES
    assert index_of(again.read(7)) == 7


def test_bad_videos(tmp_path, video):
    with pytest.raises(FrameError, match=r"no video file .*nothing\.mp4"):
        VideoFrames(tmp_path / "nothing.mp4")
    write(tmp_path / "text.mp4", "not a video")
    with pytest.raises(FrameError, match=r"text\.mp4 is a text file or empty"):
        VideoFrames(tmp_path / "text.mp4")
    with pytest.raises(IndexError, match="frames 0 to 39"):
        VideoFrames(video).read(-1)


def test_a_video_that_ends_early_is_named(video):
    frames = VideoFrames(video)
    frames._length = FRAMES + 5
    with pytest.raises(FrameError, match=r"clip\..* ends after 40 frames.* says 45"):
        frames.read(FRAMES + 2)
    assert index_of(frames.read(3)) == 3
