"""Things that move through a synthetic video: their outlines, poses and boxes, without a pixel.

An actor lives in the *unit square*, ``[-0.5, 0.5]^2``, where its outlines touch all four sides.
Three invertible maps, each a function of the frame, take a point of it to the image: every part
swings about its pivot, the whole bends along two sine waves, and a plane homography sets size,
angle, perspective and place. Boxes follow from the mapped outlines, pixels from the inverse maps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

MARGIN = 0.3
"""How far a bent or swung part may reach beyond the unit square, in units of its side."""
_MASK_SIDE = 64
_GRID_SIDE = 20


@dataclass(frozen=True, eq=False)
class Shape:
    """Outlines in the unit square.

    Attributes:
        outlines: closed polygons ``(P, 2)``, one a part, painted in this order.
        pivots: ``(parts, 2)``, the points about which the parts swing.
        swings: ``(parts,)`` [rad] amplitudes of the swings, signed.
        aspect: width over height that suits the shape.
    """

    outlines: tuple[np.ndarray, ...]
    pivots: np.ndarray
    swings: np.ndarray
    aspect: float

    @property
    def successors(self) -> np.ndarray:
        """For every vertex of all outlines the index of the next one of its outline."""
        counts = [len(outline) for outline in self.outlines]
        following = [np.roll(np.arange(count), -1) for count in counts]
        offsets = np.cumsum([0, *counts[:-1]])
        return np.concatenate([f + offset for f, offset in zip(following, offsets, strict=True)])

    def mask(self, side: int) -> np.ndarray:
        """Boolean ``(side, side)`` raster of the parts at rest over the unit square and margin."""
        canvas = np.zeros((side, side), np.uint8)
        for outline in self.outlines:
            cv2.fillPoly(canvas, [canvas_pixels(outline, side)], 1, cv2.LINE_8, SUBPIXEL_BITS)
        return canvas > 0


SUBPIXEL_BITS = 4


def canvas_pixels(points: np.ndarray, side: int) -> np.ndarray:
    """Unit-square points as OpenCV's fixed-point pixels of a square canvas with margins."""
    pixels = (points + 0.5 + MARGIN) * side / (1 + 2 * MARGIN) - 0.5
    return np.round(pixels * (1 << SUBPIXEL_BITS)).astype(np.int32)


def _normalised(
    outlines: list[np.ndarray], pivots: np.ndarray, swings: np.ndarray, aspect: float
) -> Shape:
    points = np.concatenate(outlines)
    low, span = points.min(0), np.ptp(points, axis=0)
    return Shape(
        tuple((outline - low) / span - 0.5 for outline in outlines),
        (pivots - low) / span - 0.5,
        swings,
        aspect,
    )


def _rigid(outlines: list[np.ndarray], aspect: float) -> Shape:
    count = len(outlines)
    return _normalised(outlines, np.zeros((count, 2)), np.zeros(count), aspect)


def _ellipse(centre: tuple[float, float], radii: tuple[float, float], power: float) -> np.ndarray:
    """Superellipse: power 2 is an ellipse, larger ones tend to a rectangle."""
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], -1)
    return np.sign(ring) * np.abs(ring) ** (2 / power) * radii + centre


def _blob(rng: np.random.Generator) -> Shape:
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)[:, None]
    waves = np.arange(1, 7)
    weights = rng.normal(0, 0.35, 6) / waves
    radius = np.exp((weights * np.cos(waves * angle + rng.uniform(0, 6.3, 6))).sum(-1))
    outline = radius[:, None] * np.concatenate([np.cos(angle), np.sin(angle)], -1)
    return _rigid([outline], float(np.exp(rng.normal(0, 0.4))))


def _polygon(rng: np.random.Generator) -> Shape:
    corners = int(rng.integers(3, 9))
    angle = np.sort(np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) * (2 * np.pi / corners)
    points = rng.uniform(0.5, 1, (corners, 1)) * np.stack([np.cos(angle), np.sin(angle)], -1)
    steps = np.linspace(0, 1, 8, endpoint=False)[:, None]
    edges = points[:, None] * (1 - steps) + np.roll(points, -1, axis=0)[:, None] * steps
    return _rigid([edges.reshape(-1, 2)], float(np.exp(rng.normal(0, 0.4))))


