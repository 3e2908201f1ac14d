"""Both stages of `nano` from one pack of data, on a CPU or a GPU, ended by the clock.

::

    python -m examples.nano.train pack --out runs/nano --minutes 9

Most of the time is warm-up with the policy in the open loop (``--share``); the rest is the whole
tracker in the closed loop. A run goes on with ``--resume``. After each stage its weights are
written in half precision, in parts of at most 15 MiB, which `join` puts together::

    python -m examples.nano.train --join runs/nano/nano.safetensors.* nano.safetensors
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from stable_baselines3.common.callbacks import BaseCallback

from agents.network import RELONetwork
from agents.policy_config import PolicyConfig
from agents.training import train_policy
from agents.warmup import WarmupConfig, warmup
from examples.nano.boxed import Boxed
from examples.nano.recipe import FROZEN, LEAST_REAL_TARGET
from examples.nano.regions import Regions
from examples.nano.sizeable import Sizeable
from relo_env.datasets.base import Dataset
from relo_env.datasets.folder import Folder
from relo_env.datasets.mixture import Mixture
from relo_env.datasets.synthetic import LEVELS, Synthetic

WARMUP_SHARE = 0.8
"""Share of the time that stage 1 takes."""
PART = 15 * 2**20
"""[bytes] largest part of the weights."""

WARMUP = WarmupConfig(
    steps=1_000_000,  # the clock ends it
    clips=64,
    clip_length=3,
    jitter=0.7,
    learning_rate=1e-3,
    encoder_learning_rate=2.5e-4,
    frozen=FROZEN,
    supervision="neighbours",
    policy_weight=1.0,
    entropy_weight=0.05,
    augment_pixels=True,
    views=3,
    amp=True,
)
"""Stage 1 on a GPU, which would wait for its data if it saw a clip once only."""

CPU_WARMUP = replace(WARMUP, clips=6, learning_rate=5e-4, encoder_learning_rate=1e-4, views=1)
"""Stage 1 on a CPU."""

POLICY = PolicyConfig(
    algorithm="expected-gradient",
    steps=100_000_000,
    num_envs=64,
    clip_length=16,
    search_window="tracked",
    learning_rate=2e-4,
    encoder_scale=0.1,
    amp=True,
    fresh_heads=False,
    algorithm_options={
        "box_coef": 1.0,
        "greedy_share": 0.5,
        "ent_coef": 0.05,
        "micro_batch_size": 256,
    },
)
"""Stage 2: encoder, boxes, policy and value on the windows that the policy makes."""

CPU_ENVS = 4

SHARES = {
    "medium": 0.16,
    "hard": 0.14,
    "small": 0.08,
    "large": 0.05,
    "regions": 0.14,
    "boxed": 0.22,
    "real": 0.21,
}
"""Probability of each kind of video."""


def training_data(pack: Path) -> Dataset:
    """Composites of four kinds, regions and boxed objects of photographs, real videos."""
    cutouts, photos = sorted((pack / "cutouts").iterdir()), pack / "photos"

    def synthetic(level: str, low: float, high: float, **changes: float) -> Dataset:
        difficulty = replace(LEVELS[level], size=(low, high), relatives=0.6, **changes)
        return Synthetic("train", difficulty=difficulty, cutouts=cutouts, photos=photos)

    parts = {
        "medium": synthetic("medium", 10, 0.35),
        "hard": synthetic("hard", 8, 0.35),
        "small": synthetic("hard", 7, 0.12, exposure=0.9, defocus=1.2),
        "large": synthetic("medium", 10, 0.7),
        "regions": Regions([photos]),
        "boxed": Boxed(sorted((pack / "boxed").iterdir())),
        "real": Sizeable(Folder(pack / "sequences"), least=LEAST_REAL_TARGET, frames=15),
    }
    return Mixture({name: parts[name] for name in SHARES}, weights=list(SHARES.values()))


class Clock(BaseCallback):
    """Ends a training of SB3 when its time is over, at a rollout's beginning."""

    def __init__(self, minutes: float) -> None:
        super().__init__()
        self.end = time.monotonic() + 60 * minutes

    def _on_step(self) -> bool:
        first = self.locals["rollout_buffer"].pos == 0
        return not (first and time.monotonic() > self.end)


def train(options: argparse.Namespace) -> Path:
    """Run both stages and write the weights; returns the first part's path."""
    device, dataset = torch.device(options.device), training_data(options.pack)
    gpu = device.type == "cuda"
    stage1 = replace(
        WARMUP if gpu else CPU_WARMUP,
        minutes=options.share * options.minutes,
        num_workers=options.num_workers,
        seed=options.seed,
    )
    out, second = options.out / "warmup", options.out / "policy"
    begun = (second / "state.pt").exists()
    warmed = out / "warmup.safetensors"
    if not begun:
        warmed = warmup(
            stage1,
            network=RELONetwork.from_pretrained(options.network),
            dataset=dataset,
            out=out,
            resume=options.resume and (out / "warmup.state.pt").exists(),
            device=device,
        )
    if options.share == 1:
        return release(warmed, options.out / "nano.safetensors")[0]
    release(warmed, options.out / "stage1.safetensors")
    policy = train_policy(
        replace(POLICY, num_envs=POLICY.num_envs if gpu else CPU_ENVS, seed=options.seed),
        network=RELONetwork.from_checkpoint(warmed),
        dataset=dataset,
        out=second,
        resume=options.resume and begun,
        device=device,
        callbacks=[Clock((1 - options.share) * options.minutes)],
    )
    return release(policy, options.out / "nano.safetensors")[0]


def release(checkpoint: Path, path: Path) -> list[Path]:
    """Write a checkpoint in half precision, in parts of at most `PART` bytes: ``path.0`` and on."""
    network = RELONetwork.from_checkpoint(checkpoint)
    network.save_checkpoint(path, stage="policy", dtype=torch.float16)
    data = path.read_bytes()
    parts = []
    for number, start in enumerate(range(0, len(data), PART)):
        parts.append(path.with_name(f"{path.name}.{number}"))
        parts[-1].write_bytes(data[start : start + PART])
    return parts


def join(parts: Sequence[Path], path: Path) -> Path:
    """Put the parts of `release` together."""
    in_order = sorted(parts, key=lambda part: int(part.suffix[1:]))
    path.write_bytes(b"".join(part.read_bytes() for part in in_order))
    return path


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pack", type=Path, nargs="?", help="folder that examples.nano.pack wrote")
    parser.add_argument("--join", type=Path, nargs="+", metavar="FILE", help="parts, then the file")
    parser.add_argument("--out", type=Path, help="folder of the run")
    parser.add_argument("--minutes", type=float, default=9.0, help="default: %(default)s")
    parser.add_argument("--share", type=float, default=WARMUP_SHARE, help="of the time for stage 1")
    parser.add_argument("--network", default="nano", help="preset or checkpoint to start from")
    parser.add_argument("--num-workers", type=int, default=max((os.cpu_count() or 2) - 2, 1))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=default)
    options = parser.parse_args()
    if options.join:
        *parts, path = options.join
        print(join(parts, path))
    elif options.pack is None or options.out is None:
        parser.error("expected a pack and --out, or --join")
    else:
        print(train(options))


if __name__ == "__main__":
    main()
