"""Where the frames of a video come from: image files, a video file, an array in memory."""

from __future__ import annotations

import functools
import os
import re
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from relo_env.errors import ConfigError, FrameError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg")

_RGB = getattr(cv2, "IMREAD_COLOR_RGB", None)
"""OpenCV's flag for what was a pass over the decoded pixels before 4.11."""


def read_image(path: Path | str) -> np.ndarray:
    """Decode an image file to uint8 RGB ``(H, W, 3)``.

    Raises:
        FrameError: the file is missing, empty or not an image.
    """
    if _RGB is not None:
        return decode(path, _RGB)
    image = decode(path, cv2.IMREAD_COLOR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def decode(path: Path | str, flags: int) -> np.ndarray:
    """``cv2.imread`` for any path on any system.

    Raises:
        FrameError: the file is missing, empty or not an image.
    """
    return _decode_bytes(_read_bytes(path), flags, path)


def _read_bytes(path: Path | str) -> np.ndarray:
    try:
        return np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise FrameError(f"Cannot open image {path}: {error.strerror or error}.") from error


def _decode_bytes(data: np.ndarray, flags: int, path: Path | str) -> np.ndarray:
    _reuse_freed_memory()
    image = cv2.imdecode(data, flags) if data.size else None
    if image is None:
        raise FrameError(
            f"Cannot decode image {path} ({data.size} bytes); expected a JPEG, PNG or another "
            "format that OpenCV reads. Copy the file anew."
        )
    return image


@functools.cache
def _reuse_freed_memory() -> None:
    """Have the memory of one frame serve the next, instead of going back to the system each time.

    Fresh memory is zeroed page by page as it is first written to, which took longer than to decode
    a JPEG into it (1280x720: 4.0 ms, 1.8 without). glibc learns from what is freed how much to
    keep, see ``M_MMAP_THRESHOLD`` in mallopt(3); this is the largest block it learns from, 64 MiB
    being kept from then on. Other C libraries take no notice.
    """
    np.empty(_LARGEST_LESSON, np.uint8)


_LARGEST_LESSON = (32 << 20) - 8192
"""glibc's DEFAULT_MMAP_THRESHOLD_MAX, less a page for the block's header."""


def list_images(folder: Path) -> list[str]:
    """Paths of a folder's images, in the natural order of their names (2.jpg before 10.jpg)."""
    if not folder.is_dir():
        return []
    # Strings and endswith, since a training clip lists a folder of thousands: with Path objects
    # that took as long as decoding the clip's frames.
    names = [name for name in os.listdir(folder) if name.lower().endswith(IMAGE_SUFFIXES)]
    padded = len({len(name) for name in names}) == 1
    names.sort(key=None if padded else _natural)
    prefix = f"{folder}{os.sep}"
    return [prefix + name for name in names]


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(digits or 0), text) for text, digits in re.findall(r"(\D*)(\d*)", name)]


