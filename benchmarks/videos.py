"""Videos in LaSOT's layout, made for the other benchmarks."""

from __future__ import annotations

import os
import statistics
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from relo_env.datasets.disk import read_list
from relo_env.datasets.lasot import LaSOT
from relo_env.datasets.synthetic import LEVELS, Synthetic

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
"""Cores that this process may use."""
TARGET = (1 / 8, 1 / 2)
"""Range of the targets' size, sqrt(w * h), as a share of the frame's shorter side."""


def write_lasot(
    root: Path, size: tuple[int, int], videos: int, length: int, drawn: int = 40
) -> LaSOT:
    """JPEG videos of quality 75; ``drawn`` frames are rendered and played back and forth.

    Args:
        root: an empty folder.
        size: (width, height) of a frame [px].
        videos: number of videos.
        length: frames of each.
        drawn: different ones among these.
    """
    low, high = TARGET
    level = replace(LEVELS["medium"], size=(low * min(size), high))
    synthetic = Synthetic(difficulty=level, frame_size=size, length=drawn)
    order = np.abs((np.arange(length) + drawn - 1) % (2 * drawn - 2) - (drawn - 1))
    for i, name in enumerate(read_list("lasot_train.txt")[:videos]):
        sequence = synthetic[i]
        folder = root / name.split("-")[0] / name
        (folder / "img").mkdir(parents=True)
        for k in range(drawn):
            image = cv2.cvtColor(sequence.frames.read(k), cv2.COLOR_RGB2BGR)
            first, *others = (
                folder / "img" / f"{f + 1:08d}.jpg" for f in np.nonzero(order == k)[0]
            )
            cv2.imwrite(str(first), image, [cv2.IMWRITE_JPEG_QUALITY, 75])
            for other in others:
                os.link(first, other)
        np.savetxt(folder / "groundtruth.txt", sequence.boxes[order], "%.2f", ",")
        absent = (~sequence.visible[order]).astype(int)
        for file, flags in (("full_occlusion.txt", absent), ("out_of_view.txt", 0 * absent)):
            (folder / file).write_text(",".join(map(str, flags)))
    return LaSOT(root)


def describe(data: LaSOT) -> str:
    """Size of the files and of the targets, and the machine's state."""
    paths = [path for sequence in data for path in sequence.frames.paths[::20]]
    mean = statistics.mean(os.path.getsize(path) for path in paths) / 1024
    boxes = np.concatenate([sequence.boxes[sequence.visible] for sequence in data])
    target = np.median(np.sqrt(boxes[:, 2] * boxes[:, 3]))
    return (
        f"JPEG of {mean:.0f} KiB, targets of {target:.0f} px in the median, {len(data)} videos of "
        f"{len(data[0])} frames; {CORES} cores, load {os.getloadavg()[0]:.1f}."
    )


def table(*columns: str) -> str:
    """Head of a Markdown table."""
    return row(*columns) + "\n" + row(*["---"] * len(columns))


def row(*cells: object) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(map(str, cells)) + " |"
