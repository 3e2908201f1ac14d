"""Things that move through a synthetic video: their poses and boxes, without a pixel.

Three invertible maps, each a function of the frame, take a point of an actor's unit square to the
image: every part swings about its pivot, the whole bends along two sine waves, and a homography
sets size, angle, perspective and place. Boxes follow from the mapped outlines, pixels from the
inverse maps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from relo_env.datasets.synthetic.shapes import MARGIN, Shape

_MASK_SIDE = 64
_GRID_SIDE = 20


@dataclass(frozen=True, eq=False)
class Motion:
    """Pose of an actor in each of ``T`` frames.

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
    """Look of an actor; equal looks are painted once.

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
        fade: ``(T,)`` place in the row of its textures: 1.25 is three parts of the second and one
            of the third.
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
        """Mask ``(t, P)`` of image points ``(2, t, P)`` covered by the actor with parts at rest."""
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
    """Lowest and highest corner ``(t, 2)`` of polygons inside a frame; +inf where nothing is.

    Edges, from ``starts`` to ``ends`` ``(2, t, E)``, are clipped after Liang and Barsky (1984);
    corners of the frame count where a polygon holds them.
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
    return np.maximum(low.T, 0), np.minimum(high.T, size)


def _wound(points: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Mask ``(t, P)`` of points ``(2, P)`` inside polygons with edges ``(2, t, E)``."""
    ax, ay = starts[:, :, None] - points[:, None, :, None]
    bx, by = ends[:, :, None] - points[:, None, :, None]
    side = ax * by - ay * bx
    up, down = (ay <= 0) & (by > 0) & (side > 0), (ay > 0) & (by <= 0) & (side < 0)
    return up.sum(-1) != down.sum(-1)
