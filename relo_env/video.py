"""Videos: files read by exact frame, streams read in order, and a writer."""

from __future__ import annotations

import logging
import os
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from relo_env.errors import ConfigError, FrameError, OutputError
from relo_env.files import temporary_path

logger = logging.getLogger(__name__)

TICKS = 60_000
"""Time stamps of a written video, a second."""
ENCODERS: dict[str, tuple[tuple[str, dict[str, str]], ...]] = {
    ".mp4": (
        ("libx264", {"preset": "ultrafast", "crf": "23"}),
        ("libopenh264", {}),
        ("mpeg4", {}),
    ),
    ".webm": (("libvpx", {"deadline": "realtime", "cpu-used": "8", "crf": "10"}),),
}
"""By ending, encoders with their settings, best first; not every PyAV has all of them."""


def open_video(source: str, **options: Any) -> Any:
    """Open what FFmpeg reads.

    Args:
        source: a path or an address.
        **options: see ``av.open``.

    Returns:
        The container; its first video stream is ``container.streams.video[0]``.

    Raises:
        FrameError: it cannot be opened, or holds no video.
    """
    try:
        container = av.open(source, **options)
    except (av.FFmpegError, OSError) as error:
        raise FrameError(
            f"Cannot open video {_shown(source)}: {error.strerror}. Expected what FFmpeg reads, "
            "such as an .mp4 file; convert it, or extract its frames to images."
        ) from None
    if not container.streams.video:
        container.close()
        raise FrameError(
            f"Cannot open video {_shown(source)}: it has sound or data, but no picture."
        )
    return container


def check_file(path: Path) -> None:
    """Raise FrameError if a file is missing, empty or a text, whose letters FFmpeg would draw."""
    if not path.is_file():
        raise FrameError(f"There is no video file {_shown(path)}.")
    with path.open("rb") as file:
        if b"\0" not in file.read(4096):
            raise FrameError(f"{_shown(path)} is a text file or empty; expected a video.")


def _shown(path: Path | str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def list_packets(container: Any) -> list[tuple[Any, bool]]:
    """Time stamp of each packet that is shown, in the order of the file, and if it is a key."""
    packets = []
    with suppress(av.FFmpegError):  # a file that is cut off
        for packet in container.demux(container.streams.video[0]):
            if packet.size and not packet.is_discard:
                packets.append((packet.pts, packet.is_keyframe))
    return packets


def decode_frames(container: Any) -> Iterator[av.VideoFrame]:
    """Frames of a container from where it stands; packets that are damaged are passed over."""
    packets = container.demux(container.streams.video[0])
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError):
            return
        with suppress(av.FFmpegError):
            yield from packet.decode()


def to_rgb(frame: av.VideoFrame, converter: VideoReformatter) -> np.ndarray:
    """Decoded frame as uint8 RGB ``(H, W, 3)``, turned as its video says that it is shown.

    The converter keeps its tables from frame to frame; each thread needs its own.
    """
    # One thread, since a process forked beside FFmpeg's threads waits for them at its end.
    image = converter.reformat(frame, format="rgb24", threads=1).to_ndarray()
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


