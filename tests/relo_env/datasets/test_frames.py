"""Where frames come from."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import platform
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from relo_env import video as video_module
from relo_env.datasets.frames import (
    ArrayFrames,
    ImageFrames,
    StillFrames,
    image_frames,
    list_images,
    natural_order,
    read_image,
)
from relo_env.errors import ConfigError, DataError, FrameError
from relo_env.video import VideoFrames, VideoWriter
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


@pytest.mark.parametrize(
    "names",
    [
        ["760577.25.jpg", "760577.3.jpg", "760577.350899.jpg", "760578.0.jpg"],
        ["1.9.jpg", "1.10.jpg"],
        ["1.9.jpg", "1.11.jpg"],
        ["a2.png", "a10.png"],
        ["9.jpg", "10.jpg"],
    ],
)
def test_time_stamps_and_numbers_in_names(names):
    assert natural_order(sorted(names, reverse=True)) == names


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_images_of_16_bits_are_warned_of_once(tmp_path, suffix, caplog):
    for k, value in enumerate((1000, 3500)):
        data = cv2.imencode(f".{suffix}", np.full((4, 6), value, np.uint16))[1].tobytes()
        write(tmp_path / f"{k}.{suffix}", data)
    frames = image_frames(tmp_path)
    assert [frames.read(k)[0, 0, 0] for k in (0, 1)] == [3, 13]
    assert "more than 8 bits" in caplog.text
    assert len(caplog.records) == 1


def test_what_a_folder_without_images_holds_is_said(tmp_path):
    write(tmp_path / "a.heic", b"")
    with pytest.raises(DataError, match=r"found 'a\.heic'"):
        image_frames(tmp_path)


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
    with pytest.raises(ConfigError, match="Frames are list"):
        ArrayFrames(list(array))


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


def test_video_with_useless_time_stamps_is_read_from_its_start(video, monkeypatch):
    class Unstamped:
        """A frame without time stamp, as raw streams have."""

        def __init__(self, frame):
            self.pts, self.time, self.rotation = None, None, 0
            self.frame = frame

    decode = video_module.decode_frames
    monkeypatch.setattr(
        video_module, "decode_frames", lambda container: map(Unstamped, decode(container))
    )
    to_rgb = video_module.to_rgb
    monkeypatch.setattr(video_module, "to_rgb", lambda each, by: to_rgb(each.frame, by))
    monkeypatch.setattr(
        video_module, "list_packets", lambda container: [(None, False)] * FRAMES, raising=True
    )
    frames = VideoFrames(video)
    order = [30, 2, 29, 0, 39]
    assert [index_of(frames.read(k)) for k in order] == order


def test_reading_forward_decodes_each_frame_once(video, monkeypatch):
    decoded, decode = [], video_module.decode_frames
    monkeypatch.setattr(
        video_module,
        "decode_frames",
        lambda container: (decoded.append(1) or frame for frame in decode(container)),
    )
    frames = VideoFrames(video)
    decoded.clear()  # those that told the number of frames
    for k in range(FRAMES):
        frames.read(k)
    assert len(decoded) == FRAMES


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


def h264(path, count=40, seconds=None, **settings):
    """A video of grey levels 6 k with B-frames and a key frame every twelve."""
    options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(
            "libx264", rate=25, options={"g": "12", "bf": "2", **settings}
        )
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k in range(count):
            picture = np.full((48, 64, 3), 6 * k % 256, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = k if seconds is None else round(seconds[k] * 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "ts", "avi"])
def test_every_container_is_read_by_exact_index(tmp_path, suffix):
    frames = VideoFrames(h264(tmp_path / f"v.{suffix}"))
    assert len(frames) == 40
    order = np.random.default_rng(2).permutation(np.repeat(np.arange(40), 2))
    assert [index_of(frames.read(int(k))) for k in order] == order.tolist()


def test_frames_at_uneven_times_keep_their_index_and_time(tmp_path):
    seconds = np.cumsum([2, 1, 1, 5, 1, 2, 9] * 5) / 25
    frames = VideoFrames(h264(tmp_path / "v.mp4", 35, seconds))
    frames.read(0)
    start = frames.seconds
    for k in (20, 3, 34, 0, 19):
        assert index_of(frames.read(k)) == k
        assert frames.seconds - start == pytest.approx(seconds[k] - seconds[0])


def test_a_trimmed_video_has_the_frames_that_decode(tmp_path, caplog):
    whole = h264(tmp_path / "v.mp4", 95)
    with av.open(str(whole)) as container:  # header in front, then frames
        packets = [p for p in container.demux(video=0) if p.size]
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole.read_bytes()[: max(p.pos for p in packets[:62])])
    frames = VideoFrames(path)
    assert 50 < len(frames) <= 62
    assert f"promises 95 frames, of which {len(frames)} can be decoded" in caplog.text
    assert len(caplog.records) == 1
    assert all(frames.read(k).shape == (48, 64, 3) for k in range(len(frames)))


def test_a_header_that_says_fewer_frames_hides_none(tmp_path, video):
    if video.suffix == ".mp4":
        pytest.skip("the frames of an .mp4 stand in its header")
    data = bytearray(video.read_bytes())
    at = data.index(b"strh") + 8 + 32  # dwLength of the stream's header
    data[at : at + 4] = (7).to_bytes(4, "little")
    at = data.index(b"avih") + 8 + 16
    data[at : at + 4] = (7).to_bytes(4, "little")
    path = tmp_path / "short.avi"
    path.write_bytes(data)
    assert len(VideoFrames(path)) == FRAMES


def turned(path, degrees):
    """Rewrite the display matrix of an .mp4 so that it is shown turned clockwise."""
    data = bytearray(path.read_bytes())
    a, b = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    matrix = [a, b, 0, -b, a, 0, 0, 0, 1]
    scale = [16, 16, 30] * 3
    values = [(v << s) & 0xFFFFFFFF for v, s in zip(matrix, scale, strict=True)]
    at = data.index(b"tkhd") + 4 + 4 + 20 + 16
    data[at : at + 36] = b"".join(v.to_bytes(4, "big") for v in values)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_phone_video_is_turned_as_it_is_shown(tmp_path, degrees):
    path = tmp_path / "v.mp4"
    with VideoWriter(path) as writer:
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[:24, :32] = (250, 20, 20)  # red at the top left
        for _ in range(3):
            writer.add(picture)
    frame = VideoFrames(turned(path, degrees)).read(1)
    expected = np.rot90(picture, -degrees // 90)
    assert frame.shape == expected.shape
    assert np.abs(frame.astype(int) - expected).mean() < 12


def test_a_forked_process_reads_a_video_that_was_open(video):
    frames = VideoFrames(video)
    frames.read(20)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(
        target=lambda: queue.put([index_of(frames.read(k)) for k in (21, 3, 39)])
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads
        child.start()
    assert queue.get(timeout=60) == [21, 3, 39]
    child.join(60)
    assert child.exitcode == 0
    assert index_of(frames.read(21)) == 21


def test_names_need_not_be_text(tmp_path, video):
    path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    path.write_bytes(video.read_bytes())
    picture = VideoFrames(path).read(0)
    written = tmp_path / os.fsdecode(b"copy\xe9.mp4")
    with VideoWriter(written) as writer:
        writer.add(picture)
    assert VideoFrames(written).read(0).shape == picture.shape


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "h264"), (".webm", "vp8")])
def test_a_written_video_is_what_browsers_play(tmp_path, suffix, codec):
    path = tmp_path / "new" / f"v{suffix}"
    with VideoWriter(path, fps=10) as writer:
        for k in range(5):
            writer.add(np.full((47, 63, 3), 40 * k, np.uint8))
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == codec
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
    frames = VideoFrames(path)
    assert frames.read(4).shape == (48, 64, 3)  # even sides
    assert [round(frames.read(k).mean() / 40) for k in range(5)] == [0, 1, 2, 3, 4]
    assert frames.seconds == pytest.approx(0.4, abs=2e-3)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_written_video_keeps_uneven_times(tmp_path):
    with VideoWriter(tmp_path / "v.mp4") as writer:
        for seconds in (0.0, 0.1, 0.5, 0.6):
            writer.add(np.zeros((48, 64, 3), np.uint8), seconds)
    frames = VideoFrames(tmp_path / "v.mp4")
    frames.read(2)
    assert frames.seconds == pytest.approx(0.5)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of files are Unix's")
@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_a_full_disk_is_an_error_and_leaves_no_file(tmp_path, suffix):
    script = (
        "import resource, signal, sys, numpy as np\n"
        "from relo_env.errors import OutputError\n"
        "from relo_env.video import VideoWriter\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, 4_000))\n"
        "noise = np.random.default_rng(0)\n"
        "try:\n"
        "    with VideoWriter(sys.argv[1]) as writer:\n"
        "        for _ in range(20):\n"
        "            writer.add(noise.integers(0, 256, (96, 128, 3), dtype=np.uint8))\n"
        "except OutputError as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / f"v{suffix}")]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"Cannot write video {tmp_path / f'v{suffix}'}" in ran.stdout
    assert list(tmp_path.iterdir()) == []
