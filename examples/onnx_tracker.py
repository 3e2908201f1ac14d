"""Track one object in a video with numpy, OpenCV and onnxruntime, without torch.

``python examples/onnx_tracker.py nano-onnx bird.mp4 210,80,42,64 > boxes.csv`` writes a line
``frame,x,y,w,h,score`` for each frame. It needs this file and the folder that ``relo weights export
nano nano-onnx`` writes. From the same last box it finds the same box as ``RELOTracker`` with a
network without confidence. The score is the probability of the chosen position. ``relo evaluate
--tracker onnx_tracker:OnnxTracker --tracker-option folder=...`` runs it on a benchmark.
"""

import argparse
import csv
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

Box = tuple[float, float, float, float]
"""Left, top, width and height in pixels."""

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
MARGIN = 10.0
"""[px] least side of a box, and least overlap with the frame."""


class OnnxTracker:
    """Tracker that scores the positions of a window around the last box and takes the best box.

    Raises:
        ValueError: the folder was not written by ``relo weights export``.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            self._templates, self._step = (
                onnxruntime.InferenceSession(Path(folder, name))
                for name in ("templates.onnx", "step.onnx")
            )
            facts = self._step.get_modelmeta().custom_metadata_map["relo"]
        except Exception as error:  # onnxruntime's own have no class in common
            raise ValueError(f"{folder} is no folder of `relo weights export`: {error}") from error
        self._crop = json.loads(facts)["crop"]
        # A Hann window without the zeros at its ends favours positions near the centre.
        hann = np.hanning(self._crop["search_size"] // self._crop["stride"] + 2)[1:-1]
        self._hann = np.outer(hann, hann).ravel()

    def init(self, frame: np.ndarray, box: Box) -> None:
        """Start on uint8 RGB ``frame`` ``(H, W, 3)`` with the target at ``box``.

        Raises:
            ValueError: no part of the box is in the frame.
        """
        height, width = frame.shape[:2]
        self._box = np.array(box, np.float64)
        inside = np.minimum(self._box[:2] + self._box[2:], (width, height)) - self._box[:2].clip(0)
        if not (np.isfinite(self._box).all() and (inside > 0).all()):
            raise ValueError(f"box {box} has no area in a frame of {width}x{height} px")
        crop, _, side = self._cut(frame, "template")
        extent = self._box[2:] / side
        in_crop = np.concatenate([0.5 - extent / 2, extent]).astype(np.float32)
        count = self._crop["num_templates"]
        templates = {
            "templates": np.tile(crop, (1, count, 1, 1, 1)),
            "template_boxes": np.tile(in_crop, (1, count, 1)),
        }
        (rows,) = self._templates.run(None, templates)
        self._state = {"template_rows": rows}
        sizes = {known.name: known.shape[-1] for known in self._step.get_inputs()}
        if "tokens" in sizes:  # what a network remembers of earlier frames, if it does
            self._state["tokens"] = np.zeros((1, sizes["tokens"]), np.float32)
            self._state["tokens_valid"] = np.zeros(1, bool)

    def update(self, frame: np.ndarray) -> tuple[Box, float]:
        """Box and score of the target in the next frame."""
        crop, center, side = self._cut(frame, "search")
        outputs = self._step.run(None, {**self._state, "search": crop[None]})
        (candidates,), (logits,), _, *tokens = outputs
        if tokens:
            self._state["tokens"], self._state["tokens_valid"] = tokens[0], np.ones(1, bool)
        scores = np.exp(logits - logits.max())
        scores /= scores.sum()
        best = int((scores * self._hann).argmax())
        position, extent = candidates[best].astype(np.float64).reshape(2, 2)
        low = center + (position - 0.5 - extent / 2) * side
        high = low + extent * side
        size = np.array([frame.shape[1], frame.shape[0]])
        low, high = low.clip(0, size - MARGIN), high.clip(MARGIN, size)
        self._box = np.concatenate([low, (high - low).clip(MARGIN)])
        x, y, w, h = self._box.tolist()
        return (x, y, w, h), float(scores[best])

    def _cut(self, frame: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray, float]:
        """Normalised search crop ``(3, S, S)`` around the box; centre and side of its window."""
        size: int = self._crop[f"{kind}_size"]
        center = self._box[:2] + self._box[2:] / 2
        side = self._crop[f"{kind}_factor"] * math.sqrt(self._box[2] * self._box[3])
        step = side / size
        # Boxes count from a pixel's corner, cv2 from its centre.
        left, top = center - side / 2 + step / 2 - 0.5
        crop = cv2.warpAffine(
            frame,
            np.array([[step, 0.0, left], [0.0, step, top]]),
            (size, size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        )
        return ((crop.astype(np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1), center, side


def read_video(path: str) -> Iterator[np.ndarray]:
    """Frames of a video, uint8 RGB; ValueError if there is none."""
    capture = cv2.VideoCapture(path)
    found, frame = capture.read()
    if not found:
        raise ValueError(f"{path} is no video that OpenCV can read")
    while found:
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        found, frame = capture.read()


def parse_box(text: str) -> Box:
    try:
        x, y, w, h = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"box {text!r} is not LEFT,TOP,WIDTH,HEIGHT in pixels") from None
    return x, y, w, h


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="what `relo weights export` wrote")
    parser.add_argument("video", help="a file that OpenCV reads")
    parser.add_argument(
        "box", metavar="X,Y,W,H", help="the object in the first frame; after -- where X is negative"
    )
    options = parser.parse_args()
    try:
        box = parse_box(options.box)
        frames = read_video(options.video)
        first = next(frames)
        tracker = OnnxTracker(options.folder)
        tracker.init(first, box)
    except ValueError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["frame", "x", "y", "w", "h", "score"])
    table.writerow([0, *box, ""])  # given, not found
    for index, frame in enumerate(frames, start=1):
        found, score = tracker.update(frame)
        table.writerow([index, *(round(value, 3) for value in found), round(score, 6)])


if __name__ == "__main__":
    main()