class VideoFrames:
    """The frames of a video file, by exact index.

    Opening lists the time stamps of all frames. Reading forward decodes each frame once; a jump
    goes to the key frame before it. Where a video has no usable time stamps, a jump back decodes it
    again from its start. Threads take turns; a process that was forked opens the file anew.

    Frames that the header promises and that cannot be decoded are left out, with a warning.

    Raises:
        FrameError: the file is missing, is not a video, or has no frame.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._stamps: list[int] = []
        self._keys = [0]
        self._prepare()
        self._length = self._make_index()
        if not self._length:
            raise FrameError(f"Video {self.path} has no frame that can be decoded.")

    def __len__(self) -> int:
        return self._length

    def read(self, index: int) -> np.ndarray:
        """Frame ``index`` as a fresh array; see `FrameSource.read`."""
        if not 0 <= index < self._length:
            raise IndexError(
                f"Frame {index} of {_shown(self.path)} was asked for; it has frames 0 to "
                f"{self._length - 1}."
            )
        with self._locks.setdefault(os.getpid(), threading.Lock()):
            if self._process != os.getpid():
                self._restart()
            self._move_to(index)
            return to_rgb(self._frame, self._converter)

    @property
    def fps(self) -> float:
        """Frames a second, on average."""
        return frame_rate(self._container)

    @property
    def seconds(self) -> float:
        """[s] time stamp of the frame read last."""
        return 0.0 if self._frame is None else self._frame.time or 0.0

    def _prepare(self) -> None:
        self._locks: dict[int, threading.Lock] = {}
        self._frame: Any = None
        self._restart()

    def _restart(self) -> None:
        """Open the file and stand before its first frame."""
        check_file(self.path)
        self._process = os.getpid()
        self._converter = VideoReformatter()
        self._container = open_video(str(self.path))
        # One thread, as in `to_rgb`; data sets are read by many threads already.
        self._container.streams.video[0].codec_context.thread_count = 1
        self._decoded = decode_frames(self._container)
        self._position = -1  # of the frame decoded last

    def _make_index(self) -> int:
        """List time stamps and key frames; returns the number of frames that can be decoded."""
        stream = self._container.streams.video[0]
        promised, reordered = stream.frames, stream.codec_context.has_b_frames
        packets = list_packets(self._container)
        self._restart()
        stamps = [stamp for stamp, _ in packets if stamp is not None]
        # The stamps of an .avi tell when a packet is decoded, not when its frame is shown.
        if len(set(stamps)) == len(packets) and not (reordered and stamps == sorted(stamps)):
            self._stamps = sorted(stamps)
            keys = (bisect_left(self._stamps, stamp) for stamp, is_key in packets if is_key)
            self._keys = sorted({0, *keys})
        if self._stamps and promised == len(packets):
            return promised
        length = self._count(tail=not promised)
        if length < max(promised, len(packets)):
            logger.warning(
                "Video %s promises %d frames, of which %d can be decoded; these are used.",
                _shown(self.path),
                max(promised, len(packets)),
                length,
            )
        return length

    def _count(self, tail: bool) -> int:
        """Number of frames that can be decoded; ``tail``: look from the last key frame on only."""
        start = self._keys[-1] if self._stamps and tail else 0
        if start:
            self._container.seek(self._stamps[start], stream=self._container.streams.video[0])
        shown: list[Any] = [frame.pts for frame in self._decoded]
        self._restart()
        if start and self._stamps[start] not in shown:  # a seek that missed
            return self._count(tail=False)
        if not self._stamps or None in shown:
            self._stamps, self._keys = [], [0]
            return len(shown)
        first = self._stamps[start]
        self._stamps = self._stamps[:start] + sorted({stamp for stamp in shown if stamp >= first})
        self._keys = [key for key in self._keys if key < len(self._stamps)]
        return len(self._stamps)

    def _move_to(self, index: int) -> None:
        if index == self._position:
            return
        key = self._keys[bisect_right(self._keys, index) - 1]
        if index < self._position or key > self._position + 1:
            self._jump(key)
        while self._position < index:
            if not self._advance():
                raise FrameError(
                    f"Video {_shown(self.path)} ends after {self._position + 1} frames of "
                    f"{self._length}. Copy or convert the file anew."
                )
        if self._position > index:
            raise FrameError(
                f"Cannot decode frame {index} of video {_shown(self.path)}; it is damaged there. "
                "Copy or convert the file anew."
            )

    def _jump(self, key: int) -> None:
        """Stand at a key frame or before it."""
        if self._stamps and key:
            self._container.seek(self._stamps[key], stream=self._container.streams.video[0])
            self._decoded, self._position = decode_frames(self._container), -1
            if self._advance() and self._position <= key:
                return
        self._restart()

    def _advance(self) -> bool:
        """Decode the next frame; False at the end."""
        for frame in self._decoded:
            position = self._position + 1
            if self._stamps:
                position = bisect_left(self._stamps, frame.pts or 0)
                if self._stamps[position : position + 1] != [frame.pts]:
                    continue
            self._frame, self._position = frame, position
            return True
        return False

    def __getstate__(self) -> dict[str, Any]:
        kept = ("path", "_stamps", "_keys", "_length")
        return {name: self.__dict__[name] for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare()


def frame_rate(container: Any) -> float:
    """Frames a second of a container's video, on average."""
    rate = float(container.streams.video[0].average_rate or 0)
    return rate if 1 <= rate <= 1000 else 25.0


