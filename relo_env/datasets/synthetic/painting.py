"""The pixels of a synthetic video before anything moves: textures, backgrounds and sprites."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from relo_env.datasets.synthetic.shapes import MARGIN, SUBPIXEL_BITS, Shape, canvas_pixels

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_LETTERS = "ABCDEFGHKLMNPRSTUXYZ0123456789"
_THICKNESSES = (-1, 1, 1, 2, 4)


def draw_palette(rng: np.random.Generator) -> np.ndarray:
    """Four colours that go together: uint8 ``(4, 3)`` RGB."""
    hue = rng.uniform(0, 180) + rng.normal(0, rng.choice([6, 20, 60]), 4)
    saturation = 255 * np.clip(rng.beta(1.2, 2.8) + rng.normal(0, 0.1, 4), 0, 1)
    value = 255 * np.clip(rng.uniform(0.25, 0.8) + rng.uniform(-0.4, 0.4, 4), 0.05, 1)
    hsv = np.stack([hue % 180, saturation, value], -1).astype(np.uint8)
    return cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0]


def _clouds(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Noise of several octaves, float32 ``(h, w)`` of zero mean and unit sd."""
    roughness = rng.uniform(0.4, 0.9)
    octaves = int(np.log2(max(height, width) / rng.uniform(1.5, 6)))
    field: np.ndarray = np.zeros((1, 1), np.float32)
    for octave in range(int(rng.integers(1, 3)), octaves + 1):
        shape = (
            height * 2**octave // max(height, width) + 2,
            width * 2**octave // max(height, width) + 2,
        )
        field = cv2.resize(field, shape[::-1], interpolation=cv2.INTER_LINEAR)
        field = field + np.float32(roughness**octave) * rng.standard_normal(shape, np.float32)
    field = cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR)
    mean, sd = cv2.meanStdDev(field)
    return (field - np.float32(mean[0, 0])) / np.float32(max(sd[0, 0], 1e-3))


