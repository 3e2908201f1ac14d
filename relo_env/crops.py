"""Crop geometry: the square search window of a frame, and its crop.

Two variants share one interface. The default maps exactly: crop pixels are samples of the frame
at their own centres, and ``to_image(to_crop(box)) == box``. ``official=True`` reproduces the
public RELO code bit for bit, with its faults: the corner is
rounded but the rounding is not carried, a crop that just fits loses its last row and column, and
boxes are divided by ``S - 1`` on the way in but multiplied by ``S`` on the way out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from relo_env.boxes import cxcywh_to_xywh, xywh_to_cxcywh
from relo_env.errors import ConfigError


@dataclass(frozen=True)
class SearchWindow:
    """A square region of the frame and the size of the crop made of it.

    Attributes:
        anchor: the box that it is centred on, xywh in image pixels.
        side: [px] side of the window in the image.
        size: [px] side S of the crop.
        official: reproduce the official geometry instead of the exact one.
    """

    anchor: tuple[float, float, float, float]
    side: float
    size: int
    official: bool = False

    @classmethod
    def around(
        cls, box: np.ndarray, factor: float, size: int, official: bool = False
    ) -> SearchWindow:
        """Window centred on a box, ``factor`` times as wide as the root of the box's area.

        Args:
            box: xywh in image pixels.
            factor: window side over ``sqrt(w * h)``.
            size: [px] side of the crop.
            official: round the side up to whole pixels, and map as the official code does.

        Raises:
            ConfigError: the box is not finite or the window is narrower than a pixel.
        """
        x, y, w, h = (float(v) for v in box)
        area = w * h
        side = math.sqrt(area) * factor if area > 0 else 0.0
        if official and math.isfinite(side):
            side = float(math.ceil(side))
        if not (math.isfinite(x) and math.isfinite(y) and 1 <= side < math.inf):
            raise ConfigError(
                f"No search window around box {[x, y, w, h]} at factor {factor}: its side would be "
                f"{side} px; expected a finite xywh box whose window is at least a pixel wide."
            )
        return cls((x, y, w, h), side, size, official)

    @property
    def center(self) -> tuple[float, float]:
        """(x, y) of the window's centre in image pixels."""
        x, y, w, h = self.anchor
        return x + 0.5 * w, y + 0.5 * h

    @property
    def box(self) -> np.ndarray:
        """The window as a box, xywh in image pixels; it may reach beyond the frame."""
        (cx, cy), side = self.center, self.side
        return np.array([cx - side / 2, cy - side / 2, side, side])

    @property
    def scale(self) -> float:
        """Crop pixels per image pixel."""
        return self.size / self.side

    def extract(self, frame: np.ndarray, mirror: bool = False) -> np.ndarray:
        """Crop of a uint8 frame ``(H, W, 3)`` as uint8 ``(S, S, 3)``; black outside the frame.

        With ``mirror`` the window lies on the frame mirrored left to right, which is never made.
        """
        if self.official:
            return self._extract_official(np.ascontiguousarray(frame[:, ::-1]) if mirror else frame)
        # cv2 puts a pixel's centre on an integer, we put it half a pixel further: crop pixel i
        # samples the frame at left + (i + 0.5) / scale - 0.5.
        step = self.side / self.size
        left, top = (c - 0.5 * self.side + 0.5 * step - 0.5 for c in self.center)
        crop_to_frame = np.array([[step, 0.0, left], [0.0, step, top]])
        if mirror:
            crop_to_frame[0] = [-step, 0.0, frame.shape[1] - 1 - left]
        return cv2.warpAffine(
            frame,
            crop_to_frame,
            (self.size, self.size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        )

    def to_crop(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes ``(..., 4)`` from xywh image pixels to cxcywh01 of the crop."""
        if self.official:
            return self._to_crop_official(np.asarray(boxes, dtype=np.float32))
        boxes = xywh_to_cxcywh(boxes)
        position = 0.5 + (boxes[..., :2] - np.asarray(self.center)) / self.side
        return np.concatenate([position, boxes[..., 2:] / self.side], axis=-1)

    def to_image(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes ``(..., 4)`` from cxcywh01 of the crop to xywh image pixels."""
        boxes = np.asarray(boxes, dtype=np.float64)
        if self.official:  # the same up to the order of rounding
            boxes = boxes * self.size / self.scale
            position = boxes[..., :2] + (np.asarray(self.center) - 0.5 * self.size / self.scale)
            return cxcywh_to_xywh(np.concatenate([position, boxes[..., 2:]], axis=-1))
        position = np.asarray(self.center) + (boxes[..., :2] - 0.5) * self.side
        return cxcywh_to_xywh(np.concatenate([position, boxes[..., 2:] * self.side], axis=-1))

    def _to_crop_official(self, boxes: np.ndarray) -> np.ndarray:
        """In float32 and in the official order, so that corners come out with the same bits."""
        anchor, scale = np.asarray(self.anchor, np.float32), np.float32(self.scale)
        span = np.float32(self.size - 1)
        center = boxes[..., :2] + boxes[..., 2:] / 2
        position = span / 2 + (center - (anchor[:2] + anchor[2:] / 2)) * scale
        extent = boxes[..., 2:] * scale
        corners = np.concatenate([position - extent / 2, extent], axis=-1) / span
        return xywh_to_cxcywh(corners)

    def _extract_official(self, frame: np.ndarray) -> np.ndarray:
        height, width = frame.shape[:2]
        side = int(self.side)
        # Python's round (half to even) on both axes, as the official code has it.
        left, top = (round(c - 0.5 * side) for c in self.center)
        pad_left, pad_top = max(0, -left), max(0, -top)
        # One pixel more than needed: a crop that just fits loses its last row and column.
        pad_right, pad_bottom = max(0, left + side - width + 1), max(0, top + side - height + 1)
        bottom, right = top + side - pad_bottom, left + side - pad_right
        if bottom <= top + pad_top or right <= left + pad_left:
            return np.zeros((self.size, self.size, 3), np.uint8)
        inside = frame[top + pad_top : bottom, left + pad_left : right]
        padded = cv2.copyMakeBorder(
            inside, pad_top, pad_bottom, pad_left, pad_right, cv2.BORDER_CONSTANT
        )
        return cv2.resize(padded, (self.size, self.size))
