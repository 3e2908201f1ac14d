"""Speed of planning, painting and rendering synthetic videos, for each level, on one core.

    OMP_NUM_THREADS=1 python benchmarks/synthetic.py

Times are of the processor, not of the clock, so that a busy machine disturbs them little.
"""

from __future__ import annotations

import argparse
import time

import cv2

from relo_env.datasets.synthetic import LEVELS, Synthetic


def measure(data: Synthetic, videos: int, frames: int) -> tuple[float, float, float]:
    """Seconds to load a video, to read its first frame, and to read each frame after it."""
    data[videos].frames.read(0)
    start = time.process_time()
    loaded = [data[i] for i in range(videos)]
    planned = time.process_time()
    for video in loaded:
        video.frames.read(0)
    painted = time.process_time()
    stride = max(len(loaded[0]) // (frames + 1), 1)
    for video in loaded:
        for i in range(1, frames + 1):
            video.frames.read(i * stride)
    end = time.process_time()
    return (
        (planned - start) / videos,
        (painted - planned) / videos,
        (end - painted) / videos / frames,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=40, help="videos a level [40]")
    parser.add_argument("--frames", type=int, default=40, help="frames after the first [40]")
    parser.add_argument("--cutouts", nargs="*", help="folders of cut-outs")
    parser.add_argument("--photos", nargs="*", help="folders of photographs")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    print("level    load [ms]  first frame [ms]  next frames [ms]  next frames/s  all frames/s")
    for level in LEVELS:
        data = Synthetic(difficulty=level, cutouts=arguments.cutouts, photos=arguments.photos)
        load, first, rest = measure(data, arguments.videos, arguments.frames)
        overall = (arguments.frames + 1) / (load + first + arguments.frames * rest)
        print(
            f"{level:7} {1e3 * load:10.2f} {1e3 * first:17.1f} {1e3 * rest:17.2f}"
            f" {1 / rest:14.0f} {overall:13.0f}"
        )


if __name__ == "__main__":
    main()
