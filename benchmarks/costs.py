"""Time of an environment by parts, and its growth with each setting.

    OMP_NUM_THREADS=1 python benchmarks/costs.py            # both; about 5 minutes
    OMP_NUM_THREADS=1 python benchmarks/costs.py --parts --sizes 640x360

Everything runs in one thread, and times are of the processor, not of the clock, so that a busy
machine disturbs them little. Videos are made as for `environment.py`. Settings take turns; figures
are medians over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from videos import describe, row, table, write_lasot

import relo_env
from relo_env.clips import ClipSampler
from relo_env.datasets.frames import ImageFrames
from relo_env.datasets.lasot import LaSOT
from relo_env.engine import Engine
from relo_env.prefetch import ClipPrefetch
from relo_env.proposers import PreviousSizeProposer

BASE = {"rows": 8, "size": "1280x720", "search_size": 256, "clip_length": 8, "group_size": 1}
GROWTH: dict[str, tuple[int | str, ...]] = {
    "rows": (1, 8, 32, 64),
    "size": ("640x360", "1280x720", "1920x1080"),
    "search_size": (128, 256, 384),
    "clip_length": (4, 8, 16, 32),
    "group_size": (1, 2, 4, 8),
}
PARTS: dict[str, tuple[Any, str]] = {
    "reading and decoding frames": (ImageFrames, "read"),
    "cutting crops": (ClipPrefetch, "_cut"),
    "drawing clips": (ClipSampler, "sample"),
    "copying the observation": (Engine, "observation"),
    "candidates of the proposer": (PreviousSizeProposer, "propose"),
    "infos of the vector environment": (relo_env.TrackingVectorEnv, "_batched"),
}
"""Functions whose time is told; what one of them calls is not counted twice."""


class Stopwatch:
    """Seconds of the processor that functions took themselves, without those they call."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._running: list[str] = []
        self._since = 0.0

    def watch(self, name: str, owner: Any, function: str) -> None:
        plain = getattr(owner, function)

        def watched(*args: Any, **kwargs: Any) -> Any:
            self._switch(push=name)
            try:
                return plain(*args, **kwargs)
            finally:
                self._switch()

        setattr(owner, function, watched)

    def _switch(self, push: str | None = None) -> None:
        now = time.process_time()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._since = now
        if push is None:
            self._running.pop()
        else:
            self._running.append(push)


