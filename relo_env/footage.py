"""What a clip looks like: its frames decoded ahead, and the crops that are cut from them."""

from __future__ import annotations

import math
from concurrent.futures import Future
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np

from relo_env import boxes as bx
from relo_env.clips import Clip, jittered_box
from relo_env.config import CropConfig
from relo_env.crops import SearchWindow
from relo_env.loading import Frame, FrameLoader

LOOKAHEAD = 4
"""Frames of a whole sequence that are decoded before they are asked for."""


class Shot(NamedTuple):
    """One frame of a clip, as far as it is known before anybody acts.

    Attributes:
        size: [px] width and height of the frame.
        window: where its crop lies; None where that depends on the box chosen last.
        crop: uint8 ``(3, S, S)``; None where there is no window yet.
        frame: the frame, kept to cut that crop; None where it is cut, or where there is no room.
    """

    size: tuple[int, int]
    window: SearchWindow | None = None
    crop: np.ndarray | None = None
    frame: Frame | None = None


class Footage:
    """The pixels of one clip, for all rows that live through it.

    Turns count the search frames, 0 to T - 1; the templates come before them, at -K to -1. A crop
    whose window is known with the clip (a template's, or one around the ground truth) is cut by the
    thread that decodes its frame, and the frame is let go. Other frames are kept until their turn
    is over; one for which the loader has no room is decoded again at its turn.

    Args:
        clip: which frames.
        loader: decodes them.
        crop: sizes of the crops.
        official: official crop geometry.
        reduced_decoding: decode at a fraction of the size what is shown at less than that.
    """

    def __init__(
        self,
        clip: Clip,
        loader: FrameLoader,
        crop: CropConfig,
        official: bool = False,
        reduced_decoding: bool = False,
    ) -> None:
        self.clip = clip
        self._loader, self._crop = loader, crop
        self._official, self._reduced_decoding = official, reduced_decoding
        self._turns = range(-len(clip.template_frames), len(clip.search_frames))
        self._indices = [*map(int, clip.template_frames), *map(int, clip.search_frames)]
        self._shots: dict[int, Future[Shot]] = {}
        self._empty: set[int] = set()  # turns whose frame was decoded, but neither cut nor kept
        self._fetched = self._turns.start

    def fetch(self, stop: int | None = None) -> None:
        """Have all frames before turn ``stop`` decoded, by default all there are."""
        stop = self._turns.stop if stop is None else min(stop, self._turns.stop)
        for turn in range(self._fetched, stop):
            self._request(turn)
        self._fetched = max(self._fetched, stop)

    def wait(self) -> None:
        """Wait until every frame that was fetched has been decoded.

        Raises:
            FrameError: one of them cannot be.
        """
        for shot in self._shots.values():
            shot.result()

    @cached_property
    def templates(self) -> tuple[np.ndarray, np.ndarray]:
        """Crops uint8 ``(K, 3, Hz, Wz)`` and, clipped to them, boxes float32 ``(K, 4)`` xywh01."""
        crops, boxes = [], []
        for turn in range(self._turns.start, 0):
            shot = self.shot(turn)
            assert shot.window is not None
            assert shot.crop is not None
            crops.append(shot.crop)
            boxes.append(shot.window.to_crop(self.true_box(turn, shot.size)))
        return np.stack(crops), bx.clip_to_unit(bx.cxcywh_to_xywh(np.stack(boxes))).astype(
            np.float32
        )

    def shot(self, turn: int) -> Shot:
        """What is known of a frame.

        Raises:
            FrameError: it cannot be decoded.
        """
        if turn not in self._shots or turn in self._empty:
            self._request(turn, always=True)
        return self._shots[turn].result()

    def enter(self, turn: int) -> Shot:
        """Go to a search frame; frames that are needed no more are let go, the next are fetched.

        Raises:
            FrameError: it cannot be decoded.
        """
        shot = self.shot(turn)
        self._shots.pop(turn - 2, None)  # the one before is what a rendering shows
        self.fetch(turn + 1 + LOOKAHEAD)
        if turn + 1 in self._empty:
            self._request(turn + 1, always=True)
        return shot

    def cut(self, turn: int, window: SearchWindow, out: np.ndarray) -> None:
        """Write the crop of a frame to ``out``, uint8 ``(3, S, S)``.

        Args:
            turn: which frame.
            window: where it lies; the shot's own, if it has one.
            out: where the crop goes.
        """
        shot = self.shot(turn)
        if shot.crop is not None:
            out[...] = shot.crop
        else:
            assert shot.frame is not None
            self._cut(shot.frame, window, out)

    def image(self, turn: int) -> np.ndarray:
        """A frame as the agent's world has it, uint8 RGB ``(H, W, 3)``.

        What is no longer there, or was reduced, is decoded again.
        """
        shot = self._shots.get(turn)
        frame = shot.result().frame if shot is not None else None
        if frame is None or frame.reduction > 1:
            frame = self._loader.decode(self.clip.sequence, self._index(turn)).result()
        image = frame.image
        if self.clip.augmentation.mirror:
            image = np.ascontiguousarray(image[:, ::-1])
        return self.clip.augmentation.colour(image)

    def true_box(self, turn: int, size: tuple[int, int]) -> np.ndarray:
        """The annotated box in a frame of ``size``, xywh pixels; zeros where it is absent."""
        index = self._index(turn)
        if not self.clip.sequence.visible[index]:
            return np.zeros(4)
        return self.clip.augmentation.boxes(self.clip.sequence.boxes[index], size[0])

    def _index(self, turn: int) -> int:
        return self._indices[turn - self._turns.start]

    def _request(self, turn: int, always: bool = False) -> None:
        shot: Future[Shot] = Future()
        self._shots[turn] = shot
        self._empty.discard(turn)

        def take(decoded: Future[Frame]) -> None:
            try:
                shot.set_result(self._take(turn, decoded.result(), always))
            except Exception as error:  # handed to whoever asks for the shot
                shot.set_exception(error)

        reduction = self._reduction(turn) if self._reduced_decoding else 1
        self._loader.decode(self.clip.sequence, self._index(turn), reduction).add_done_callback(
            take
        )

    def _take(self, turn: int, frame: Frame, always: bool) -> Shot:
        """Cut the crop, if it is known where; else keep the frame, if there is room."""
        window = self._planned_window(turn, frame.size)
        if window is None and self._loader.keep(frame, always):
            return Shot(frame.size, frame=frame)
        if window is None:
            self._empty.add(turn)
            return Shot(frame.size)
        crop = np.empty((3, window.size, window.size), np.uint8)
        self._cut(frame, window, crop)
        return Shot(frame.size, window, crop)

    def _planned_window(self, turn: int, size: tuple[int, int]) -> SearchWindow | None:
        crop, box = self._crop, self.true_box(turn, size)
        if turn < 0:
            return SearchWindow.around(
                box, crop.template_factor, crop.template_size, self._official
            )
        if self.clip.jitter is None or not box.any():
            return None
        box = jittered_box(box, self.clip.jitter[turn])
        return SearchWindow.around(box, crop.search_factor, crop.search_size, self._official)

    def _cut(self, frame: Frame, window: SearchWindow, out: np.ndarray) -> None:
        if frame.reduction > 1:
            window = window.reduced(frame.reduction)
        augmentation = self.clip.augmentation
        crop = augmentation.colour(window.extract(frame.image, augmentation.mirror))
        cv2.split(crop, list(out))

    def _reduction(self, turn: int) -> int:
        """1, 2 or 4: how far a frame may be reduced with its target's crop still made smaller."""
        crop, box = self._crop, self.clip.sequence.boxes[self._index(turn)]
        factor, size = crop.search_factor, crop.search_size
        if turn < 0:
            factor, size = crop.template_factor, crop.template_size
        scale = math.sqrt(box[2] * box[3]) * factor / size
        return 4 if scale >= 4 else 2 if scale >= 2 else 1
