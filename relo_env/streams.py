"""Frames of sources that play once: files, addresses, pipes, patterns of images, webcams."""

from __future__ import annotations

import logging
import queue
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from relo_env.datasets.base import FrameSource
from relo_env.datasets.frames import IMAGE_SUFFIXES, ImageFrames
from relo_env.errors import FrameError
from relo_env.video import check_file, decode_frames, frame_rate, open_video, to_rgb

logger = logging.getLogger(__name__)

DEFAULT_FPS = 25.0
ATTEMPTS = 3
"""Failures in a row to read or open a live source after which it has ended."""
PAUSE = 0.5
"""[s] between two attempts."""
_PATTERN = re.compile(r"%0?(\d*)d")
_WEBCAM = re.compile(r"(?:/dev/video)?(\d+)")


class TimedFrame(NamedTuple):
    """A frame of a stream.

    Attributes:
        seconds: [s] its time stamp; of a live source, since its first frame.
        image: uint8 RGB ``(H, W, 3)``.
    """

    seconds: float
    image: np.ndarray


@dataclass(frozen=True)
class Stream:
    """Frames that come one after the other, once.

    Attributes:
        frames: the frames; a live source gives its newest frame and drops the others.
        fps: frames a second, on average.
        total: number of frames that a header promises; None if nothing does.
        files: files that are read.
    """

    frames: Iterator[TimedFrame]
    fps: float
    total: int | None
    files: tuple[Path, ...] = ()


def open_stream(source: str) -> Stream:
    """Open a video file, an address, a pipe, a pattern of images or a webcam.

    Args:
        source: a path; ``http://...``, ``rtsp://...`` or another address that FFmpeg reads; ``-``
            for standard input; ``img/%08d.jpg``; ``0`` or ``/dev/video0`` for the first webcam.

    Raises:
        FrameError: there is no such source, or it cannot be read.
    """
    path = Path(source)
    if path.is_file():
        check_file(path)
        return replace(_from_container(source, live=False), files=(path,))
    webcam = _WEBCAM.fullmatch(source)
    if webcam:
        number = int(webcam.group(1))
        capture = _open_webcam(number)
        fps = capture.get(cv2.CAP_PROP_FPS)
        frames = _live(lambda again: _webcam_images(number, None if again else capture), source)
        return Stream(frames, fps if 1 <= fps <= 1000 else DEFAULT_FPS, None)
    if source == "-" or path.exists():  # a named pipe
        return _from_container("pipe:0" if source == "-" else source, live=False)
    if "://" in source:
        return _from_container(source)
    if _PATTERN.search(path.name) and path.suffix.lower() in IMAGE_SUFFIXES:
        return stream_frames(_matching(path))
    raise FrameError(
        f"There is no {source!r} in {Path.cwd()}; give the path of a video or of a folder of "
        "images, a pattern such as img/%08d.jpg, an address (http://, rtsp://), - for standard "
        "input, or the number of a webcam (0 is the first)."
    )


def stream_frames(frames: FrameSource, fps: float = DEFAULT_FPS) -> Stream:
    """Play frames that are read by their index, at an even pace."""
    timed = (TimedFrame(k / fps, frames.read(k)) for k in range(len(frames)))
    files = map(Path, frames.paths) if isinstance(frames, ImageFrames) else ()
    return Stream(timed, fps, len(frames), tuple(files))


def _from_container(source: str, live: bool | None = None) -> Stream:
    container = _open_fast(source)
    if live is None:
        live = source.startswith("rtsp") or (not container.duration and container.size <= 0)
    fps, total = frame_rate(container), container.streams.video[0].frames or None
    if not live:
        return Stream(_play(container, source), fps, total)

    def images(again: bool) -> Iterator[np.ndarray]:
        opened = _open_fast(source) if again else container
        return (frame.image for frame in _play(opened, source))

    return Stream(_live(images, source), fps, None)


def _open_fast(source: str) -> Any:
    options = {"rtsp_transport": "tcp"} if source.startswith("rtsp") else {}
    container = open_video(source, timeout=(20.0, 20.0), options=options)
    container.streams.video[0].thread_type = "AUTO"
    return container


def _play(container: Any, source: str) -> Iterator[TimedFrame]:
    converter, count = VideoReformatter(), 0
    promised = container.streams.video[0].frames
    fps = frame_rate(container)
    evenly = container.format.name == "avi"  # which keeps no time stamps: FFmpeg's follow decoding
    with container:
        for frame in decode_frames(container):
            seconds = count / fps if evenly or frame.time is None else frame.time
            count += 1
            yield TimedFrame(seconds, to_rgb(frame, converter))
    if count < promised:
        logger.warning("Video %s promises %d frames, %d can be decoded.", source, promised, count)


def _matching(pattern: Path) -> ImageFrames:
    """Images whose names a pattern such as ``%08d.jpg`` gives, in the order of their numbers."""
    before, width, after = _PATTERN.split(pattern.name, maxsplit=1)
    name = re.compile(rf"{re.escape(before)}(\d{{{width or 1},}}){re.escape(after)}")
    names = [path.name for path in pattern.parent.glob("*")]
    numbers = {found.group(1): found.group(0) for found in map(name.fullmatch, names) if found}
    if not numbers:
        raise FrameError(f"No file in {pattern.parent} is called like {pattern.name!r}.")
    return ImageFrames(pattern.parent / numbers[number] for number in sorted(numbers, key=int))


def _open_webcam(number: int) -> Any:
    log = cv2.utils.logging
    level = log.setLogLevel(log.LOG_LEVEL_SILENT)  # the message below says it in one line
    capture = cv2.VideoCapture(number)
    log.setLogLevel(level)
    if not capture.isOpened():
        raise FrameError(
            f"There is no file {str(number)!r} and webcam {number} cannot be opened; give the path "
            "of a video or of a folder of images, or the number of a webcam (0 is the first)."
        )
    return capture


def _webcam_images(number: int, capture: Any = None) -> Iterator[np.ndarray]:
    capture = capture or _open_webcam(number)
    failures = 0
    while failures < ATTEMPTS:
        found, image = capture.read()
        if found:
            yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        failures = 0 if found else failures + 1
    capture.release()


def _live(images: Callable[[bool], Iterator[np.ndarray]], source: str) -> Iterator[TimedFrame]:
    """Newest frame of a live source, whenever one is asked for.

    A thread reads on while the frame before is worked at. A source that breaks off is opened again:
    the argument of ``images`` is True then.

    Raises:
        FrameError: the source has ended.
    """
    newest: queue.Queue[TimedFrame | str] = queue.Queue(1)
    stop = threading.Event()

    def read() -> None:
        failures, again, reason = 0, False, "it gives no frame; is another program using it?"
        while failures < ATTEMPTS and not stop.is_set():
            try:
                for image in images(again):
                    failures, reason = 0, "no further frame came"
                    with suppress(queue.Empty):
                        newest.get_nowait()
                    newest.put_nowait(TimedFrame(perf_counter(), image))
                    if stop.is_set():
                        return
            except Exception as error:  # handed to whoever waits for a frame
                reason = str(error)
            failures, again = failures + 1, True
            stop.wait(PAUSE)
        newest.put(reason)

    threading.Thread(target=read, name="relo-live", daemon=True).start()
    begin, count = 0.0, 0
    try:
        while isinstance(item := newest.get(), TimedFrame):
            begin = begin or item.seconds
            count += 1
            yield TimedFrame(item.seconds - begin, item.image)
    finally:
        stop.set()
    raise FrameError(f"{source} ended after {count} frames: {item}")