class VideoWriter:
    """Writes a video file picture by picture; it appears, whole, when the writer is closed.

    Args:
        path: file to write: .mp4 (H.264) or .webm (VP8), both of which browsers play; its folder is
            made if need be.
        fps: frames a second, where pictures come without time stamps.

    Attributes:
        count: number of pictures so far.

    Raises:
        ConfigError: the name has another ending.
    """

    def __init__(self, path: str | Path, fps: float = 25.0) -> None:
        self.path = Path(path)
        suffix = self.path.suffix.lower()
        if suffix not in ENCODERS:
            raise ConfigError(f"Video {str(path)!r}: expected a name that ends in .mp4 or .webm.")
        self._encoder, self._settings = _find_encoder(suffix)
        self._part = temporary_path(self.path)
        self._fps = fps
        self._container: Any = None
        self.count = 0
        self._ticks = -1

    def add(self, picture: np.ndarray, seconds: float | None = None) -> None:
        """Append a picture; the first one's size is the video's, made even.

        Args:
            picture: uint8 RGB ``(H, W, 3)``.
            seconds: [s] its time stamp; by default the pictures follow each other evenly.

        Raises:
            OutputError: the file cannot be written.
        """
        height, width = picture.shape[:2]
        try:
            if self._container is None:
                self._open(width + width % 2, height + height % 2)
            if (width, height) != self._size:
                picture = cv2.resize(picture, self._size)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            ticks = round((self.count / self._fps if seconds is None else seconds) * TICKS)
            frame.pts = self._ticks = max(ticks, self._ticks + 1)
            frame.time_base = Fraction(1, TICKS)
            self._container.mux(self._stream.encode(frame))
        except (av.FFmpegError, OSError) as error:
            self._give_up(error)
        self.count += 1

    def close(self) -> None:
        """Finish the file, count its frames and name it; without pictures there is none.

        Raises:
            OutputError: it cannot be written, or does not hold all pictures.
        """
        if self._container is None:
            return
        try:
            self._container.mux(self._stream.encode())
            self._container.close()
            with open_video(str(self._part)) as container:
                written = len(list_packets(container))
            if written != self.count:
                raise OSError(f"{written} of {self.count} frames arrived")
            os.replace(self._part, self.path)
        except (av.FFmpegError, OSError, FrameError) as error:
            self._give_up(error)
        self._container = None

    def _open(self, width: int, height: int) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._part.touch()  # FFmpeg says less about what is wrong
        options = {"movflags": "+faststart"} if self.path.suffix.lower() == ".mp4" else {}
        self._container = av.open(str(self._part), "w", options=options)
        rate = Fraction(self._fps).limit_denominator(1001)
        self._stream = self._container.add_stream(self._encoder, rate=rate, options=self._settings)
        self._stream.width, self._stream.height = self._size = width, height
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, TICKS)
        self._stream.bit_rate = round(0.15 * width * height * self._fps)

    def _give_up(self, error: Exception) -> NoReturn:
        container, self._container = self._container, None
        if container is not None:
            with suppress(av.FFmpegError, OSError):
                container.close()
        self._part.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or error
        raise OutputError(
            f"Cannot write video {_shown(self.path)}: {reason}. Is the disk full, or its folder "
            "read-only?"
        ) from error

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _find_encoder(suffix: str) -> tuple[str, dict[str, str]]:
    for name, settings in ENCODERS[suffix]:
        with suppress(av.codec.codec.UnknownCodecError):
            av.Codec(name, "w")
            return name, settings
    raise ConfigError(f"This PyAV cannot write {suffix}; install it with pip: `pip install av`.")