def _wave(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Distance along a random direction, slightly distorted, in [rad] of a repeating pattern."""
    angle = rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)])
    count = rng.uniform(2, 14) * 2 * np.pi / max(height, width)
    x = np.arange(width, dtype=np.float32) * np.float32(count * np.cos(angle))
    y = np.arange(height, dtype=np.float32) * np.float32(count * np.sin(angle))
    return y[:, None] + x[None]


def _stripes(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    bands = np.sin(_wave(rng, height, width) + rng.uniform(0, 1.5) * _clouds(rng, height, width))
    return np.tanh(bands * rng.uniform(1, 6))


def _checks(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return np.sign(np.sin(_wave(rng, height, width)) * np.sin(_wave(rng, height, width)))


def _spots(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return np.tanh(rng.uniform(2, 8) * (_clouds(rng, height, width) - rng.normal(0, 0.7)))


def _slope(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    ramp = _wave(rng, height, width)
    return 3 * (ramp - ramp.mean()) / max(float(np.ptp(ramp)), 1e-3)


_PATTERNS = (_clouds, _stripes, _checks, _spots, _slope)


def paint_texture(
    rng: np.random.Generator, palette: np.ndarray, height: int, width: int
) -> np.ndarray:
    """A pattern with some noise in the colours of a palette: uint8 ``(h, w, 3)``."""
    pattern = _PATTERNS[rng.integers(len(_PATTERNS))](rng, height, width)
    field = pattern + rng.uniform(0.1, 0.8) * _clouds(rng, height, width)
    level = np.clip(field * 50 + 128, 0, 255).astype(np.uint8)
    stops = palette[rng.permutation(len(palette))]
    at = np.linspace(0, 255, len(stops))
    table = np.stack([np.interp(np.arange(256), at, channel) for channel in stops.T], -1)
    return cv2.LUT(cv2.merge([level] * 3), table.astype(np.uint8)[:, None])


def _colour(rng: np.random.Generator, palette: np.ndarray) -> tuple[int, int, int]:
    mixed = palette[rng.integers(len(palette))] + rng.normal(0, 15, 3)
    red, green, blue = np.clip(mixed, 0, 255).astype(int).tolist()
    return red, green, blue


def _scatter(rng: np.random.Generator, canvas: np.ndarray, palette: np.ndarray, count: int) -> None:
    """Draw lines, boxes, ellipses and letters of many sizes onto a canvas."""
    height, width = canvas.shape[:2]
    for _ in range(count):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        reach = max(int(max(height, width) * 0.3 * rng.uniform(0.05, 1) ** 2), 2)
        dx, dy = (int(d) for d in rng.integers(-reach, reach + 1, 2))
        colour, thick = _colour(rng, palette), _THICKNESSES[rng.integers(len(_THICKNESSES))]
        kind = rng.integers(9)
        if kind < 2:
            cv2.line(canvas, (x, y), (x + dx, y + dy), colour, abs(thick), cv2.LINE_AA)
        elif kind < 4:
            cv2.rectangle(canvas, (x, y), (x + dx, y + dy), colour, thick)
        elif kind < 6:
            axes, angle = (abs(dx) + 1, abs(dy) + 1), float(rng.uniform(0, 180))
            cv2.ellipse(canvas, (x, y), axes, angle, 0, 360, colour, thick, cv2.LINE_AA)
        elif kind < 8:
            corners = np.array([x, y]) + rng.integers(-reach, reach + 1, (rng.integers(3, 6), 2))
            cv2.fillPoly(canvas, [corners.astype(np.int32)], colour, cv2.LINE_AA)
        else:
            text = "".join(
                _LETTERS[i] for i in rng.integers(len(_LETTERS), size=rng.integers(1, 5))
            )
            scale = min(max(reach / 60, 0.25), 1.0)
            cv2.putText(canvas, text, (x, y), _FONT, scale, colour, max(thick, 1), cv2.LINE_AA)


def _grid(rng: np.random.Generator, canvas: np.ndarray, palette: np.ndarray) -> None:
    """Draw one small motif again and again, as windows, tiles, fences and parked cars are."""
    height, width = canvas.shape[:2]
    step_x, step_y = (int(step) for step in rng.integers(14, 70, 2))
    x0, y0 = int(rng.integers(width // 2)), int(rng.integers(height // 2))
    motif = canvas[:step_y, :step_x].copy()
    _scatter(rng, motif, palette, int(rng.integers(1, 4)))
    columns, rows = (int(count) for count in rng.integers(2, 9, 2))
    tiled = np.tile(motif, (rows, columns, 1))[: height - y0, : width - x0]
    canvas[y0 : y0 + tiled.shape[0], x0 : x0 + tiled.shape[1]] = tiled


def paint_background(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A procedural scenery: textured regions, repeated motifs, clutter; uint8 ``(h, w, 3)``."""
    palette = draw_palette(rng)
    canvas = paint_texture(rng, palette, height, width)
    for _ in range(rng.integers(0, 3)):
        colours = palette if rng.random() < 0.5 else draw_palette(rng)
        region = np.zeros((height, width), np.uint8)
        angle = rng.uniform(0, 2 * np.pi)
        middle = rng.uniform(0.2, 0.8, 2) * (width, height)
        along = 2 * width * np.array([np.cos(angle), np.sin(angle)])
        across = np.array([-along[1], along[0]]) * rng.choice([1, rng.uniform(0.02, 0.15)])
        corners = np.stack([middle - along, middle + along])
        polygon = np.concatenate([corners, corners[::-1] + across]).astype(np.int32)
        cv2.fillPoly(region, [polygon], 255, cv2.LINE_AA)
        texture = paint_texture(rng, colours, height // 2, width // 2)
        canvas = cv2.copyTo(cv2.resize(texture, (width, height)), region, canvas)
    for _ in range(rng.integers(0, 3)):
        _grid(rng, canvas, palette)
    clutter = draw_palette(rng) if rng.random() < 0.5 else palette
    _scatter(rng, canvas, clutter, int(rng.choice([0, 10, 40, 120])))
    return cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.4, 1.6))


def fit_photo(photo: np.ndarray, width: int, height: int) -> np.ndarray:
    """A photograph scaled to cover ``width`` x ``height``, its aspect kept."""
    ratio = max(width / photo.shape[1], height / photo.shape[0])
    size = round(photo.shape[1] * ratio), round(photo.shape[0] * ratio)
    return cv2.resize(photo, size, interpolation=cv2.INTER_LINEAR)


