"""Random draws of an episode: sequence, frames, augmentation, jitter.

All of an episode follows from one generator, in a fixed order: sequence, frames, augmentation,
jitter. Two rows of a group that draw from equal seeds therefore play the same clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from relo_env.boxes import cxcywh_to_xywh, xywh_to_cxcywh
from relo_env.config import ClipConfig
from relo_env.datasets.base import Dataset, Sequence
from relo_env.errors import ConfigError, DataError

SIZE_JITTER = 0.5
"""Deviation of the log of each side of a jittered box (official search crops)."""
CENTER_JITTER = 3.5
"""Range of a jittered centre over the root of the jittered box's area (official search crops)."""


@dataclass(frozen=True)
class Augmentation:
    """A change of appearance, the same for all frames of a clip.

    Attributes:
        mirror: the video is mirrored left to right, boxes included.
        grey: colours are dropped.
        brightness: factor on pixel values.
    """

    mirror: bool = False
    grey: bool = False
    brightness: float = 1.0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Augmentation:
        """Draw with the official probabilities and ranges, but once for a clip."""
        mirror, grey, brightness = rng.random(3)
        return cls(bool(mirror < 0.5), bool(grey < 0.05), float(0.8 + 0.4 * brightness))

    def colour(self, image: np.ndarray) -> np.ndarray:
        """Grey and brightness on a uint8 RGB image ``(H, W, 3)``."""
        if self.grey:
            image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        if self.brightness != 1.0:
            image = cv2.convertScaleAbs(image, alpha=self.brightness)
        return image

    def boxes(self, boxes: np.ndarray, frame_width: int) -> np.ndarray:
        """Boxes ``(..., 4)`` xywh pixels in the augmented video."""
        if not self.mirror:
            return boxes
        left = frame_width - boxes[..., :1] - boxes[..., 2:3]
        return np.concatenate([left, boxes[..., 1:]], axis=-1)


@dataclass(frozen=True, eq=False)
class Clip:
    """The frames of one episode and what is drawn with them.

    Attributes:
        sequence: the video.
        template_frames: int ``(K,)`` frame indices.
        search_frames: int ``(T,)`` frame indices.
        augmentation: change of appearance.
        jitter: ``(T, 4)`` standard draws that move a jittered window, or None for tracked ones.
    """

    sequence: Sequence
    template_frames: np.ndarray
    search_frames: np.ndarray
    augmentation: Augmentation = Augmentation()
    jitter: np.ndarray | None = None


class ClipSampler:
    """Draws the episodes of a data set.

    Args:
        dataset: source of the sequences.
        config: sampling of the frames.
        num_templates: template frames K a clip.
        augment: draw an augmentation for each clip.

    Raises:
        DataError: the data set is empty.
    """

    def __init__(
        self, dataset: Dataset, config: ClipConfig, num_templates: int, augment: bool
    ) -> None:
        if len(dataset) == 0:
            raise DataError(f"{dataset.name} has no sequence in its split {dataset.split!r}.")
        self.dataset, self.config = dataset, config
        self.num_templates, self.augment = num_templates, augment

    def sample(
        self, rng: np.random.Generator, sequence: str | None = None, start: int | None = None
    ) -> Clip:
        """Draw a clip.

        Args:
            rng: source of all random numbers.
            sequence: name of the sequence to take; None draws one.
            start: frame of the first template; None draws it.

        Raises:
            ConfigError: no such sequence, or it does not show its target at ``start``.
            DataError: the sequence's files are faulty.
        """
        video = self.dataset.draw(rng) if sequence is None else self.dataset[sequence]
        if start is not None and not (0 <= start < len(video) and video.visible[start]):
            raise ConfigError(
                f"start={start}: expected a frame of {video.name!r} (0 to {len(video) - 1}) "
                "that shows the target."
            )
        if self.config.mode == "sequence":
            templates, searches = self._whole(video, start or 0)
        elif self.config.sampling == "consecutive":
            templates, searches = self._consecutive(rng, video.visible, start)
        else:
            templates, searches = self._ordered(rng, video.visible, start)
        augmentation = Augmentation.draw(rng) if self.augment else Augmentation()
        jitter = None
        if self.config.search_window == "jittered":
            size, place = rng.standard_normal((len(searches), 2)), rng.random((len(searches), 2))
            jitter = self.config.jitter * np.concatenate([size, place - 0.5], axis=-1)
        return Clip(video, templates, searches, augmentation, jitter)

    def _whole(self, video: Sequence, start: int) -> tuple[np.ndarray, np.ndarray]:
        if not video.visible[start] or len(video) - start < 2:
            raise DataError(
                f'Sequence {video.name!r} cannot be played in mode="sequence" from frame {start}: '
                "expected a frame that shows the target and one more after it."
            )
        return np.full(self.num_templates, start), np.arange(start + 1, len(video))

    def _consecutive(
        self, rng: np.random.Generator, visible: np.ndarray, start: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Frames at one stride; a video that is too short repeats its last frame."""
        last = len(visible) - 1
        count = self.num_templates + self.config.clip_length
        longest = (last - (start or 0)) // (count - 1)
        stride = int(rng.integers(1, max(1, min(self.config.max_stride, longest)) + 1))
        offsets = stride * np.arange(count)
        if start is None:
            starts = np.arange(max(0, last - offsets[-1]) + 1)
            template_frames = np.minimum(starts[:, None] + offsets[: self.num_templates], last)
            shown = np.flatnonzero(visible[template_frames].all(-1))
            start = int(rng.choice(shown if shown.size else np.flatnonzero(visible)))
        frames = np.minimum(start + offsets, last)
        # A template always shows the target: one that does not takes the frame of the first.
        templates = frames[: self.num_templates]
        return np.where(visible[templates], templates, start), frames[self.num_templates :]

    def _ordered(
        self, rng: np.random.Generator, visible: np.ndarray, start: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Frames drawn among the visible ones near a base frame, sorted, half of them reversed."""
        shown = np.flatnonzero(visible)
        count = self.num_templates + self.config.clip_length
        if start is None:
            base = int(rng.choice(shown))
            reach = self.config.max_interval
            pool = shown[(shown >= base - reach) & (shown < base + reach)]
            frames = np.sort(rng.choice(pool, count, replace=len(pool) < count))
            if self.config.sampling == "ordered" and rng.random() < 0.5:
                frames = frames[::-1]
        else:
            pool = shown[(shown > start) & (shown < start + self.config.max_interval)]
            pool = pool if pool.size else np.array([start])
            later = rng.choice(pool, count - 1, replace=len(pool) < count - 1)
            frames = np.concatenate([[start], np.sort(later)])
        return frames[: self.num_templates], frames[self.num_templates :]


def jittered_box(box: np.ndarray, jitter: np.ndarray) -> np.ndarray:
    """Box around which the official training crops are taken.

    Args:
        box: xywh pixels of the target.
        jitter: two normal draws for the sides and two uniform ones in [-0.5, 0.5) for the centre.

    Returns:
        xywh pixels; sides are never below a pixel, so that a window of it exists.
    """
    box = xywh_to_cxcywh(box)
    size = np.maximum(box[2:] * np.exp(SIZE_JITTER * jitter[:2]), 1.0)
    center = box[:2] + jitter[2:] * np.sqrt(size.prod()) * CENTER_JITTER
    return cxcywh_to_xywh(np.concatenate([center, size]))
