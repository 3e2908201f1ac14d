"""Measure the speed of environment, network and tracker on this machine.

Figures are medians over equal slices of time, after a slice of warm-up. Other running programs
lower them: compare figures of one run only.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import torch
from gymnasium.vector import AutoresetMode

from agents.backends import make_backend
from agents.commands import arguments
from agents.network import RELONetwork
from agents.proposer import NetworkProposer, find_network
from agents.tracker import RELOTracker
from relo_env.datasets.synthetic import Synthetic

EXAMPLES = """\
examples:
  relo bench
  relo bench --network t256 --device cuda --num-envs 32 --seconds 10"""

SLICES = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``relo bench``."""
    parser.add_argument(
        "--network", default="nano", help="a preset or a checkpoint (default: %(default)s)"
    )
    parser.add_argument(
        "--num-envs", type=arguments.positive, default=16, metavar="N", help="(default: 16)"
    )
    parser.add_argument(
        "--seconds",
        type=arguments.positive,
        default=5,
        metavar="S",
        help="duration of each measurement (default: 5)",
    )
    arguments.add_device(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure and print."""
    network = find_network(options.network).to(options.device)
    threads = torch.get_num_threads()
    print(
        f"{options.network} on {options.device}, {threads} CPU threads, synthetic video 320 x 240"
    )
    trackers = [
        (f"tracking, {name}", "frames/s", tracking(network, options.device, name), 1)
        for name in backends(options.device)
    ]
    for name, unit, step, frames in (
        ("rendering", "frames/s", rendering(), 1),
        *trackers,
        ("environment, no network", "steps/s", stepping(options.num_envs), options.num_envs),
        (
            "environment, network",
            "steps/s",
            stepping(options.num_envs, proposer=NetworkProposer(network)),
            options.num_envs,
        ),
    ):
        print(f"{name:24} {frames * rate(step, options.seconds):8.0f} {unit}", flush=True)
    if options.device == "cpu":
        print(f"backend 'auto' is {make_backend(network).choice}")
    return 0


def backends(device: str) -> list[str]:
    """Backends that run on a device here."""
    installed = all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))
    return ["torch", "onnxruntime"] if device == "cpu" and installed else ["torch"]


def rate(step: Callable[[], object], seconds: float) -> float:
    """Median number of calls a second."""
    rates = []
    for _ in range(SLICES + 1):
        begin, calls = time.perf_counter(), 0
        while (spent := time.perf_counter() - begin) < seconds / SLICES:
            step()
            calls += 1
        rates.append(calls / spent)
    return statistics.median(rates[1:])


def rendering() -> Callable[[], object]:
    """Make a function that renders the next frame of a synthetic video."""
    frames = Synthetic("test")[0].frames
    indices = itertools.cycle(range(len(frames)))
    return lambda: frames.read(next(indices))


def tracking(network: RELONetwork, device: str, backend: str = "auto") -> Callable[[], object]:
    """Make a function that updates a tracker on a frame, which is read before."""
    video = Synthetic("test")[0]
    tracker = RELOTracker(network, device=device, backend=backend)
    frame = video.frames.read(0)
    x, y, w, h = video.boxes[0].tolist()
    tracker.init(frame, (x, y, w, h))
    return lambda: tracker.update(frame)


def stepping(num_envs: int, **options: Any) -> Callable[[], object]:
    """Make a function that steps a vector environment at random, with resets."""
    env = gym.make_vec(
        "RELO-Synthetic-v0",
        num_envs=num_envs,
        vectorization_mode="vector_entry_point",
        autoreset_mode=AutoresetMode.SAME_STEP,
        **options,
    )
    env.reset(seed=0)
    env.action_space.seed(0)
    return lambda: env.step(env.action_space.sample())
