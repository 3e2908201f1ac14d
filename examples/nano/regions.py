"""Regions of still photographs as targets, filmed by a moving camera.

Where every target is a whole object, a network learns to box whatever object it sees. A region is
what its template's box says and nothing else: a face and not the person, a wheel and not the car.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence as SequenceOf
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from relo_env.datasets.base import Dataset, Sequence
from relo_env.datasets.synthetic.images import Images

CHOICES = 4
"""Regions of which the one with the most contrast is taken."""


class Regions(Dataset):
    """One endless family of videos for each photograph: a region of it is the target.

    The camera pans, zooms, rolls, tilts and shakes; light, blur, noise and compression change too.
    Beyond a photograph's border it is mirrored. `load` gives a photograph's first video, `draw` any
    of them.

    Args:
        photos: folders of photographs.
        length: frames a video.
        frame_size: (width, height) of a frame [px].

    Raises:
        DataError: a folder is missing or has no photograph.
    """

    name = "Regions"
    splits = ("train",)

    def __init__(
        self,
        photos: SequenceOf[Path],
        *,
        length: int = 120,
        frame_size: tuple[int, int] = (320, 240),
    ) -> None:
        super().__init__()
        self._photos = Images.photos(photos)
        self._length, self._frame_size = length, frame_size

    @property
    def names(self) -> SequenceOf[str]:
        """``"<number of the photograph>-0"``."""
        return [f"{index}-0" for index in range(len(self._photos))]

    def draw(self, rng: np.random.Generator) -> Sequence:
        """A new video of a photograph at random."""
        return self.load(f"{rng.integers(len(self._photos))}-{rng.integers(2**32)}")

    def load(self, name: str) -> Sequence:
        """The video ``"<photograph>-<seed>"``."""
        index, seed = map(int, name.split("-"))
        film = Film(self._photos, index, seed, self._length, self._frame_size)
        return Sequence(name, film, film.boxes, np.ones(self._length, bool))


class Film:
    """The frames of one video, made when they are read.

    Attributes:
        boxes: ``(n, 4)`` xywh of the region in each frame, clipped to the frame.
    """

    def __init__(
        self, photos: Images, index: int, seed: int, length: int, frame_size: tuple[int, int]
    ) -> None:
        self._photos, self._index, self._frame_size = photos, index, frame_size
        self._lock = threading.Lock()
        rng = np.random.default_rng([index, seed])
        self._seed = int(rng.integers(2**32))
        region = self._choose(rng)
        photo_size = self._photo.shape[1], self._photo.shape[0]
        self._to_frame = _camera(rng, region, photo_size, length, frame_size)
        self.boxes = _boxes(region, self._to_frame, frame_size)
        self._gain = np.exp(0.15 * smooth_curve(rng, length))
        self._contrast = np.exp(0.2 * smooth_curve(rng, length))
        self._blur = np.abs(rng.normal(0, 0.9)) * np.exp(0.3 * smooth_curve(rng, length))
        longest = min(0.4 * np.sqrt(self.boxes[:, 2:].prod(1).mean()), 16.0)
        self._smear = longest * np.abs(smooth_curve(rng, length)) * (rng.random() < 0.4)
        self._noise = rng.uniform(0, 7)
        self._quality = int(rng.integers(15, 95)) if rng.random() < 0.4 else None

    def __len__(self) -> int:
        return len(self.boxes)

    def read(self, index: int) -> np.ndarray:
        """Frame ``index``, uint8 RGB ``(H, W, 3)``."""
        frame = cv2.warpPerspective(
            self._photo,
            self._to_frame[index],
            self._frame_size,
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        )
        if self._blur[index] > 0.3:
            frame = cv2.GaussianBlur(frame, (0, 0), self._blur[index])
        rng = np.random.default_rng([self._seed, index])
        if self._smear[index] >= 2:
            frame = cv2.filter2D(frame, -1, _line(self._smear[index], rng.uniform(0, np.pi)))
        levels = np.arange(256)
        light = self._gain[index] * (self._contrast[index] * (levels - 128.0) + 128.0)
        frame = cv2.LUT(frame, np.clip(light, 0, 255).astype(np.uint8))
        noise = rng.standard_normal(frame.shape[:2], np.float32) * np.float32(self._noise)
        frame = cv2.add(frame, cv2.merge([noise] * 3), dtype=cv2.CV_8U)
        if self._quality is None:
            return frame
        _, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, self._quality])
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))

    @property
    def _photo(self) -> np.ndarray:
        with self._lock:
            return self._decoded

    @cached_property
    def _decoded(self) -> np.ndarray:
        return self._decode()

    def _decode(self) -> np.ndarray:
        """The photograph, uint8 RGB ``(h, w, 3)``; a subclass may change it."""
        return self._photos.photo(self._index)

    def _choose(self, rng: np.random.Generator) -> np.ndarray:
        """xywh of a region of the photograph [px]."""
        grey = cv2.cvtColor(self._photo, cv2.COLOR_RGB2GRAY)
        height, width = grey.shape
        regions, contrasts = [], []
        for _ in range(CHOICES):
            size = min(height, width) * np.exp(rng.uniform(np.log(0.07), np.log(0.5)))
            stretch = np.exp(np.clip(rng.normal(0, 0.4), -0.8, 0.8) / 2)
            w, h = min(size * stretch, 0.9 * width), min(size / stretch, 0.9 * height)
            x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
            regions.append((x, y, w, h))
            contrasts.append(grey[int(y) : int(y + h) + 1, int(x) : int(x + w) + 1].std())
        return np.array(regions[int(np.argmax(contrasts))])


def _camera(
    rng: np.random.Generator,
    region: np.ndarray,
    photo_size: tuple[int, int],
    length: int,
    frame_size: tuple[int, int],
) -> np.ndarray:
    """Homographies ``(n, 3, 3)`` from the photograph to each frame."""
    x, y, w, h = region
    # The photograph about fills the frame, or more than fills it: mirror images of the target are
    # rare. The target itself takes up two thirds of the frame at most.
    fill = np.exp(rng.uniform(np.log(0.8), np.log(2.2))) * min(frame_size) / min(photo_size)
    zoom = min(fill, 0.65 * min(frame_size) / np.sqrt(w * h)) * np.exp(
        0.2 * smooth_curve(rng, length)
    )
    stretch = np.exp(0.08 * smooth_curve(rng, length))
    angle = (0.8 if rng.random() < 0.2 else 0.12) * smooth_curve(rng, length)
    tilt = 0.15 * smooth_curve(rng, length), 0.15 * smooth_curve(rng, length)
    center = [
        side * (0.5 + 0.25 * np.clip(smooth_curve(rng, length), -1.6, 1.6)) for side in frame_size
    ]
    maps = np.empty((length, 3, 3))
    for t in range(length):
        scale = np.diag([zoom[t] * stretch[t], zoom[t] / stretch[t], 1.0])
        cos, sin = np.cos(angle[t]), np.sin(angle[t])
        turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        vanishing = tilt[0][t] / photo_size[0], tilt[1][t] / photo_size[1]
        tilted = np.array([[1, 0, 0], [0, 1, 0], [*vanishing, 1]])
        to_origin = np.array([[1, 0, -x - w / 2], [0, 1, -y - h / 2], [0, 0, 1]])
        to_center = np.array([[1, 0, center[0][t]], [0, 1, center[1][t]], [0, 0, 1]])
        maps[t] = to_center @ turn @ scale @ tilted @ to_origin
    return maps


def _boxes(region: np.ndarray, to_frame: np.ndarray, frame_size: tuple[int, int]) -> np.ndarray:
    """Boxes around the image of the ellipse that the region's box holds, clipped to the frame.

    Upright that is the region itself; turned, the corners of a region count for nothing, as those
    of an object's box would.
    """
    x, y, w, h = region
    corners = np.array([[x, y, 1], [x + w, y, 1], [x + w, y + h, 1], [x, y + h, 1]])
    mapped = corners @ to_frame.transpose(0, 2, 1)
    points = mapped[..., :2] / mapped[..., 2:]
    across = (points[:, 1] - points[:, 0] + points[:, 2] - points[:, 3]) / 2
    down = (points[:, 3] - points[:, 0] + points[:, 2] - points[:, 1]) / 2
    size = np.sqrt(across**2 + down**2)
    center = points.mean(1)
    low = np.clip(center - size / 2, 0, np.array(frame_size) - 2.0)
    high = np.clip(center + size / 2, 2.0, np.array(frame_size))
    return np.concatenate([low, np.maximum(high - low, 1.0)], axis=-1)


def _line(length: float, angle: float) -> np.ndarray:
    """Kernel that smears a picture over ``length`` px in the direction ``angle``."""
    radius = int(np.ceil(length / 2))
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), np.float32)
    step = length / 2 * np.array([np.cos(angle), np.sin(angle)])
    ends = [tuple(int(v) for v in np.round(radius + sign * step)) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0)
    return kernel / kernel.sum()


def smooth_curve(rng: np.random.Generator, length: int) -> np.ndarray:
    """A smooth random function of time ``(length,)`` with deviation about 1."""
    t = np.arange(length) / 120
    waves = [
        rng.normal() * np.sin(2 * np.pi * (frequency * t + rng.random()))
        for frequency in (0.5, 1.0, 2.0, 4.0)
    ]
    return np.sum(waves, axis=0) / np.sqrt(2)