def _vehicle(rng: np.random.Generator) -> Shape:
    cabin, wheel = rng.uniform(0.2, 0.7), rng.uniform(0.1, 0.22)
    parts = [
        _ellipse((rng.uniform(-0.3, 0.3), -0.35), (cabin, 0.3), rng.uniform(2, 6)),
        _ellipse((0, 0), (1, rng.uniform(0.2, 0.45)), rng.uniform(3, 8)),
        *(_ellipse((x * rng.uniform(0.5, 0.8), 0.3), (wheel, wheel), 2) for x in (-1, 1)),
    ]
    return _rigid(parts, rng.uniform(1.3, 2.6))


def _walker(rng: np.random.Generator) -> Shape:
    width, head = rng.uniform(0.22, 0.38), rng.uniform(0.13, 0.2)
    limb = rng.uniform(0.07, 0.13)
    hips, shoulders = (0.0, 0.1), (0.0, -0.45)
    parts = [
        _ellipse((-0.08, 0.52), (limb, 0.48), 3),
        _ellipse((width, -0.12), (limb * 0.8, 0.38), 3),
        _ellipse((0.08, 0.52), (limb, 0.48), 3),
        _ellipse((0, -0.18), (width, 0.4), rng.uniform(2, 5)),
        _ellipse((0, -0.7), (head, 0.17), 2),
        _ellipse((-width, -0.12), (limb * 0.8, 0.38), 3),
    ]
    stride = rng.uniform(0.1, 0.45)
    pivots = np.array([hips, shoulders, hips, (0, 0), (0, -0.5), shoulders])
    swings = stride * np.array([1, 0.8, -1, 0, rng.uniform(0, 0.3), -0.8])
    return _normalised(parts, pivots, swings, rng.uniform(0.3, 0.5))


def _flyer(rng: np.random.Generator) -> Shape:
    wing = rng.uniform(0.15, 0.35)
    parts = [
        _ellipse((-0.55, 0), (0.5, wing), rng.uniform(1.5, 3)),
        _ellipse((0.55, 0), (0.5, wing), rng.uniform(1.5, 3)),
        _ellipse((0, 0), (rng.uniform(0.12, 0.3), rng.uniform(0.4, 0.6)), 2),
    ]
    beat = rng.uniform(0.1, 0.5)
    return _normalised(parts, np.zeros((3, 2)), np.array([beat, -beat, 0]), rng.uniform(0.9, 2.2))


def _bar(rng: np.random.Generator) -> Shape:
    return _rigid([_ellipse((0, 0), (1, 1), 30.0)], float(rng.uniform(0.1, 0.4)))


_SHAPES: tuple[Callable[[np.random.Generator], Shape], ...] = (
    _blob, _blob, _polygon, _vehicle, _walker, _walker, _flyer,
)  # fmt: skip


def draw_shape(rng: np.random.Generator) -> Shape:
    """A random shape: a blob, a polygon, or something with a body and parts."""
    return _SHAPES[rng.integers(len(_SHAPES))](rng)


def draw_screen(rng: np.random.Generator) -> Shape:
    """A random rigid shape to hide things behind: a pillar, a wall or a bush."""
    return _bar(rng) if rng.random() < 0.5 else _blob(rng)


def trace(alpha: np.ndarray) -> Shape:
    """The rigid shape of a cut-out's opaque pixels.

    Args:
        alpha: uint8 ``(h, w)``, trimmed so that opaque pixels touch all four sides.
    """
    height, width = alpha.shape
    inside = (alpha > 127).astype(np.uint8)
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    kept = sorted(contours, key=cv2.contourArea)[-4:]
    outlines = [cv2.approxPolyDP(c, 0.5, True)[:, 0].astype(np.float64) for c in kept]
    span = np.array([max(width - 1, 1), max(height - 1, 1)], np.float64)
    count = len(outlines)
    unit = tuple(outline / span - 0.5 for outline in outlines)
    return Shape(unit, np.zeros((count, 2)), np.zeros(count), width / height)


