"""Sources of frames: image files, a still image, an array in memory; and files in folders."""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from relo_env.datasets.base import FrameSource
from relo_env.errors import ConfigError, DataError, FrameError

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg")

_RGB = getattr(cv2, "IMREAD_COLOR_RGB", None)
"""OpenCV's flag to decode to RGB; None before 4.11, where colours are swapped afterwards."""


def read_image(path: Path | str) -> np.ndarray:
    """Decode an image file to uint8 RGB ``(H, W, 3)``; see `decode`."""
    if _RGB is not None:
        return decode(path, _RGB)
    image = decode(path, cv2.IMREAD_COLOR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def decode(path: Path | str, flags: int) -> np.ndarray:
    """``cv2.imread`` for any path on any system.

    Raises:
        FrameError: the file is missing, empty or not an image.
    """
    data = _read_bytes(path)
    _reuse_freed_memory()
    try:
        image = cv2.imdecode(data, flags) if data.size else None
    except cv2.error:  # a size that no image has, or no memory
        image = None
    if image is not None and flags != cv2.IMREAD_UNCHANGED and _is_deep(data):
        _warn_of_depth(os.path.dirname(path))
    if image is None:
        raise FrameError(
            f"Cannot decode image {path} ({data.size} bytes); expected a JPEG, PNG or another "
            "format that OpenCV reads. Copy the file anew."
        )
    return image


def _read_bytes(path: Path | str) -> np.ndarray:
    try:
        return np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise FrameError(f"Cannot open image {path}: {error.strerror or error}.") from error


def _is_deep(data: np.ndarray) -> bool:
    """True if an image file has more than 8 bits a channel, as thermal cameras write."""
    start = data[:26].tobytes()
    if start.startswith(b"\x89PNG"):
        return start[24:25] == b"\x10"
    if not start.startswith((b"II*\0", b"MM\0*")):  # TIFF
        return False
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    return image is not None and image.dtype != np.uint8


@functools.cache
def _warn_of_depth(folder: str) -> None:
    logger.warning(
        "Images in %s have more than 8 bits a channel, of which the upper 8 are used. Thermal "
        "images need one scale for the whole sequence: convert them to 8 bits first.",
        folder,
    )


_MMAP_THRESHOLD_MAX = 32 << 20
"""[bytes] largest block that glibc learns from, see ``M_MMAP_THRESHOLD`` in mallopt(3)."""


@functools.cache
def _reuse_freed_memory() -> None:
    """Have the memory of one frame serve the next, instead of going back to the system each time.

    Fresh memory is zeroed page by page as it is first written to, which took longer than to decode
    a JPEG into it (1280x720: 4.0 ms, 1.8 without). glibc learns from what is freed how much to
    keep: 64 MiB after a block of this size. Other C libraries take no notice.
    """
    header = 8192
    np.empty(_MMAP_THRESHOLD_MAX - header, np.uint8)


_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def is_complete(path: Path | str) -> bool:
    """True if an image file has its end: decoders fill what is missing with grey, and say nothing.

    JPEG and PNG are looked at; another format is taken for complete.

    Raises:
        FrameError: the file is missing.
    """
    data = _read_bytes(path).tobytes()
    if data.startswith(b"\x89PNG"):
        return b"IEND" in data
    return not data.startswith(b"\xff\xd8") or _has_jpeg_end(data)


def _has_jpeg_end(data: bytes) -> bool:
    """Go from segment to segment to the end of the image (ITU T.81, annex B)."""
    at = 2
    while (marker := _NEXT_MARKER.search(data, at)) is not None:
        code, at = data[marker.start() + 1], marker.end()
        if code == 0xD9:
            return True
        at += int.from_bytes(data[at : at + 2], "big")
    return False


def list_images(folder: Path) -> list[str]:
    """Paths of a folder's images, in the natural order of their names; see `natural_order`."""
    if not folder.is_dir():
        return []
    # Strings and endswith, since a training clip lists a folder of thousands: with Path objects
    # that took as long as decoding the clip's frames.
    with os.scandir(folder) as entries:
        names = [
            entry.name
            for entry in entries
            if entry.name.lower().endswith(IMAGE_SUFFIXES)
            and not is_clutter(entry.name)
            and entry.is_file()
        ]
    prefix = f"{folder}{os.sep}"
    return [prefix + name for name in natural_order(names)]


def list_videos(folder: Path) -> list[Path]:
    """Paths of a folder's video files, sorted."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in VIDEO_SUFFIXES and not is_clutter(path.name)
    )


def is_clutter(name: str) -> bool:
    """True for hidden files and folders, and for those that macOS leaves behind."""
    return name.startswith(".") or name == "__MACOSX"


def natural_order(names: list[str]) -> list[str]:
    """File names with numbers in the order of these: 2.jpg before 10.jpg, 1.9.jpg before 1.10.jpg.

    Time stamps are told from such numbers of parts: ``7.25``, ``7.3``, ``7.350899`` come in this
    order. No decimal ends in 0, which one of ten consecutive numbers does.
    """
    if len({len(name) for name in names}) <= 1:
        return sorted(names)
    return sorted(names, key=_stem_value if _are_time_stamps(names) else _natural)


def _are_time_stamps(names: list[str]) -> bool:
    found = [re.fullmatch(r"\d+\.(\d+)\.[A-Za-z]+", name) for name in names]
    decimals = [match.group(1) for match in found if match]
    if len(decimals) < len(names) or any(d.endswith("0") and d != "0" for d in decimals):
        return False
    numbers = sorted(map(int, decimals))
    return numbers[-1] - numbers[0] >= 10


def _stem_value(name: str) -> tuple[int, float]:
    whole, decimals, _ = name.split(".")
    return int(whole), float(f"0.{decimals}")


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(digits or 0), text) for text, digits in re.findall(r"(\D*)(\d*)", name)]


def image_frames(folder: Path) -> ImageFrames:
    """Images of a folder as frames; DataError if there is none."""
    images = list_images(folder)
    if not images:
        raise DataError(
            f"No images in {folder}; expected one .jpg or .png file a frame, found "
            f"{describe(folder)}."
        )
    return ImageFrames(images)


def describe(folder: Path) -> str:
    """Content of a folder, for messages."""
    if not folder.is_dir():
        return "no such folder"
    names = sorted(name for name in os.listdir(folder) if not is_clutter(name))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(map(repr, names[:3]))}{more}" if names else "nothing"


def numbered_frames(folder: Path, first: int, last: int) -> ImageFrames:
    """Images of a folder numbered from ``first`` to ``last``; DataError if there is none."""
    numbers = {path: Path(path).stem for path in list_images(folder)}
    images = [p for p, stem in numbers.items() if stem.isdigit() and first <= int(stem) <= last]
    if not images:
        raise DataError(f"No images numbered {first} to {last} in {folder}.")
    return ImageFrames(images)


def find_frames(folder: Path) -> FrameSource:
    """Frames of a folder: images in ``img/`` or ``imgs/``, one video file, or images beside it.

    Raises:
        DataError: there are none, or several videos.
    """
    for images in (folder / "img", folder / "imgs"):
        if images.is_dir():
            return image_frames(images)
    videos = list_videos(folder)
    if len(videos) > 1:
        raise DataError(f"{folder} has {len(videos)} video files; expected one, or images in img/.")
    if not videos:
        return image_frames(folder)
    from relo_env.video import VideoFrames  # a training on images does without PyAV

    return VideoFrames(videos[0])


class ImageFrames:
    """The frames of a video as one image file each."""

    def __init__(self, paths: Iterable[Path | str]) -> None:
        self.paths = tuple(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> np.ndarray:
        """Frame ``index`` as a fresh array; see `FrameSource.read`."""
        return read_image(self.paths[index])


class FirstFrames:
    """The first ``length`` frames of a video."""

    def __init__(self, frames: FrameSource, length: int) -> None:
        self._frames = frames
        self._length = length

    def __len__(self) -> int:
        return self._length

    def read(self, index: int) -> np.ndarray:
        """Frame ``index`` as the video gives it; see `FrameSource.read`."""
        _check_index(index, self._length, "a video")
        return self._frames.read(index)


def cut_frames(frames: FrameSource, length: int) -> FrameSource:
    """The first ``length`` frames of a video, or the video itself if it is no longer."""
    if len(frames) <= length:
        return frames
    if isinstance(frames, ImageFrames):
        return ImageFrames(frames.paths[:length])
    return FirstFrames(frames, length)


def missing_numbers(frames: FrameSource, count: int) -> list[int]:
    """Numbers that images lack in their names, where ``count`` images would have all of them."""
    found = [re.search(r"(\d+)\.\w+$", str(path)) for path in getattr(frames, "paths", ())]
    numbers = {int(match[1]) for match in found if match}
    if not numbers or len(frames) >= count or max(numbers) - min(numbers) + 1 != count:
        return []
    return sorted(set(range(min(numbers), max(numbers) + 1)) - numbers)


class NoFrames:
    """Stand-in for the frames of a video, at ``place``, of which only the annotation is read."""

    def __init__(self, length: int, place: Path | str) -> None:
        self.place = place
        self._length = length

    def __len__(self) -> int:
        return self._length

    def read(self, index: int) -> np.ndarray:
        """Raise FrameError: there is no frame."""
        raise FrameError(
            f"Frame {index} of {self.place} was asked for, but only the annotation was read; take "
            "the sequence from the data set itself."
        )


class StillFrames:
    """One image shown for ``length`` frames; it is decoded once."""

    def __init__(self, path: Path | str, length: int) -> None:
        self.path = path
        self._length = length
        self._image: np.ndarray | None = None

    def __len__(self) -> int:
        return self._length

    def read(self, index: int) -> np.ndarray:
        """The image as a read-only array, whatever ``index`` in range; see `FrameSource.read`."""
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
        shape: tuple[int, ...] = getattr(array, "shape", ())
        dtype = getattr(array, "dtype", type(array).__name__)
        if dtype != np.uint8 or len(shape) != 4 or shape[-1] != 3:
            raise ConfigError(f"Frames are {dtype} of shape {shape}; expected uint8 (n, H, W, 3).")
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def read(self, index: int) -> np.ndarray:
        """A copy of frame ``index``, uint8 RGB ``(H, W, 3)``."""
        return self.array[index].copy()


def _check_index(index: int, length: int, path: Path | str) -> None:
    if not 0 <= index < length:
        raise IndexError(f"Frame {index} of {path} was asked for; it has frames 0 to {length - 1}.")