def pick_palette(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Four colours of an image: uint8 ``(4, 3)``."""
    pixels = image.reshape(-1, 3)
    return pixels[rng.integers(len(pixels), size=4)]


@dataclass(frozen=True, eq=False)
class Layer:
    """One part of an actor, cut from the sprite's canvas with room to swing.

    Attributes:
        levels: a pyramid, finest first: uint8 RGBA, colours multiplied by alpha.
        corner: left and top [px] on the finest canvas, multiples of the pyramid's last step.
        pivot: ``(2,)`` in the unit square.
        swing: [rad] amplitude.
    """

    levels: tuple[np.ndarray, ...]
    corner: tuple[int, int]
    pivot: np.ndarray
    swing: float


@dataclass(frozen=True, eq=False)
class Sprite:
    """An actor's paint, on a square canvas that shows the unit square and a margin.

    Attributes:
        side: [px] of the finest canvas.
        layers: its parts, the rearmost first.
    """

    side: int
    layers: tuple[Layer, ...]


_SIDES = (64, 128, 192, 256)
LEVELS = 4
"""Steps of a sprite's pyramid, each half as fine as the one before."""


def paint_sprite(
    rng: np.random.Generator, shape: Shape, palette: np.ndarray, resolution: float
) -> Sprite:
    """Paint a shape in textures of a palette, fine enough to be ``resolution`` px large."""
    side = _canvas_side(resolution)
    coats = [_coat(rng, palette, side) for _ in range(min(len(shape.outlines), 2))]
    layers = []
    for part, outline in enumerate(shape.outlines):
        alpha = np.zeros((side, side), np.uint8)
        pixels = canvas_pixels(outline, side)
        cv2.fillPoly(alpha, [pixels], 255, cv2.LINE_AA, SUBPIXEL_BITS)
        colours = coats[part % len(coats)]
        if rng.random() < 0.5:
            edge = tuple(channel // 2 for channel in _colour(rng, palette))
            colours = colours.copy()
            cv2.polylines(colours, [pixels], True, edge, 2, cv2.LINE_AA, SUBPIXEL_BITS)
        layers.append(_layer(colours, alpha, shape.pivots[part], float(shape.swings[part])))
    return Sprite(side, tuple(layers))


def cutout_sprite(image: np.ndarray, resolution: float) -> Sprite:
    """The sprite of a cut-out, uint8 RGBA ``(h, w, 4)``."""
    side = _canvas_side(resolution)
    inner = side / (1 + 2 * MARGIN)
    height, width = image.shape[:2]
    shrunk = max(min(width, round(inner)), 1), max(min(height, round(inner)), 1)
    image = cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA)
    scale = inner / np.array(shrunk)
    matrix = np.zeros((2, 3))
    matrix[:, :2] = np.diag(scale)
    matrix[:, 2] = (side - inner + scale - 1) / 2
    canvas = cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.warpAffine(image[..., 3], matrix, (side, side))
    return Sprite(side, (_layer(canvas[..., :3], alpha, np.zeros(2), 0.0),))


def _canvas_side(resolution: float) -> int:
    wanted = resolution * (1 + 2 * MARGIN)
    return next((side for side in _SIDES if side >= wanted), _SIDES[-1])


def _coat(rng: np.random.Generator, palette: np.ndarray, side: int) -> np.ndarray:
    """Texture with details, shaded from one side."""
    coat = paint_texture(rng, palette, side, side)
    _scatter(rng, coat, palette, int(rng.integers(0, 12)))
    light = np.clip(255 * (0.8 + 0.12 * _slope(rng, side, side)), 0, 255).astype(np.uint8)
    return cv2.multiply(coat, cv2.merge([light] * 3), scale=1 / 255)


def _layer(colours: np.ndarray, alpha: np.ndarray, pivot: np.ndarray, swing: float) -> Layer:
    """Cut a part out of its canvas, with room to swing, and shrink it again and again."""
    side, step = len(alpha), 1 << (LEVELS - 1)
    left, top, width, height = cv2.boundingRect(alpha)
    at = (pivot + 0.5 + MARGIN) * side / (1 + 2 * MARGIN)
    corners = np.array([[left, top], [left + width, top], [left, top + height]])
    farthest = np.linalg.norm([*(corners - at), [left + width, top + height] - at], axis=-1).max()
    room = 1 + int(np.ceil(farthest * abs(swing)))
    left, top = (max(low - room, 0) // step * step for low in (left, top))
    right = min(-(-(left + width + 3 * room) // step) * step, side)
    bottom = min(-(-(top + height + 3 * room) // step) * step, side)
    area = slice(top, bottom), slice(left, right)
    cover = np.ascontiguousarray(alpha[area])
    solid = cv2.multiply(colours[area], cv2.merge([cover] * 3), scale=1 / 255)
    levels = [cv2.merge([*cv2.split(solid), cover])]
    for _ in range(LEVELS - 1):
        size = levels[-1].shape[1] // 2, levels[-1].shape[0] // 2
        levels.append(cv2.resize(levels[-1], size, interpolation=cv2.INTER_AREA))
    return Layer(tuple(levels), (left, top), pivot, swing)
