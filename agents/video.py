"""Writing videos."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from relo_env.errors import ConfigError, FrameError

CODECS = {".mp4": "mp4v", ".webm": "VP80"}
"""What OpenCV's own packages can write: MPEG-4, which is quick, and VP8, which browsers play."""


class VideoWriter:
    """Writes a video file picture by picture; it appears, whole, when the writer is closed.

    Args:
        path: file to write, .mp4 or .webm; its folder is made if need be.
        fps: frames a second.

    Raises:
        ConfigError: the name has another ending.
    """

    def __init__(self, path: str | Path, fps: float = 25.0) -> None:
        self.path = Path(path)
        suffix = self.path.suffix.lower()
        if suffix not in CODECS:
            raise ConfigError(f"Video {str(path)!r}: expected a name that ends in .mp4 or .webm.")
        self._codec = cv2.VideoWriter.fourcc(*CODECS[suffix])
        self._part = self.path.with_name(f".{self.path.stem}.{os.getpid()}{suffix}")
        self._fps = fps
        self._writer: cv2.VideoWriter | None = None

    def add(self, picture: np.ndarray) -> None:
        """Append a uint8 RGB picture ``(H, W, 3)``; the first one's size is the video's.

        Raises:
            FrameError: the file cannot be written.
        """
        height, width = picture.shape[:2]
        if self._writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part = str(self._part)
            self._writer = cv2.VideoWriter(part, self._codec, self._fps, (width, height))
            self._size = (width, height)
            if not self._writer.isOpened():
                self._writer = None
                raise FrameError(
                    f"Cannot write video {self.path} ({width} x {height}, {self._fps:g} fps); is "
                    "its folder writable, and does this OpenCV have FFmpeg (`relo doctor`)?"
                )
        if (width, height) != self._size:
            picture = cv2.resize(picture, self._size)
        self._writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Finish the file and give it its name; without pictures there is none."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
            os.replace(self._part, self.path)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
