"""Speed of `relo track` from end to end, on a made video of 1280x720, with and without drawing.

    python benchmarks/track.py
    python benchmarks/track.py --threads 1 --tracker nano --rounds 5

Backends and outputs take turns in one process. Frames a second are those of the whole command less
a run of one frame: reading, tracking, drawing and writing.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from videos import row, table

from agents import cli
from relo_env.datasets.synthetic import Synthetic
from relo_env.video import VideoWriter

SIZE, RATE = (1280, 720), 30.0
OUTPUTS = {"boxes only": ("--json", "boxes.json"), "drawn video": ("--out", "tracked.mp4")}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--tracker", default="nano", help="a preset that ships, or a checkpoint")
    add("--backends", nargs="+", default=["torch", "onnxruntime", "onnxruntime-int8"])
    add("--threads", type=int, default=2)
    add("--frames", type=int, default=200)
    add("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as `relo` does, before torch is imported
    from machine import machine

    with tempfile.TemporaryDirectory() as folder:
        box = write_video(Path(folder, "made.mp4"), options.frames)
        runs = [(backend, output) for backend in options.backends for output in OUTPUTS]
        seconds: dict[tuple[str, str], list[float]] = {run: [] for run in runs}
        starts: dict[tuple[str, str], list[float]] = {run: [] for run in runs}
        for run in runs:  # imports, and the frames of the video in the page cache
            track(folder, box, *run, options, frames=2)
        for _ in range(options.rounds):
            for run in runs:
                starts[run].append(track(folder, box, *run, options, frames=1))
                seconds[run].append(track(folder, box, *run, options, frames=options.frames))
    print(f"{options.frames} frames of {SIZE[0]}x{SIZE[1]}; {machine()}")
    print(table("backend", "output", "frames/s", "start [s]"))
    for run in runs:
        start, whole = statistics.median(starts[run]), statistics.median(seconds[run])
        print(row(*run, f"{(options.frames - 1) / (whole - start):.1f}", f"{start:.1f}"))


def write_video(path: Path, length: int) -> str:
    """Write a synthetic video; return its first box as ``--box`` takes it."""
    video = Synthetic("test", difficulty="medium", frame_size=SIZE, length=length)[0]
    writer = VideoWriter(path, RATE)
    for index in range(length):
        writer.add(video.frames.read(index), index / RATE)
    writer.close()
    return ",".join(f"{side:.0f}" for side in video.boxes[0])


def track(
    folder: str, box: str, backend: str, output: str, options: argparse.Namespace, frames: int
) -> float:
    """Seconds of one `relo track`."""
    option, name = OUTPUTS[output]
    command = ["track", f"{folder}/made.mp4", f"--box={box}", option, f"{folder}/{name}"]
    command += ["--tracker", options.tracker, "--tracker-option", f"backend={backend}"]
    command += ["--device", "cpu", "--threads", f"{options.threads}", "--max-frames", f"{frames}"]
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        begin = time.perf_counter()
        status = cli.main(command)
        spent = time.perf_counter() - begin
    if status:
        raise SystemExit(f"relo {' '.join(command)} ended with status {status}")
    return spent


if __name__ == "__main__":
    main()
