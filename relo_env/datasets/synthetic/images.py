"""A user's own cut-outs and photographs, read when needed; cut-outs stay in a small cache."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from relo_env.datasets.frames import decode
from relo_env.datasets.synthetic.shapes import Shape, trace
from relo_env.errors import DataError

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
_CACHED = 256
"""Cut-outs, and shapes, that are kept: a few ten MB at most."""
_CUTOUT_SIDE = 192
_SMALLEST_PIECE = 0.03
"""Share of a cut-out's area below which a piece apart is dropped."""
_PHOTO_SIDE = 640


class Images:
    """Images by index. Safe to share by threads.

    Attributes:
        files: an image and, for a cut-out of two files, its mask.
    """

    def __init__(self, files: list[tuple[Path, Path | None]]) -> None:
        self.files = files
        self._cutout = lru_cache(_CACHED)(self._read_cutout)
        self._shape = lru_cache(_CACHED)(self._trace)

    @classmethod
    def cutouts(cls, folders: str | Path | Iterable[str | Path]) -> Images:
        """The cut-outs of folders of RGBA files, or with ``img/`` and ``mask/`` of one stem.

        RGBA files are png or webp.

        Raises:
            DataError: a folder is missing or has no cut-out, or an image has no mask.
        """
        files: list[tuple[Path, Path | None]] = []
        for folder in _folders(folders):
            if not (folder / "img").is_dir():
                files += [
                    (file, None) for file in _listed(folder, {".png", ".webp"}, "RGBA png files")
                ]
                continue
            masks = {file.stem: file for file in _listed(folder / "mask", _SUFFIXES, "masks")}
            images = _listed(folder / "img", _SUFFIXES, "images")
            lacking = [file for file in images if file.stem not in masks]
            if lacking:
                raise DataError(
                    f"{lacking[0]} has no mask; expected a file {lacking[0].stem}.* in "
                    f"{folder / 'mask'}. Add it or remove the image."
                )
            files += [(file, masks[file.stem]) for file in images]
        return cls(files)

    @classmethod
    def photos(cls, folders: str | Path | Iterable[str | Path]) -> Images:
        """The photographs of folders.

        Raises:
            DataError: a folder is missing or has no image.
        """
        return cls(
            [
                (file, None)
                for folder in _folders(folders)
                for file in _listed(folder, _SUFFIXES, "photographs")
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getstate__(self) -> dict[str, Any]:
        return {"files": self.files}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["files"])  # type: ignore[misc]

    def photo(self, index: int) -> np.ndarray:
        """Photograph as uint8 RGB ``(h, w, 3)``, its longer side at most 640 px.

        Raises:
            FrameError: the file cannot be decoded.
        """
        image = _shrunk(decode(self.files[index][0], cv2.IMREAD_COLOR), _PHOTO_SIDE)
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    def cutout(self, index: int) -> np.ndarray:
        """Cut-out as uint8 RGBA ``(h, w, 4)``, trimmed, its longer side at most 192 px.

        Raises:
            FrameError: a file cannot be decoded.
            DataError: nothing in it is opaque, or image and mask differ in size.
        """
        return self._cutout(index)

    def shape(self, index: int) -> Shape:
        """Outlines of a cut-out; raises as `cutout` does."""
        return self._shape(index)

    def family(self, index: int) -> list[int]:
        """Indices of the cut-outs in one folder with this one, itself included."""
        return self._families[self.files[index][0].parent]

    @cached_property
    def _families(self) -> dict[Path, list[int]]:
        families: dict[Path, list[int]] = defaultdict(list)
        for index, (file, _) in enumerate(self.files):
            families[file.parent].append(index)
        return families

    def _trace(self, index: int) -> Shape:
        return trace(self.cutout(index)[..., 3])

    def _read_cutout(self, index: int) -> np.ndarray:
        file, mask_file = self.files[index]
        if mask_file is None:
            image = decode(file, cv2.IMREAD_UNCHANGED)
            if file.suffix.lower() == ".webp" and image.shape[-1] == 3:
                # WebP drops an alpha of 255 everywhere.
                image = cv2.cvtColor(image, cv2.COLOR_BGR2BGRA)
            if image.ndim != 3 or image.shape[2] != 4 or image.dtype != np.uint8:
                raise DataError(
                    f"{file} is {image.dtype} of shape {image.shape}; expected 8-bit RGBA. "
                    "Save it with an alpha channel, or use folders img/ and mask/."
                )
        else:
            colour, mask = decode(file, cv2.IMREAD_COLOR), decode(mask_file, cv2.IMREAD_GRAYSCALE)
            if colour.shape[:2] != mask.shape:
                raise DataError(
                    f"{file} is {colour.shape[1::-1]} pixels and its mask {mask_file} "
                    f"{mask.shape[::-1]}; expected the same size."
                )
            image = np.dstack([colour, mask])
        image = _trimmed(_opened(_shrunk(_trimmed(image, file), _CUTOUT_SIDE)), file)
        return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA)


def _folders(folders: str | Path | Iterable[str | Path]) -> list[Path]:
    paths = [folders] if isinstance(folders, (str, Path)) else list(folders)
    if not paths:
        raise DataError("The list of image folders is empty; name a folder, or pass None.")
    return [Path(path) for path in paths]


def _listed(folder: Path, suffixes: set[str], what: str) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; expected one with {what}.")
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in suffixes)
    if not files:
        raise DataError(f"{folder} has no {what} ({', '.join(sorted(suffixes))}); expected some.")
    return files


def _shrunk(image: np.ndarray, longest: int) -> np.ndarray:
    height, width = image.shape[:2]
    ratio = longest / max(height, width)
    if ratio >= 1:
        return image
    size = max(round(width * ratio), 1), max(round(height * ratio), 1)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _opened(image: np.ndarray) -> np.ndarray:
    """The cut-out without threads and specks, which would set its box but vanish when small.

    A cut-out that is all threads stays as it is.
    """
    side = max(image.shape) // 24 | 1
    alpha = cv2.morphologyEx(image[..., 3], cv2.MORPH_OPEN, np.ones((side, side), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats((alpha > 127).astype(np.uint8))
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    if not areas.any():
        return image
    kept = areas >= _SMALLEST_PIECE * areas.sum()
    return np.dstack([image[..., :3], np.where(kept[labels], alpha, 0)])


def _trimmed(image: np.ndarray, file: Path) -> np.ndarray:
    x, y, width, height = cv2.boundingRect((image[..., 3] > 127).astype(np.uint8))
    if width < 2 or height < 2:
        raise DataError(f"Nothing in the cut-out {file} is opaque; remove it.")
    return image[y : y + height, x : x + width]
