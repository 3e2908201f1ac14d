"""Tracked frames for a web page: a JPEG sheet each, which a few lines of script play."""

from __future__ import annotations

import base64
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

import cv2
import numpy as np

from relo_env.benchmark.metrics import overlaps
from relo_env.datasets.base import Sequence
from relo_env.rendering import draw_box, draw_score_map

MAX_FRAMES = 32
FRAME_WIDTH = 320
"""[px]"""
COLUMNS = 8
"""Frames in a row of the sheet; browsers of phones refuse images that are very wide."""

TRUE_COLOUR = "#3cdc5a"


@dataclass(frozen=True, eq=False)
class Overlay:
    """Boxes of one tracker, to be drawn on a sequence of n frames.

    Attributes:
        tracker: its name.
        colour: ``"#rrggbb"`` of its boxes.
        boxes: ``(n, 4)`` xywh pixels; NaN where there is none.
        score_maps: uint8 ``(n, H, W)`` for the inset, or None.
    """

    tracker: str
    colour: str
    boxes: np.ndarray
    score_maps: np.ndarray | None = None


@dataclass(frozen=True)
class Filmstrip:
    """Frames with boxes, side by side in one picture.

    Attributes:
        title: heading of the picture.
        sheet: data URI of a JPEG with all frames, ``columns`` in a row.
        width: [px] of a frame.
        height: [px] of a frame.
        columns: frames in a row of the sheet.
        captions: one for each frame: its index and the overlaps.
    """

    title: str
    sheet: str
    width: int
    height: int
    columns: int
    captions: tuple[str, ...]


def make_filmstrip(
    title: str,
    sequence: Sequence,
    overlays: SequenceOf[Overlay],
    start: int = 0,
    end: int | None = None,
) -> Filmstrip:
    """A filmstrip of the frames ``start .. end - 1``, thinned out evenly where they are many.

    The true box is green, the trackers' in their colours, the first one's as thick as the true
    one; its score map is inset.

    Raises:
        FrameError: a frame cannot be read.
    """
    end = len(sequence) if end is None else end
    indices = np.linspace(start, end - 1, min(MAX_FRAMES, end - start)).round().astype(int)
    pictures = [_picture(sequence, overlays, index) for index in indices]
    height, width = pictures[0].shape[:2]
    return Filmstrip(
        title=title,
        sheet=_sheet(pictures),
        width=width,
        height=height,
        columns=COLUMNS,
        captions=tuple(_caption(sequence, overlays, index) for index in indices),
    )


def _picture(sequence: Sequence, overlays: SequenceOf[Overlay], index: int) -> np.ndarray:
    frame = sequence.frames.read(index)
    scale = FRAME_WIDTH / frame.shape[1]
    size = (FRAME_WIDTH, max(1, round(scale * frame.shape[0])))
    picture = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    if sequence.visible[index]:
        _draw(picture, scale * sequence.boxes[index], TRUE_COLOUR)
    first, *others = overlays
    for overlay in reversed(others):
        if np.isfinite(overlay.boxes[index]).all():
            draw_box(picture, scale * overlay.boxes[index], _rgb(overlay.colour), thickness=1)
    if np.isfinite(first.boxes[index]).all():
        _draw(picture, scale * first.boxes[index], first.colour)
    if first.score_maps is not None and index > 0:
        draw_score_map(picture, first.score_maps[index], side=80)
    return picture


def _draw(picture: np.ndarray, box: np.ndarray, colour: str) -> None:
    """Draw a box with a thin white edge, visible on any background."""
    draw_box(picture, box, (255, 255, 255), thickness=3)
    draw_box(picture, box, _rgb(colour), thickness=2)


def _caption(sequence: Sequence, overlays: SequenceOf[Overlay], index: int) -> str:
    if not sequence.visible[index]:
        return f"frame {index}: target absent"
    boxes = np.nan_to_num([overlay.boxes[index] for overlay in overlays])
    shares = [
        f"{overlay.tracker} {share:.2f}"
        for overlay, share in zip(overlays, overlaps(boxes, sequence.boxes[index]), strict=True)
    ]
    return f"frame {index}: {', '.join(shares)}"


def _sheet(pictures: list[np.ndarray]) -> str:
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // COLUMNS)
    sheet = np.zeros((rows * height, min(COLUMNS, len(pictures)) * width, 3), np.uint8)
    for i, picture in enumerate(pictures):
        row, column = divmod(i, COLUMNS)
        sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = picture
    _, jpeg = cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 75])
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue
