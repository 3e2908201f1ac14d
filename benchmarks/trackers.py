"""Speed of trackers on one object: update by update in turns, on the same frames of 640x480.

python benchmarks/trackers.py                         # the tracker that ships beside OpenCV's
python benchmarks/trackers.py --threads 1 --trackers nano opencv:MIL
"""

from __future__ import annotations

import argparse
import statistics
import time

import cv2
import torch
from machine import machine
from videos import row, table

from agents.backends import NAMES
from agents.commands.arguments import tracker_factory
from relo_env.benchmark.interface import Tracker
from relo_env.datasets.synthetic import Synthetic

DEFAULT = ["nano", "nano onnxruntime", "nano onnxruntime-int8", "nano bfloat16", "opencv:CSRT"]
VIDEOS, LENGTH, SIZE = 3, 120, (640, 480)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trackers", nargs="+", default=DEFAULT)
    parser.add_argument("--threads", type=int, default=2, help="of torch and of OpenCV [2]")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    seconds: dict[str, list[float]] = {name: [] for name in options.trackers}
    videos = Synthetic("test", difficulty="medium", frame_size=SIZE, length=LENGTH)
    for index in range(VIDEOS):
        video = videos[index]
        frames = [video.frames.read(k) for k in range(LENGTH)]
        trackers = {name: make_tracker(name) for name in options.trackers}
        for tracker in trackers.values():
            tracker.init(frames[0], tuple(video.boxes[0].tolist()))
        for frame in frames[1:]:
            for name, tracker in trackers.items():
                begin = time.perf_counter()
                tracker.update(frame)
                seconds[name].append(time.perf_counter() - begin)
    print(f"{machine()}\n")
    print(table("tracker", "median ms", "mean ms", "frames/s"))
    for name, spent in seconds.items():
        mean = statistics.mean(spent)
        median = 1e3 * statistics.median(spent)
        print(row(name, f"{median:.1f}", f"{1e3 * mean:.1f}", f"{1 / mean:.0f}"))


def make_tracker(name: str) -> Tracker:
    """A tracker as `relo track --tracker` takes it, with a backend or a dtype behind a blank."""
    spec, _, option = name.partition(" ")
    options = {"backend" if option in NAMES else "dtype": option} if option else {}
    return tracker_factory(spec, device="cpu", options=options)()


if __name__ == "__main__":
    main()
