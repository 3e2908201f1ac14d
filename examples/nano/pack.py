"""The training data of `nano` as one folder of at most 30 MiB: images of 256 px in WebP.

::

    python -m examples.nano.pack DATA pack

``DATA`` has ``images/`` (objects, people, sprites, photos, boxed) and ``sequences/train``, see
README.md in this folder. The pack has ``photos/``, ``cutouts/<family>/``, ``boxed/`` and
``sequences/``, which `examples.nano.train` reads.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from examples.nano.boxed import read_boxes
from relo_env.datasets.base import Sequence
from relo_env.datasets.folder import Folder
from relo_env.datasets.synthetic.images import Images

SIDE = 256
"""[px] longer side of a photograph and of a video's frame."""
CUTOUT_SIDE = 128
LARGEST = 30 * 2**20
"""[bytes] most that a pack may take."""
FRAME_STEP = 2
"""Every second frame of a video is kept: clips are drawn at random strides anyway."""
LEAST_CUTOUT = 20.0
"""[px] boxes with a smaller side are not cut out."""


def pack(data: Path, out: Path, quality: int) -> int:
    """Write the pack; returns its size in bytes."""
    pack_photos(data / "images" / "photos", out / "photos", quality)
    for name in ("objects", "people", "sprites"):
        pack_cutouts(data / "images" / name, out / "cutouts" / name, quality)
    for folder in sorted(p for p in (data / "images" / "boxed").iterdir() if p.is_dir()):
        pack_boxed(folder, out / "boxed" / folder.name, out / "cutouts", quality)
    for sequence in Folder(data / "sequences" / "train"):
        pack_sequence(sequence, out / "sequences" / sequence.name, quality)
    return sum(file.stat().st_size for file in out.rglob("*") if file.is_file())


def pack_photos(folder: Path, out: Path, quality: int) -> None:
    """Photographs of a folder."""
    photos = Images.photos([folder])
    for index, (file, _) in enumerate(photos.files):
        write(out / f"{file.stem}.webp", shrunk(photos.photo(index), SIDE), quality)


def pack_cutouts(folder: Path, out: Path, quality: int) -> None:
    """Cut-outs of a folder, with their opacity in the file."""
    cutouts = Images.cutouts([folder])
    for index, (file, _) in enumerate(cutouts.files):
        write(out / f"{file.stem}.webp", shrunk(cutouts.cutout(index), CUTOUT_SIDE), quality)


def pack_boxed(folder: Path, out: Path, cutouts: Path, quality: int) -> None:
    """Photographs with boxes, and a cut-out of each object that GrabCut tells from its ground."""
    lines, images = [], {}
    for number, (file, box, kind) in enumerate(read_boxes(folder)):
        if file not in images:
            photo = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
            images[file] = photo, SIDE / max(SIDE, *photo.shape[:2])
            write(out / "img" / f"{file.stem}.webp", shrunk(photo, SIDE), quality)
        photo, scale = images[file]
        numbers = ",".join(f"{value:.1f}" for value in box * scale)
        lines.append(f"{file.stem}.webp,{numbers},{kind}\n")
        cutout = cut_out(photo, box) if box[2:].min() >= LEAST_CUTOUT else None
        if cutout is not None:
            name = f"{folder.name}-{number:05d}.webp"
            write(cutouts / kind / name, shrunk(cutout, CUTOUT_SIDE), quality)
    (out / "boxes.txt").write_text("".join(lines))


def pack_sequence(sequence: Sequence, out: Path, quality: int) -> None:
    """A video as `Folder` reads it."""
    kept = range(0, len(sequence), FRAME_STEP)
    boxes = []
    for count, index in enumerate(kept):
        frame = sequence.frames.read(index)
        scale = SIDE / max(SIDE, *frame.shape[:2])
        write(out / "img" / f"{count + 1:08d}.webp", shrunk(frame, SIDE), quality)
        boxes.append(sequence.boxes[index] * scale)
    text = "\n".join(",".join(f"{value:.2f}" for value in box) for box in boxes)
    (out / "groundtruth.txt").write_text(text + "\n")
    absent = "\n".join(str(int(not sequence.visible[index])) for index in kept)
    (out / "absent.txt").write_text(absent + "\n")


def cut_out(photo: np.ndarray, box: np.ndarray) -> np.ndarray | None:
    """The object of a box as RGBA by GrabCut (Rother et al. 2004); None if it finds none.

    Args:
        photo: uint8 RGB ``(H, W, 3)``.
        box: xywh pixels.
    """
    margin = 0.25 * max(box[2:])
    low = np.maximum(box[:2] - margin, 0).astype(int)
    high = np.minimum(box[:2] + box[2:] + margin, photo.shape[1::-1]).astype(int)
    crop = np.ascontiguousarray(photo[low[1] : high[1], low[0] : high[0]])
    left, top, width, height = (int(value) for value in (*(box[:2] - low), *box[2:]))
    if width * height > 0.9 * crop.shape[0] * crop.shape[1]:
        return None
    mask = np.zeros(crop.shape[:2], np.uint8)
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(crop, mask, (left, top, width, height), *models, 3, cv2.GC_INIT_WITH_RECT)
    inside = (mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)
    rows, columns = np.nonzero(inside)
    if len(rows) < 0.2 * width * height:
        return None
    if np.ptp(columns) < 0.6 * width or np.ptp(rows) < 0.6 * height:
        return None
    alpha = cv2.GaussianBlur(np.where(inside, 255, 0).astype(np.uint8), (0, 0), 0.8)
    return np.dstack([crop, alpha])


def shrunk(image: np.ndarray, longest: int) -> np.ndarray:
    """An image with its longer side at most ``longest`` pixels."""
    scale = longest / max(longest, *image.shape[:2])
    size = max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image


def write(path: Path, image: np.ndarray, quality: int) -> None:
    """Write uint8 RGB or RGBA as WebP."""
    path.parent.mkdir(parents=True, exist_ok=True)
    code = cv2.COLOR_RGB2BGR if image.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    encoded = cv2.imencode(".webp", cv2.cvtColor(image, code), [cv2.IMWRITE_WEBP_QUALITY, quality])
    path.write_bytes(encoded[1].tobytes())


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with images/ and sequences/train")
    parser.add_argument("out", type=Path, help="folder of the pack; made if missing")
    parser.add_argument("--quality", type=int, default=60, help="of WebP (default: %(default)s)")
    options = parser.parse_args()
    size = pack(options.data, options.out, options.quality)
    print(f"{options.out}: {size / 2**20:.1f} MiB")
    if size > LARGEST:
        sys.exit(f"A pack may take {LARGEST / 2**20:.0f} MiB; lower --quality.")


if __name__ == "__main__":
    main()