def make(
    data: LaSOT, rows: int, clip_length: int, augment: bool = False, **options: Any
) -> Callable[[int], float]:
    """Plays so many episodes on every row; returns the processor's seconds."""
    venv = relo_env.TrackingVectorEnv(
        rows,
        data,
        clip_length=clip_length,
        augment=augment,
        num_threads=0,
        autoreset_mode="SameStep",
        **options,
    )
    venv.reset(seed=0)
    positions = venv.crop.num_positions
    actions = np.full(rows, positions // 2 + venv.crop.grid[1] // 2)

    def play(episodes: int) -> float:
        start = time.process_time()
        for _ in range(episodes * clip_length):
            venv.step(actions)
        return time.process_time() - start

    return play


def print_parts(data: LaSOT, size: str, rounds: int) -> None:
    """Milliseconds of a step of one row, by what they are spent on."""
    base = {name: BASE[name] for name in ("rows", "search_size", "clip_length")}
    play = make(data, **base)  # type: ignore[arg-type]
    play(2)
    watch = Stopwatch()
    for name, (owner, function) in PARTS.items():
        watch.watch(name, owner, function)
    spent: dict[str, list[float]] = defaultdict(list)
    steps = int(BASE["rows"]) * int(BASE["clip_length"])
    for _ in range(rounds):
        watch.seconds.clear()
        total = play(1)
        parts = {name: watch.seconds[name] for name in PARTS}
        parts["everything else"] = total - sum(parts.values())
        parts["together"] = total
        for name, seconds in parts.items():
            spent[name].append(1e3 * seconds / steps)
    together = statistics.median(spent["together"])
    start = time.process_time()
    for name in data.names:
        data.load(name)
    annotations = 1e3 * (time.process_time() - start) / len(data)
    print(f"\n{size}: {describe(data)}\n")
    print(table("part", "ms a step of a row", "share"))
    for name, times in spent.items():
        middle = statistics.median(times)
        print(row(name, f"{middle:.3f}", f"{middle / together:.0%}"))
    print_cores(spent)
    print(
        f"\nA video that is not among the last ones costs {annotations:.1f} ms for its annotations."
    )


def print_cores(spent: dict[str, list[float]], cores: tuple[int, ...] = (2, 4, 8, 16)) -> None:
    """Steps a second of a row that the measured parts allow on so many cores: a model.

    Decoding and cutting are spread over all cores. What is left is done by the stepping thread,
    which waits for the crops, but not for frames: these are decoded ahead.
    """
    parts = {name: statistics.median(times) for name, times in spent.items()}
    decode, cut = parts["reading and decoding frames"], parts["cutting crops"]
    whole = parts["together"]
    own = whole - decode - cut
    print("\nModel of more cores, from the parts above:\n")
    print(table("cores", "rows/s, crops in the stepping thread", "rows/s, crops in all threads"))
    for count in cores:
        busy = 1e3 * count / whole
        cells = (min(busy, 1e3 / (own + cut)), min(busy, 1e3 / (own + cut / count)))
        print(row(count, *(f"{cell:.0f}" for cell in cells)))


def print_cutting(rows: int = 32, threads: int = 2, rounds: int = 60) -> None:
    """Milliseconds to cut the search crops of all rows, by turns in one thread and in several."""
    venvs = {
        count: relo_env.TrackingVectorEnv(
            rows, "Synthetic", num_threads=count, frame_size=(1280, 720), length=12, clip_length=2
        )
        for count in (0, threads)
    }
    times: dict[int, list[float]] = {count: [] for count in venvs}
    for venv in venvs.values():
        venv.reset(seed=0)
    for _ in range(rounds):
        for count, venv in venvs.items():
            start = time.perf_counter()
            venv.engine.observe(range(rows))
            times[count].append(1e3 * (time.perf_counter() - start))
    alone, shared = (statistics.median(times[count]) for count in (0, threads))
    print(
        f"\nCrops of {rows} rows: {alone:.1f} ms in one thread, {shared:.1f} ms in {threads}, "
        f"{alone / shared:.2f} times as fast."
    )


def print_growth(folder: Path, videos: int, length: int, rounds: int) -> None:
    """Milliseconds of a step of one row while one setting at a time is changed."""
    data = {size: videos_of(folder, str(size), videos, length) for size in GROWTH["size"]}
    settings = [(name, value) for name, values in GROWTH.items() for value in values]
    plays, spent = {}, defaultdict(list)
    for name, value in settings:
        options = {**BASE, name: value}
        plays[name, value] = make(data[options.pop("size")], **options)  # type: ignore[arg-type]
        plays[name, value](1)
    for _ in range(rounds):
        for name, value in settings:
            options = {**BASE, name: value}
            steps = int(options["rows"]) * int(options["clip_length"])
            spent[name, value].append(1e3 * plays[name, value](1) / steps)
    base = ", ".join(f"{name} {value}" for name, value in BASE.items())
    print(f"\nThe others stay: {base}.\n")
    print(table("setting", "ms a step of a row", "of the least"))
    for name, values in GROWTH.items():
        costs = [statistics.median(spent[name, value]) for value in values]
        for value, cost in zip(values, costs, strict=True):
            print(row(f"`{name}` {value}", f"{cost:.2f}", f"{cost / min(costs):.2f}"))


def videos_of(folder: Path, size: str, videos: int, length: int) -> LaSOT:
    root = folder / size
    root.mkdir()
    width, height = map(int, size.split("x"))
    return write_lasot(root, (width, height), videos, length, drawn=20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", action="store_true", help="only where the time goes")
    parser.add_argument("--growth", action="store_true", help="only how it grows")
    parser.add_argument("--cutting", action="store_true", help="only crops, in 1 and 2 threads")
    parser.add_argument("--sizes", nargs="+", default=["1280x720", "640x360"], help="of --parts")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each setting [15]")
    parser.add_argument("--videos", type=int, default=6, help="videos [6]")
    parser.add_argument("--length", type=int, default=1000, help="frames a video [1000]")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    if arguments.cutting:
        print_cutting()
        return
    if arguments.growth or not arguments.parts:
        with tempfile.TemporaryDirectory() as folder:
            print_growth(Path(folder), arguments.videos, arguments.length, arguments.rounds)
    if arguments.parts or not arguments.growth:
        with tempfile.TemporaryDirectory() as folder:
            for size in arguments.sizes:
                data = videos_of(Path(folder), size, arguments.videos, arguments.length)
                print_parts(data, size, arguments.rounds)


if __name__ == "__main__":
    main()
