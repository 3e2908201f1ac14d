"""From a scene to frames: any frame at any time, from any thread."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import Any

import cv2
import numpy as np

from relo_env.datasets.synthetic.actors import Actor, Look, Motion
from relo_env.datasets.synthetic.images import Images
from relo_env.datasets.synthetic.painting import (
    LEVELS,
    Sprite,
    cutout_sprite,
    draw_palette,
    fit_photo,
    paint_background,
    paint_sprite,
    pick_palette,
)
from relo_env.datasets.synthetic.scene import Scene
from relo_env.datasets.synthetic.shapes import MARGIN
from relo_env.errors import FrameError

_BACKGROUND_SCALE = 1.3
_NOISE_MARGIN = 64
_LONGEST_BLUR = 15


class Frames:
    """The frames of one scene, painted when asked for.

    What does not change (background, sprites, noise) is painted once, when it is first seen. The
    same scene gives the same bytes in every process, thread and order.
    """

    def __init__(self, scene: Scene, cutouts: Images | None, photos: Images | None) -> None:
        self.scene, self._cutouts, self._photos = scene, cutouts, photos
        self._lock = threading.Lock()
        self._set: _Set | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"scene": self.scene, "cutouts": self._cutouts, "photos": self._photos}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __len__(self) -> int:
        return len(self.scene.boxes)

    def read(self, index: int) -> np.ndarray:
        """Frame ``index`` as uint8 RGB ``(H, W, 3)``, a fresh array."""
        return self._painted(index).shoot(index)

    def mask(self, index: int, actor: Actor | None = None) -> np.ndarray:
        """Coverage of frame ``index`` by an actor, or the target, alone: uint8 ``(H, W)``."""
        return self._painted(index).coverage(actor or self.scene.target, index)

    def _painted(self, index: int) -> _Set:
        if not 0 <= index < len(self):
            raise FrameError(
                f"There is no frame {index}; the video has frames 0 to {len(self) - 1}."
            )
        with self._lock:
            if self._set is None:
                self._set = _Set(self.scene, self._cutouts, self._photos)
            return self._set


class _Set:
    """The painted layers of a scene, and the camera before them."""

    def __init__(self, scene: Scene, cutouts: Images | None, photos: Images | None) -> None:
        self.scene, self.cutouts = scene, cutouts
        rng = np.random.default_rng([scene.seed, 1])
        width, height = (round(side * _BACKGROUND_SCALE) for side in scene.frame_size)
        if scene.photo is None or photos is None:
            self.background = paint_background(rng, width, height)
        else:
            self.background = fit_photo(photos.photo(scene.photo), width, height)
        extra = (self.background.shape[1::-1] - np.array(scene.frame_size)) / 2
        self.camera = scene.film.camera + np.array([[0, 0, extra[0]], [0, 0, extra[1]]])
        self.shadow = self._paint_shadow(rng) if scene.film.shadow else None
        self.noise = self._paint_noise(rng)
        self.actors = (*scene.behind, scene.target, *scene.front)
        self.resolution: dict[Look, float] = defaultdict(float)
        for actor in self.actors:
            size = float(actor.motion.size.max())
            self.resolution[actor.look] = max(self.resolution[actor.look], size)
        self.sprites: dict[tuple[Look, int], Sprite] = {}

    def _sprite(self, actor: Actor, coat: int) -> Sprite:
        """The sprite of an actor in one of its textures, painted when first seen.

        Two threads may both paint it: they paint the same.
        """
        key = actor.look, coat
        if key not in self.sprites:
            self.sprites[key] = self._paint(actor, coat)
        return self.sprites[key]

    def _paint(self, actor: Actor, coat: int) -> Sprite:
        look, resolution = actor.look, self.resolution[actor.look]
        if look.cutout is not None and self.cutouts is not None:
            return cutout_sprite(self.cutouts.cutout(look.cutout), resolution)
        rng = np.random.default_rng([look.texture_seed, coat])
        palette = pick_palette(rng, self.background) if look.camouflage else draw_palette(rng)
        return paint_sprite(rng, actor.shape, palette, resolution)

    def _paint_noise(self, rng: np.random.Generator) -> np.ndarray:
        width, height = self.scene.frame_size
        noise = rng.standard_normal((height + _NOISE_MARGIN, width + _NOISE_MARGIN), np.float32)
        return (noise * np.float32(self.scene.film.noise)).astype(np.int16)

    def _paint_shadow(self, rng: np.random.Generator) -> np.ndarray:
        height, width = self.background.shape[:2]
        dark = rng.uniform(90, 200)
        mask = np.full((height // 4, width // 4), 255, np.uint8)
        for _ in range(rng.integers(1, 4)):
            corners = rng.uniform(-0.2, 1.2, (4, 2)) * (width // 4, height // 4)
            cv2.fillPoly(mask, [cv2.convexHull(corners.astype(np.int32))], dark)
        return cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 4))

    def shoot(self, index: int) -> np.ndarray:
        """Render one frame."""
        scene, film = self.scene, self.scene.film
        frame = self._seen(self.background, index)
        frame = _streaked(frame, self._pan(index))
        for actor in self.actors:
            self._compose(frame, actor, index)
        if self.shadow is not None:
            shade = self._seen(self.shadow, index)
            frame = cv2.multiply(frame, cv2.merge([shade] * 3), scale=1 / 255)
        return self._develop(frame, np.random.default_rng([scene.seed, 2, index]), film.gain[index])

    def coverage(self, actor: Actor, index: int) -> np.ndarray:
        """Alpha of one actor alone in the frame, without blur: uint8 ``(H, W)``."""
        alpha = np.zeros(self.scene.frame_size[::-1], np.uint8)
        found = self._stamp(actor, index, pad=2)
        if found is not None:
            left, top, stamp = found
            alpha[top : top + stamp.shape[0], left : left + stamp.shape[1]] = stamp[..., 3]
        return alpha

    def _seen(self, layer: np.ndarray, index: int) -> np.ndarray:
        """The camera's view of the background, or of a smaller layer that covers the same."""
        matrix = self.camera[index].copy()
        matrix[:, 2] += matrix[:, :2].sum(-1) / 2
        matrix *= layer.shape[0] / self.background.shape[0]
        matrix[:, 2] -= 0.5
        return cv2.warpAffine(
            layer,
            matrix,
            self.scene.frame_size,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )

    def _pan(self, index: int) -> np.ndarray:
        """[px] Movement of the background during the exposure."""
        a, b = max(index - 1, 0), min(index + 1, len(self.camera) - 1)
        return (self.camera[b, :, 2] - self.camera[a, :, 2]) / 2 * self.scene.film.exposure

    def _compose(self, frame: np.ndarray, actor: Actor, index: int) -> None:
        centre, last = actor.motion.centre, len(actor.fade) - 1
        a, b = max(index - 1, 0), min(index + 1, last)
        streak = (centre[b] - centre[a]) / 2 * self.scene.film.exposure
        pad = 2 + int(min(np.abs(streak).max(), _LONGEST_BLUR) / 2)
        found = self._stamp(actor, index, pad)
        if found is None:
            return
        left, top, stamp = found
        stamp = _streaked(stamp, streak)
        region = frame[top : top + stamp.shape[0], left : left + stamp.shape[1]]
        _lay_over(region, stamp)

    def _stamp(self, actor: Actor, index: int, pad: int) -> tuple[int, int, np.ndarray] | None:
        """Left, top and RGBA pixels of an actor's part of the frame; None where it is out."""
        low, high = (corner[index] for corner in actor.extent)
        left, top = np.maximum(np.floor(low) - pad, 0).astype(int)
        right, bottom = np.minimum(np.ceil(high) + pad, self.scene.frame_size).astype(int)
        if right <= left or bottom <= top:
            return None
        motion = actor.motion
        canvas = self._canvas(actor, index)
        side = len(canvas)
        unit = side / (1 + 2 * MARGIN)
        to_unit = np.array([[1 / unit, 0, 0.5 / unit], [0, 1 / unit, 0.5 / unit], [0, 0, 1]])
        to_unit[:2, 2] -= 0.5 + MARGIN
        to_region = np.array([[1, 0, -left - 0.5], [0, 1, -top - 0.5], [0, 0, 1]])
        matrix = to_region @ motion.homographies[index] @ to_unit
        stamp = cv2.warpPerspective(canvas, matrix, (right - left, bottom - top))
        return int(left), int(top), stamp

    def _canvas(self, actor: Actor, index: int) -> np.ndarray:
        """The actor on its canvas: parts swung, textures faded, bent."""
        coat = int(actor.fade[index])
        fade, sprite = actor.fade[index] - coat, self._sprite(actor, coat)
        # The coarsest level of the pyramid that is still as fine as the actor is shown.
        excess = sprite.side / (1 + 2 * MARGIN) / actor.motion.size[index].max()
        level = min(max(int(np.log2(excess)), 0), LEVELS - 1)
        canvas = _assembled(sprite, level, actor.motion, index)
        if fade > 0:
            other = _assembled(self._sprite(actor, coat + 1), level, actor.motion, index)
            canvas = cv2.addWeighted(canvas, 1 - fade, other, fade, 0)
        return _bent(canvas, actor.motion, index)

    def _develop(self, frame: np.ndarray, rng: np.random.Generator, gain: np.ndarray) -> np.ndarray:
        """Light, lens, sensor and compression."""
        film = self.scene.film
        height, width = frame.shape[:2]
        table = np.clip(np.arange(256)[:, None] * gain, 0, 255).astype(np.uint8)
        frame = cv2.LUT(frame, table[:, None])
        if film.defocus > 0.3:
            frame = cv2.GaussianBlur(frame, (0, 0), film.defocus)
        if film.resolution < 1:
            size = round(width * film.resolution), round(height * film.resolution)
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        rows, columns = frame.shape[:2]
        offsets = rng.integers(0, _NOISE_MARGIN, (3, 2))
        noise = [self.noise[top : top + rows, left : left + columns] for top, left in offsets]
        frame = cv2.add(frame, cv2.merge(noise), dtype=cv2.CV_8U)
        if film.quality is not None:
            frame = _compressed(frame, film.quality)
        if film.resolution < 1:
            frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
        return frame


