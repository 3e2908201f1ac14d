"""Video object segmentation data sets, their masks as boxes: DAVIS and YouTube-VOS."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from relo_env.datasets.annotations import require_count
from relo_env.datasets.base import Sequence
from relo_env.datasets.disk import DiskDataset, read_names
from relo_env.datasets.frames import ImageFrames, decode, image_frames, list_images
from relo_env.errors import DataError


def read_mask(path: Path | str) -> np.ndarray:
    """Object numbers uint8 ``(H, W)`` of a mask, 0 where there is no object.

    The file is grey, or has the palette of PASCAL VOC, which OpenCV turns into its colours.

    Raises:
        FrameError: the file is missing or cannot be decoded.
    """
    mask = decode(path, cv2.IMREAD_UNCHANGED)
    if mask.ndim == 2:
        return mask
    # The palette spreads bits 0, 1, 2 of a number over the top bits of red, green, blue, bits
    # 3, 4, 5 over the next ones, and so on.
    numbers = np.zeros(mask.shape[:2], dtype=np.uint8)
    for bit in range(8):
        channel = mask[..., 2 - bit % 3].astype(np.uint8)
        numbers |= ((channel >> (7 - bit // 3)) & 1) << bit
    return numbers


def mask_boxes(numbers: np.ndarray) -> dict[int, np.ndarray]:
    """Box xywh of each object of a mask ``(H, W)`` of object numbers; 255 at most."""
    boxes = {}
    for number in np.flatnonzero(np.bincount(numbers.ravel())[1:]) + 1:
        boxes[int(number)] = np.array(cv2.boundingRect((numbers == number).astype(np.uint8)))
    return boxes


class MaskDataset(DiskDataset):
    """Videos with a mask a frame; each object of a video is a sequence ``<video>_<number>``.

    A sequence begins where its object is first seen. The masks of a video are read when its first
    sequence is, and their boxes are kept.
    """

    @abstractmethod
    def frames(self, video: str) -> ImageFrames:
        """Frames of a video."""

    def annotation(self, name: str) -> Sequence:
        """The sequence itself: its annotation is no text; see ``Dataset.annotation``."""
        return self[name]

    def read(self, name: str) -> Sequence:
        """Read the masks of one object; see `DiskDataset.read`."""
        folder = self.locate(name)
        video, _, number = name.rpartition("_")
        frames = self.frames(video)
        if folder not in self._boxes:
            self._boxes[folder] = [mask_boxes(read_mask(path)) for path in list_images(folder)]
        masks = self._boxes[folder]
        require_count(folder, len(masks), self.count(frames), "masks")
        absent = np.zeros(4)
        boxes = np.array([mask.get(int(number), absent) for mask in masks], dtype=np.float64)
        start = int(boxes.any(axis=1).argmax())
        return self.annotate(name, ImageFrames(frames.paths[start:]), boxes[start:])

    @cached_property
    def _boxes(self) -> dict[Path, list[dict[int, np.ndarray]]]:
        return {}


class DAVIS(MaskDataset):
    """DAVIS 2017 (Pont-Tuset et al., 2017): 60 training and 30 validation videos.

    The objects are those of a video's first mask. A 2016 copy works too: its only object is
    number 255.
    """

    name = "DAVIS"
    splits = ("train", "val")
    layout = (
        "  <root>/ImageSets/{2017,2016}/{train,val}.txt\n"
        "  <root>/JPEGImages/{480p,Full-Resolution,1080p}/<video>/00000.jpg ...\n"
        "  <root>/Annotations/{480p,Full-Resolution,1080p}/<video>/00000.png ..."
    )

    def find(self) -> Iterable[tuple[str, Path]]:
        """Objects and the folders of their masks."""
        for video in self._videos():
            folder = self._resolution("Annotations") / video
            for mask in list_images(folder)[:1]:
                for number in mask_boxes(read_mask(mask)):
                    yield f"{video}_{number}", folder

    def frames(self, video: str) -> ImageFrames:
        """Frames of a video."""
        return image_frames(self._resolution("JPEGImages") / video)

    def _videos(self) -> list[str]:
        for year in ("2017", "2016"):
            path = self.root / "ImageSets" / year / f"{self.split}.txt"
            if path.is_file():
                return [line.split()[0].split("/")[-1] for line in read_names(path)]
        raise DataError(
            f"{self.name}: no list of videos in {self.root}/ImageSets. {self._expected}"
        )

    def _resolution(self, kind: str) -> Path:
        folders = [self.root / kind / r for r in ("480p", "Full-Resolution", "1080p")]
        return next((folder for folder in folders if folder.is_dir()), folders[0])


class YouTubeVOS(MaskDataset):
    """YouTube-VOS (Xu et al., 2018): the objects of its training videos.

    Only this split has masks for all of its frames; the others are scored by a server.
    """

    name = "YouTubeVOS"
    splits = ("train",)
    layout = (
        "  <root>/train/meta.json\n"
        "  <root>/train/JPEGImages/<video>/00000.jpg ...\n"
        "  <root>/train/Annotations/<video>/00000.png ..."
    )

    def find(self) -> Iterable[tuple[str, Path]]:
        """Objects of ``meta.json`` and the folders of their masks."""
        path = self.root / "train" / "meta.json"
        try:
            videos = json.loads(path.read_bytes())["videos"]
            for video, content in sorted(videos.items()):
                for number in sorted(content["objects"], key=int):
                    yield f"{video}_{number}", self.root / "train" / "Annotations" / video
        except FileNotFoundError:
            raise DataError(f"{self.name}: there is no file {path}. {self._expected}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path} is not YouTube-VOS's list of objects: {error!r}.") from error

    def frames(self, video: str) -> ImageFrames:
        """Frames of a video that have a mask."""
        masks = {Path(p).stem for p in list_images(self.root / "train" / "Annotations" / video)}
        frames = image_frames(self.root / "train" / "JPEGImages" / video)
        return ImageFrames(path for path in frames.paths if Path(path).stem in masks)