class ImageFrames:
    """The frames of a video as one image file each."""

    def __init__(self, paths: Iterable[Path | str]) -> None:
        self.paths = tuple(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> np.ndarray:
        """Frame ``index`` as a fresh uint8 RGB array ``(H, W, 3)``.

        Raises:
            FrameError: the file is missing or cannot be decoded.
        """
        return read_image(self.paths[index])


class StillFrames:
    """One image shown for ``length`` frames; it is decoded once."""

    def __init__(self, path: Path | str, length: int) -> None:
        self.path = path
        self._length = length
        self._image: np.ndarray | None = None

    def __len__(self) -> int:
        return self._length

    def read(self, index: int) -> np.ndarray:
        """The image as a read-only uint8 RGB array ``(H, W, 3)``, whatever ``index`` in range.

        Raises:
            FrameError: the file is missing or cannot be decoded.
        """
        _check_index(index, self._length, self.path)
        if self._image is None:
            image = read_image(self.path)
            image.flags.writeable = False
            self._image = image
        return self._image


class ArrayFrames:
    """A video in memory.

    Args:
        array: uint8 RGB ``(n, H, W, 3)``; not copied.

    Raises:
        ConfigError: the array has another shape or type.
    """

    def __init__(self, array: np.ndarray) -> None:
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape[-1] != 3:
            raise ConfigError(
                f"Frames are {array.dtype} of shape {array.shape}; expected uint8 (n, H, W, 3)."
            )
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def read(self, index: int) -> np.ndarray:
        """A copy of frame ``index``, uint8 RGB ``(H, W, 3)``."""
        return self.array[index].copy()


class VideoFrames:
    """The frames of a video file, by exact index.

    Reading forward decodes each frame once. A jump back is a seek that is checked against the
    time stamps met on the way there, since a container's own frame numbers are not reliable; where
    the check fails, the video is decoded again from its start. Threads take turns.

    Raises:
        FrameError: the file is missing, is not a video, or has no frame.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._open()
        self._length = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        # A stream without a header tells its length at its end only; Matroska's is an estimate.
        if self._length <= 0 or self.path.suffix.lower() in (".mkv", ".webm"):
            self._length = self._count()
        if self._length == 0:
            raise FrameError(f"Video {self.path} has no frame that can be decoded.")

    def __len__(self) -> int:
        return self._length

    def read(self, index: int) -> np.ndarray:
        """Frame ``index`` as a fresh uint8 RGB array ``(H, W, 3)``.

        Raises:
            FrameError: the video ends early or cannot be decoded there.
        """
        _check_index(index, self._length, self.path)
        with self._lock:
            if index < self._position:
                self._seek_back(index)
            while self._position < index:
                self._grab()
            ok, image = self._capture.retrieve()
        _reuse_freed_memory()
        if not ok:
            raise FrameError(f"Cannot decode frame {index} of video {self.path}.")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    @property
    def seconds(self) -> float:
        """[s] time stamp of the frame read last."""
        return self._time() / 1000

    def _open(self) -> None:
        self._lock = threading.Lock()
        self._index_of_time: dict[float, int | None] = {}  # None: of several frames
        self._restart()

    def _restart(self) -> None:
        if not self.path.is_file():
            raise FrameError(f"There is no video file {self.path}.")
        with self.path.open("rb") as file:
            if b"\0" not in file.read(4096):  # FFmpeg draws the letters of a text file
                raise FrameError(f"{self.path} is a text file or empty; expected a video.")
        self._capture = cv2.VideoCapture(str(self.path))
        self._position = -1  # of the frame grabbed last
        if not self._capture.isOpened():
            raise FrameError(
                f"Cannot open video {self.path}; expected a file that OpenCV's FFmpeg reads, "
                "such as .mp4 or .avi. Convert it, or extract its frames to images."
            )

    def _grab(self) -> None:
        if not self._capture.grab():
            raise FrameError(
                f"Video {self.path} ends after {self._position + 1} frames, "
                f"but its header says {self._length}. Copy or convert the file anew."
            )
        self._position += 1
        if self._index_of_time.setdefault(self._time(), self._position) != self._position:
            self._index_of_time[self._time()] = None

    def _seek_back(self, index: int) -> None:
        """Move to a frame met before, at most ``index``."""
        self._capture.set(cv2.CAP_PROP_POS_FRAMES, index)
        landed = self._index_of_time.get(self._time()) if self._capture.grab() else None
        if landed is not None and landed <= index:
            self._position = landed
        else:
            self._restart()

    def _time(self) -> float:
        """[ms] time stamp of the frame grabbed last."""
        return self._capture.get(cv2.CAP_PROP_POS_MSEC)

    def _count(self) -> int:
        count = 0
        while self._capture.grab():
            count += 1
        self._restart()
        return count

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_length": self._length}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()


def _check_index(index: int, length: int, path: Path | str) -> None:
    if not 0 <= index < length:
        raise IndexError(f"Frame {index} of {path} was asked for; it has frames 0 to {length - 1}.")
