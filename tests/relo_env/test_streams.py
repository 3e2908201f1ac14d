"""Frames in order: files, addresses, pipes, patterns and webcams."""

from __future__ import annotations

import functools
import http.server
import subprocess
import sys
import threading
import time

import av
import cv2
import numpy as np
import pytest

from relo_env import streams
from relo_env.errors import FrameError
from relo_env.streams import open_stream
from relo_env.video import VideoWriter
from tests.relo_env.datasets.layouts import write_images


@pytest.fixture
def video(tmp_path):
    """Five frames of grey levels 0, 40, ... at 10 frames a second."""
    path = tmp_path / "v.mp4"
    with VideoWriter(path, fps=10) as writer:
        for k in range(5):
            writer.add(np.full((48, 64, 3), 40 * k, np.uint8))
    return path


def levels(stream) -> list[int]:
    return [round(float(frame.image.mean()) / 40) for frame in stream.frames]


def test_a_file(video):
    stream = open_stream(str(video))
    assert stream.total == 5
    assert stream.fps == pytest.approx(10)
    frames = list(stream.frames)
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert frames[0].image.shape == (48, 64, 3)


def test_an_avi_whose_frames_are_coded_out_of_order(tmp_path):
    with av.open(str(tmp_path / "v.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10, options={"bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k in range(6):
            picture = np.full((48, 64, 3), 40 * k, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    frames = list(open_stream(str(tmp_path / "v.avi")).frames)
    assert [round(float(frame.image.mean()) / 40) for frame in frames] == list(range(len(frames)))
    assert [frame.seconds for frame in frames] == pytest.approx(np.arange(len(frames)) / 10)


def test_an_address(video):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=video.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert levels(open_stream(f"{address}/v.mp4")) == [0, 1, 2, 3, 4]
        with pytest.raises(FrameError, match=r"Cannot open video http.*nothing\.mp4"):
            open_stream(f"{address}/nothing.mp4")
        server.shutdown()


def test_standard_input(video):
    code = "from relo_env.streams import open_stream\nprint(len(list(open_stream('-').frames)))"
    ran = subprocess.run(
        [sys.executable, "-c", code], input=video.read_bytes(), capture_output=True, check=True
    )
    assert ran.stdout.split() == [b"5"]


def test_a_pattern_of_images(tmp_path):
    write_images(tmp_path, (2, 3, 10))
    stream = open_stream(str(tmp_path / "%08d.jpg"))
    assert stream.total == 3
    assert [frame.image[0, 0, 0] for frame in stream.frames] == [2, 3, 10]
    with pytest.raises(FrameError, match=r"called like '%04d\.png'"):
        open_stream(str(tmp_path / "%04d.png"))


@pytest.mark.parametrize("source", ["nothing.mp4", "folder/of/nothing"])
def test_what_there_is_not(source):
    with pytest.raises(FrameError, match="There is no"):
        open_stream(source)


class Camera:
    """A webcam: frames of grey levels 0, 1, ...; reads fail where `fails` says so."""

    opened = 0
    fails: set[int] = set()
    frames = 100
    newest: Camera

    def __init__(self, number):
        Camera.opened += 1
        Camera.newest = self
        self.reads = 0

    def isOpened(self):
        return True

    def get(self, what):
        return 0.0

    def read(self):
        time.sleep(0.002)
        self.reads += 1
        if self.reads in self.fails or self.reads > self.frames:
            return False, None
        return True, np.full((4, 4, 3), min(self.reads, 255), np.uint8)

    def release(self):
        pass


@pytest.fixture
def camera(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    monkeypatch.setattr(streams, "PAUSE", 0.0)
    monkeypatch.setattr(Camera, "opened", 0)
    return Camera


@pytest.mark.parametrize("source", ["0", "/dev/video0"])
def test_a_webcam_gives_its_newest_frame_and_the_true_time(camera, source, monkeypatch):
    monkeypatch.setattr(camera, "frames", 10**9)
    frames = open_stream(source).frames
    first, begin = next(frames), camera.newest.reads
    while camera.newest.reads < begin + 40:  # somebody draws a box
        time.sleep(0.01)
    next(frames)
    third = next(frames)
    assert first.seconds == 0
    assert third.seconds > 0.05
    assert third.image[0, 0, 0] >= min(begin + 30, 255)
    frames.close()


def test_a_webcam_may_fail_to_read_once(camera, monkeypatch):
    monkeypatch.setattr(camera, "fails", {3, 4})
    frames = open_stream("0").frames
    while next(frames).image[0, 0, 0] < 20:
        pass
    assert camera.opened == 1
    frames.close()


def test_a_webcam_whose_driver_fails_is_said(camera, monkeypatch):
    def fail(self):
        raise cv2.error("no buffer")

    monkeypatch.setattr(camera, "read", fail)
    with pytest.raises(FrameError, match="0 ended after 0 frames: no buffer"):
        next(open_stream("0").frames)


def test_a_webcam_that_has_ended_is_opened_again_and_then_said(camera, monkeypatch):
    monkeypatch.setattr(camera, "frames", 0)
    with pytest.raises(FrameError, match="0 ended after 0 frames: it gives no frame"):
        next(open_stream("0").frames)
    assert camera.opened == streams.ATTEMPTS