@dataclass(frozen=True, eq=False)
class Motion:
    """How an actor is posed in each of ``T`` frames.

    Attributes:
        centre: ``(T, 2)`` [px] image position of the unit square's centre.
        size: ``(T, 2)`` [px] sides of the unit square in the image.
        angle: ``(T,)`` [rad] rotation.
        tilt: ``(T, 2)`` perspective: relative change of depth across the unit square.
        bend: ``(T, 2)`` amplitudes of the waves along x and y, in units of the sides.
        phase: ``(T,)`` [rad] phase of waves and swings.
        waves: ``(2,)`` [rad] wave numbers over the unit square.
    """

    centre: np.ndarray
    size: np.ndarray
    angle: np.ndarray
    tilt: np.ndarray
    bend: np.ndarray
    phase: np.ndarray
    waves: np.ndarray

    @cached_property
    def homographies(self) -> np.ndarray:
        """``(T, 3, 3)`` maps from the bent unit square to continuous image pixels."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        linear = np.stack([cos, -sin, sin, cos], -1).reshape(-1, 2, 2)
        matrix = np.empty((len(cos), 3, 3))
        matrix[:, :2, :2] = linear * self.size[:, None]
        matrix[:, :2, :2] += self.centre[:, :, None] * self.tilt[:, None]
        matrix[:, :2, 2] = self.centre
        matrix[:, 2, :2] = self.tilt
        matrix[:, 2, 2] = 1
        return matrix

    def bend_points(self, points: np.ndarray, frames: slice | np.ndarray) -> np.ndarray:
        """Bend unit-square points ``(2, t, P)``: x along y, then y along the new x."""
        if not self.bend.any():
            return points
        (x, y), (a, b, phase) = points, self._wave(frames)
        x = x + a * _sine(self.waves[0] * y + phase)
        return np.stack([x, y + b * _sine(self.waves[1] * x + phase)])

    def unbend_points(self, points: np.ndarray, frames: slice | np.ndarray) -> np.ndarray:
        """The inverse of `bend_points`."""
        if not self.bend.any():
            return points
        (x, y), (a, b, phase) = points, self._wave(frames)
        y = y - b * _sine(self.waves[1] * x + phase)
        return np.stack([x - a * _sine(self.waves[0] * y + phase), y])

    def _wave(self, frames: slice | np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        bend = self.bend[frames]
        return bend[:, :1], bend[:, 1:], self.phase[frames][:, None]


@dataclass(frozen=True)
class Look:
    """What an actor looks like; equal looks are painted once.

    Attributes:
        shape_seed: draws the outlines (without meaning for a cut-out).
        texture_seed: draws colours and pattern (for a cut-out: nothing).
        cutout: index of a user's cut-out, or None for a procedural actor.
        screen: the shape is one to hide things behind.
        camouflage: its colours are taken from the background.
    """

    shape_seed: int
    texture_seed: int
    cutout: int | None = None
    screen: bool = False
    camouflage: bool = False


@dataclass(frozen=True, eq=False)
class Actor:
    """A shape that moves, and what it looks like.

    Attributes:
        shape: outlines in the unit square.
        motion: pose in each frame.
        look: how to paint it.
        fade: ``(T,)`` share of the second of its two textures, in [0, 1].
    """

    shape: Shape
    motion: Motion
    look: Look
    fade: np.ndarray

    @cached_property
    def _vertices(self) -> np.ndarray:
        """All outlines' vertices ``(2, T, V)`` in the image."""
        shape, swing = self.shape, np.sin(self.motion.phase)
        parts = [
            _rotated(outline - pivot, swing * amplitude) + pivot[:, None, None]
            for outline, pivot, amplitude in zip(
                shape.outlines, shape.pivots, shape.swings, strict=True
            )
        ]
        return self._place(np.concatenate(parts, -1))

    def _place(self, points: np.ndarray) -> np.ndarray:
        """Image positions of unit-square points ``(2, T, P)``."""
        bent = self.motion.bend_points(points, slice(None))
        return _projected(self.motion.homographies, bent)

    @cached_property
    def extent(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner ``(T, 2)`` [px] of the outlines, in the frame or not."""
        return self._vertices.min(-1).T, self._vertices.max(-1).T

    def boxes(self, frame_size: tuple[int, int]) -> np.ndarray:
        """Tight xywh boxes ``(T, 4)`` of what lies in the frame; zeros where nothing does."""
        size = np.asarray(frame_size, np.float64)
        low, high = (corner.copy() for corner in self.extent)
        meets = ((low < size) & (high > 0)).all(-1)
        cut = np.flatnonzero(meets & ((low < 0) | (high > size)).any(-1))
        starts = self._vertices[:, cut]
        low[cut], high[cut] = _clipped_extent(starts, starts[:, :, self.shape.successors], size)
        boxes = np.concatenate([low, high - low], -1)
        boxes[~(meets & (boxes[:, 2:] > 0).all(-1))] = 0
        return boxes

    def interior(self) -> np.ndarray:
        """Some hundred points ``(2, T, P)`` [px] spread evenly over the actor, parts at rest."""
        rows, columns = np.nonzero(self.shape.mask(_GRID_SIDE))
        points = (np.stack([columns, rows]) + 0.5) / _GRID_SIDE * (1 + 2 * MARGIN) - 0.5 - MARGIN
        return self._place(np.repeat(points[:, None], len(self.fade), axis=1))

    def covers(self, points: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """Whether the actor, parts at rest, covers image points ``(2, t, P)``: ``(t, P)``."""
        inverse = np.linalg.inv(self.motion.homographies[frames])
        unit = self.motion.unbend_points(_projected(inverse, points), frames)
        mask = self.shape.mask(_MASK_SIDE)
        cell = np.floor((unit + 0.5 + MARGIN) / (1 + 2 * MARGIN) * _MASK_SIDE).astype(np.int64)
        known = ((cell >= 0) & (cell < _MASK_SIDE)).all(0)
        column, row = np.clip(cell, 0, _MASK_SIDE - 1)
        return known & mask[row, column]


def _sine(angle: np.ndarray) -> np.ndarray:
    # Single precision is several times as fast and exact to a ten-thousandth of a pixel.
    return np.sin(angle.astype(np.float32))


def _rotated(points: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Points ``(P, 2)`` rotated by every one of ``(T,)`` angles: ``(2, T, P)``."""
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    x, y = points.T
    return np.stack([cos * x - sin * y, sin * x + cos * y])


def _projected(matrices: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points ``(2, t, P)`` through homographies ``(t, 3, 3)``."""
    x, y = points
    u, v, w = (row[:, :1] * x + row[:, 1:2] * y + row[:, 2:] for row in matrices.swapaxes(0, 1))
    return np.stack([u, v]) / w


def _clipped_extent(
    starts: np.ndarray, ends: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Extent of polygons inside a frame: their edges, clipped, and the frame's corners they hold.

    Edges are clipped after Liang and Barsky (1984).

    Args:
        starts: ``(2, t, E)`` starts of edges.
        ends: ``(2, t, E)`` ends of edges.
        size: width and height of the frame.

    Returns:
        Lowest and highest corners ``(t, 2)``; the lowest is +inf where nothing is inside.
    """
    step = ends - starts
    step = np.where(np.abs(step) < 1e-9, 1e-9, step)
    first, second = -starts / step, (size[:, None, None] - starts) / step
    enter = np.maximum(np.minimum(first, second).max(0), 0)
    leave = np.minimum(np.maximum(first, second).min(0), 1)
    corners = np.array([[0, 1, 0, 1], [0, 0, 1, 1]]) * size[:, None]
    points = np.concatenate(
        [
            starts + enter * step,
            starts + leave * step,
            np.repeat(corners[:, None], step.shape[1], axis=1),
        ],
        -1,
    )
    inside = np.concatenate([enter <= leave, enter <= leave, _wound(corners, starts, ends)], -1)
    low = points.min(-1, where=inside, initial=np.inf)
    high = points.max(-1, where=inside, initial=-np.inf)
    return low.T, high.T


def _wound(points: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Whether polygons with edges ``(2, t, E)`` wind around points ``(2, P)``: bool ``(t, P)``."""
    ax, ay = starts[:, :, None] - points[:, None, :, None]
    bx, by = ends[:, :, None] - points[:, None, :, None]
    side = ax * by - ay * bx
    up, down = (ay <= 0) & (by > 0) & (side > 0), (ay > 0) & (by <= 0) & (side < 0)
    return up.sum(-1) != down.sum(-1)
