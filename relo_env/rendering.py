"""Pictures of tracking: frames with boxes, a score-map inset and a caption."""

from __future__ import annotations

import logging
import os
import re
import sys

import cv2
import numpy as np

logger = logging.getLogger(__name__)

TRUE_COLOUR = (60, 220, 90)
CHOSEN_COLOUR = (255, 90, 60)
WINDOW_COLOUR = (90, 160, 255)
MIN_HEIGHT = 240
"""[px] smaller frames are enlarged so that captions can be read."""
SCREEN = (1200, 640)
"""[px] largest width and height of a window: what a 1280 x 720 screen has room for."""
END_KEYS = (ord("q"), 27)
"""Keys that end a show: q and Esc."""
FULL_HEIGHT = 720
"""[px] in larger pictures, lines and letters grow with the picture."""


def draw_box(
    picture: np.ndarray, box: np.ndarray, colour: tuple[int, int, int], thickness: int = 2
) -> None:
    """Draw an xywh box on a uint8 RGB picture, in place."""
    thickness = round(thickness * _scale(picture))
    x, y, w, h = (float(v) for v in box)
    corners = np.array([x, y, x + w, y + h]).round().clip(-10_000, 10_000).astype(int)
    cv2.rectangle(
        picture, corners[:2].tolist(), corners[2:].tolist(), colour, thickness, cv2.LINE_AA
    )


def draw_score_map(picture: np.ndarray, scores: np.ndarray, side: int = 96) -> None:
    """Draw a score map ``(H, W)`` as an inset in the top right corner, in place."""
    side = min(round(side * _scale(picture)), picture.shape[0] // 2, picture.shape[1] // 2)
    low, high = float(scores.min()), float(scores.max())
    levels = ((scores - low) / max(high - low, 1e-12) * 255).astype(np.uint8)
    heat = cv2.applyColorMap(
        cv2.resize(levels, (side, side), interpolation=cv2.INTER_NEAREST), cv2.COLORMAP_VIRIDIS
    )
    picture[:side, -side:] = heat[..., ::-1]
    cv2.rectangle(picture, (picture.shape[1] - side, 0), (picture.shape[1] - 1, side), (255,) * 3)


def draw_text(picture: np.ndarray, text: str, at: tuple[int, int]) -> None:
    """Write a line whose letters stand on and right of ``at`` (x, y), in place."""
    scale = _scale(picture)
    width = round(scale)
    # An outline of thicker letters would be wider than the letters, in some versions of OpenCV.
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.45 * scale
    for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1), (0, 0)):
        colour = (0, 0, 0) if (dx, dy) != (0, 0) else (255, 255, 255)
        place = (at[0] + dx * width, at[1] + dy * width)
        cv2.putText(picture, text, place, font, size, colour, width, cv2.LINE_AA)


def _scale(picture: np.ndarray) -> float:
    return max(1.0, picture.shape[0] / FULL_HEIGHT)


def draw(
    frame: np.ndarray,
    box: np.ndarray | None = None,
    target_box: np.ndarray | None = None,
    window: np.ndarray | None = None,
    scores: np.ndarray | None = None,
    caption: str = "",
) -> np.ndarray:
    """A frame with boxes, score map and caption.

    Args:
        frame: uint8 RGB ``(H, W, 3)``; it is not written to.
        box: chosen box, xywh pixels (red), or several ``(n, 4)``, which are numbered from 1.
        target_box: true box, xywh pixels (green).
        window: search window, xywh pixels (blue).
        scores: ``(H, W)`` score map of the search window's grid.
        caption: a line of text.

    Returns:
        uint8 RGB picture, enlarged by a whole factor if the frame is small.
    """
    factor = max(1, -(-MIN_HEIGHT // frame.shape[0]))
    size = (frame.shape[1] * factor, frame.shape[0] * factor)
    picture = np.array(frame, order="C")
    if factor > 1:
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST)
    if window is not None:
        draw_box(picture, np.asarray(window) * factor, WINDOW_COLOUR, 1)
    if target_box is not None:
        draw_box(picture, np.asarray(target_box) * factor, TRUE_COLOUR)
    boxes = () if box is None else np.atleast_2d(box) * factor
    for number, each in enumerate(boxes, start=1):
        draw_box(picture, each, CHOSEN_COLOUR)
        if len(boxes) > 1:
            draw_text(picture, str(number), (round(each[0]), round(each[1]) - 4))
    if scores is not None:
        draw_score_map(picture, np.asarray(scores))
    scale = _scale(picture)
    draw_text(picture, caption, (round(6 * scale), picture.shape[0] - round(8 * scale)))
    return picture


class Viewer:
    """A window on the screen; without a screen, a warning once and nothing more."""

    title = "RELO"

    def __init__(self) -> None:
        self._open = False
        self._warned = False

    def show(self, picture: np.ndarray) -> bool:
        """Show a uint8 RGB picture, scaled down to the screen if it is large.

        Returns:
            False once the user has pressed q or Esc, or closed the window.
        """
        if not has_screen():
            if not self._warned:
                logger.warning(
                    "No screen to show pictures on; render_mode='rgb_array' and --out need none."
                )
                self._warned = True
            return True
        cv2.imshow(self.title, fit_to_screen(picture)[..., ::-1])
        self._open = True
        if cv2.waitKey(1) & 0xFF in END_KEYS:
            return False
        self._open = cv2.getWindowProperty(self.title, cv2.WND_PROP_VISIBLE) >= 1
        return self._open

    def close(self) -> None:
        """Close the window, if it is open."""
        if self._open:
            cv2.destroyWindow(self.title)
            self._open = False


def fit_to_screen(picture: np.ndarray) -> np.ndarray:
    """A picture, made smaller if it is larger than `SCREEN`."""
    scale = min(SCREEN[0] / picture.shape[1], SCREEN[1] / picture.shape[0])
    if scale >= 1:
        return picture
    size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def has_screen() -> bool:
    """True if OpenCV can open a window here: it is built with one, and there is a display."""
    # Asking OpenCV itself would abort the process where the display is missing.
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    built = re.search(r"^ *GUI:(?!.*NONE)", cv2.getBuildInformation(), re.MULTILINE)
    return bool(built) and (bool(display) or not sys.platform.startswith("linux"))
