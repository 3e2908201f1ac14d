"""Outlines of procedural objects and of cut-outs.

Outlines lie in the *unit square*, ``[-0.5, 0.5]^2``, and at rest touch all four of its sides. The
*canvas* is the unit square with `MARGIN` around it, in which parts may swing and the whole bend.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

MARGIN = 0.3
"""Reach of a bent or swung part beyond the unit square, in units of its side."""
SUBPIXEL_BITS = 4
"""Fractional bits of the pixels that `canvas_pixels` gives, for OpenCV's ``shift``."""


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


def _at_rest(outlines: tuple[np.ndarray, ...], aspect: float) -> Shape:
    """Shape whose parts do not swing."""
    count = len(outlines)
    return Shape(outlines, np.zeros((count, 2)), np.zeros(count), aspect)


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


def draw_wall() -> Shape:
    """The whole unit square."""
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    return _at_rest((corners,), 1.0)


def trace(alpha: np.ndarray) -> Shape:
    """Rigid shape of a cut-out's opaque pixels, which touch all four sides of ``alpha``."""
    height, width = alpha.shape
    inside = (alpha > 127).astype(np.uint8)
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    kept = sorted(contours, key=cv2.contourArea)[-4:]
    outlines = [cv2.approxPolyDP(c, 0.5, True)[:, 0].astype(np.float64) for c in kept]
    span = np.array([max(width - 1, 1), max(height - 1, 1)], np.float64)
    return _at_rest(tuple(outline / span - 0.5 for outline in outlines), width / height)