def _assembled(sprite: Sprite, level: int, motion: Motion, index: int) -> np.ndarray:
    """The parts of a sprite, swung and laid over each other."""
    side = sprite.side >> level
    canvas = np.zeros((side, side, 4), np.uint8)
    for layer in sprite.layers:
        image = layer.levels[level]
        height, width = image.shape[:2]
        left, top = (offset >> level for offset in layer.corner)
        if layer.swing:
            angle = layer.swing * np.sin(motion.phase[index])
            pivot = (layer.pivot + 0.5 + MARGIN) * side / (1 + 2 * MARGIN) - 0.5 - (left, top)
            rotation = cv2.getRotationMatrix2D(pivot.tolist(), -np.degrees(angle), 1)
            image = cv2.warpAffine(image, rotation, (width, height))
        _lay_over(canvas[top : top + height, left : left + width], image)
    return canvas


def _lay_over(region: np.ndarray, image: np.ndarray) -> None:
    """Blend premultiplied RGBA over an RGB or RGBA region of the same size, in place."""
    channels = region.shape[2]
    clear = cv2.merge([255 - image[..., 3]] * channels)
    region[:] = cv2.add(cv2.multiply(region, clear, scale=1 / 255), image[..., :channels])


def _bent(canvas: np.ndarray, motion: Motion, index: int) -> np.ndarray:
    """The canvas bent along the motion's waves."""
    if not motion.bend[index].any():
        return canvas
    side = len(canvas)
    unit = np.float32(side / (1 + 2 * MARGIN))
    ticks = (np.arange(side, dtype=np.float32) + np.float32(0.5)) / unit - np.float32(0.5 + MARGIN)
    amplitude, phase = motion.bend[index].astype(np.float32), np.float32(motion.phase[index])
    waves = motion.waves.astype(np.float32)
    y = ticks[:, None] - amplitude[1] * np.sin(waves[1] * ticks + phase)
    x = ticks - amplitude[0] * np.sin(waves[0] * y + phase)
    shift = np.float32(0.5 + MARGIN)
    half = np.float32(0.5)
    return cv2.remap(canvas, (x + shift) * unit - half, (y + shift) * unit - half, cv2.INTER_LINEAR)


def _compressed(image: np.ndarray, quality: int) -> np.ndarray:
    """The image with the artefacts of JPEG."""
    _, code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(code, cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded


def _streaked(image: np.ndarray, streak: np.ndarray) -> np.ndarray:
    """Motion blur along a straight line ``(2,)`` [px]."""
    length = float(np.linalg.norm(streak))
    if length < 1.5:
        return image
    streak = streak * min(1.0, _LONGEST_BLUR / length)
    reach = int(np.ceil(np.abs(streak).max() / 2))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    steps = np.linspace(-0.5, 0.5, 4 * reach + 1)[:, None] * streak
    cells = np.round(steps).astype(int) + reach
    np.add.at(kernel, (cells[:, 1], cells[:, 0]), 1)
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)
