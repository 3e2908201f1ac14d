"""Boxes: forms, overlap and clipping, on float arrays ``(..., 4)``.

Two forms exist. ``xywh`` = left, top, width, height in image pixels, top-left origin, is the
public one. ``cxcywh01`` = centre and size as fractions of a crop is the one inside proposers and
networks. A function that takes another form says so in its name.
"""

from __future__ import annotations

import numpy as np

MARGIN = 10.0
"""[px] least side of a clipped box and least overlap with the frame (official behaviour)."""


def xywh_to_cxcywh(boxes: np.ndarray) -> np.ndarray:
    """Left-top form to centre form; same units."""
    boxes = np.asarray(boxes, dtype=np.float64)
    return np.concatenate([boxes[..., :2] + boxes[..., 2:] / 2, boxes[..., 2:]], axis=-1)


def cxcywh_to_xywh(boxes: np.ndarray) -> np.ndarray:
    """Centre form to left-top form; same units."""
    boxes = np.asarray(boxes, dtype=np.float64)
    return np.concatenate([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., 2:]], axis=-1)


def _corners(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    boxes = np.asarray(boxes, dtype=np.float64)
    return boxes[..., :2], boxes[..., :2] + boxes[..., 2:]


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of xywh boxes, broadcast over leading axes; in [0, 1].

    Boxes are continuous rectangles. A union without area gives 0, never NaN.
    """
    (a0, a1), (b0, b1) = _corners(a), _corners(b)
    overlap = np.clip(np.minimum(a1, b1) - np.maximum(a0, b0), 0, None).prod(-1)
    union = (a1 - a0).prod(-1) + (b1 - b0).prod(-1) - overlap
    return np.divide(overlap, union, out=np.zeros_like(union), where=union > 0)


def clip(boxes: np.ndarray, frame_size: tuple[int, int], margin: float = MARGIN) -> np.ndarray:
    """Clip xywh boxes to a frame as the official tracker does.

    Args:
        boxes: ``(..., 4)`` xywh pixels.
        frame_size: (width, height) of the frame in pixels.
        margin: sides and overlap with the frame are at least this many pixels.

    Returns:
        Clipped boxes: left in ``[0, W - margin]``, right in ``[margin, W]``, sides at least
        ``margin``. In a frame smaller than the margin the box may reach beyond it.
    """
    low, high = _corners(boxes)
    size = np.asarray(frame_size, dtype=np.float64)
    low = np.minimum(np.maximum(low, 0.0), size - margin)
    high = np.minimum(np.maximum(high, margin), size)
    return np.concatenate([low, np.maximum(high - low, margin)], axis=-1)


def clip_to_unit(boxes: np.ndarray) -> np.ndarray:
    """Clip xywh boxes ``(..., 4)`` to the unit square: fractions of a crop to the crop."""
    return clip(boxes, (1, 1), margin=0.0)
