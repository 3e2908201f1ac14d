"""Speed of stage 1: its data alone, its network alone, and both together.

    python benchmarks/warmup.py                                       # about a minute
    python benchmarks/warmup.py --clips 64 --device cuda --num-workers 14

The data side is measured in this process, on one core: that rate times the number of workers is the
rate that workers can deliver. The network is measured on one batch that is used again and again. If
a training waits for its data, the last line shows fewer steps/s than the network alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from agents.network import RELONetwork
from agents.warmup import ClipBatches, Warmup, WarmupConfig
from agents.warmup.clips import ClipBatch
from relo_env.datasets.synthetic import Synthetic


def rate(work: Callable[[], object], seconds: float) -> float:
    """Calls a second, after one call that is not counted."""
    work()
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        work()
        count += 1
    return count / (time.perf_counter() - begin)


def stepping(run: Warmup, batches: Iterable[ClipBatch]) -> Callable[[], object]:
    """One gradient step on the next batch, to its end on the device."""
    source: Iterator[ClipBatch] = iter(batches)

    def step() -> None:
        run._update(next(source))
        if run.device.type == "cuda":
            torch.cuda.synchronize()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--clip-length", type=int, default=3)
    parser.add_argument("--num-workers", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement")
    options = parser.parse_args()
    config = WarmupConfig(
        steps=2**31 - 1,
        clips=options.clips,
        clip_length=options.clip_length,
        num_workers=options.num_workers,
        policy_weight=1.0,
        amp=True,
    )
    network, data = RELONetwork.from_preset(options.preset), Synthetic("train")
    batches = ClipBatches(
        data, network.crop, clips=config.clips, clip_length=config.clip_length, seed=1
    )
    numbers = iter(range(1_000_000))
    clips = config.clips * rate(lambda: batches[next(numbers)], options.seconds)
    device = torch.device(options.device)
    with TemporaryDirectory() as folder:
        run = Warmup(config, network, data, Path(folder), False, device)
        fixed = ClipBatch(*(part.to(device) for part in batches[0]))
        alone = rate(stepping(run, repeat(fixed)), options.seconds)
        together = rate(stepping(run, run.batches_left()), options.seconds)
    print(f"data alone            {clips:8.2f} clips/s a core")
    print(f"network alone         {alone:8.2f} steps/s of {config.clips} clips")
    print(f"data and network      {together:8.2f} steps/s, {config.num_workers} workers")


if __name__ == "__main__":
    main()
