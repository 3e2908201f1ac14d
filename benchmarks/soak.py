"""Steps an environment at random for a long time; memory is to stay flat, and nothing to break.

    python benchmarks/soak.py --steps 200000
    python benchmarks/soak.py --steps 200000 --id RELO-Folder-v0 --root DATA/dev
    python benchmarks/soak.py --seconds 3600 --cache-mib 256

Steps are those of single rows. Every observation is looked at for values outside its space, every
reward and overlap for what is no finite number; the first fault ends the run.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

import cv2
import gymnasium as gym
import numpy as np
from videos import row, table

import relo_env

REPORTS = 20


def check(venv: relo_env.TrackingVectorEnv, step: tuple[Any, ...]) -> None:
    """Raise AssertionError where a step gave what it must not."""
    observation, rewards, _, _, infos = step
    for name, space in venv.single_observation_space.items():
        values = observation[name]
        assert values.dtype == space.dtype, name
        assert values.shape == (venv.num_envs, *space.shape), name
        if values.dtype != np.uint8:
            assert np.isfinite(values).all(), name
            assert (values >= space.low).all(), name
            assert (values <= space.high).all(), name
    ended = infos.get("final_info", {})
    for values in (
        rewards,
        *(told[k] for told in (infos, ended) for k in ("iou", "auc", "box") if k in told),
    ):
        assert np.isfinite(values).all()


def memory() -> float:
    """Resident memory of this process [MiB]."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def soak(venv: relo_env.TrackingVectorEnv, steps: float, seconds: float) -> list[float]:
    """Step until one of the two is reached; returns the memory at each report."""
    print(table("steps", "seconds", "steps/s", "memory MiB", "frames kept MiB", "clips redrawn"))
    venv.reset(seed=0)
    venv.action_space.seed(0)
    start, done, reports = time.perf_counter(), 0, []
    while True:
        check(venv, venv.step(venv.action_space.sample()))
        done += venv.num_envs
        spent = time.perf_counter() - start
        progress = max(done / steps, spent / seconds)
        if progress * REPORTS >= len(reports) + 1:
            reports.append(memory())
            kept = venv.engine.loader.kept_bytes / 2**20
            cells = (done, f"{spent:.0f}", f"{done / spent:.0f}", f"{reports[-1]:.0f}")
            print(row(*cells, f"{kept:.0f}", venv.engine.clips.redraws), flush=True)
        if progress >= 1:
            return reports


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--id", default="RELO-Synthetic-v0")
    parser.add_argument("--root", help="folder of the data set")
    parser.add_argument("--steps", type=float, default=float("inf"))
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--rows", type=int, default=16, help="rows N [16]")
    parser.add_argument("--group-size", type=int, default=1)
    parser.add_argument("--cache-mib", type=int, default=256, help="bound on decoded frames [256]")
    parser.add_argument("--action-mode", default="grid", choices=("grid", "box", "move"))
    parser.add_argument("--search-window", default="tracked", choices=("tracked", "jittered"))
    parser.add_argument("--search-size", type=int)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    venv = gym.make_vec(
        arguments.id,
        arguments.rows,
        vectorization_mode="vector_entry_point",
        autoreset_mode="SameStep",
        root=arguments.root,
        group_size=arguments.group_size,
        cache_bytes=arguments.cache_mib << 20,
        action_mode=arguments.action_mode,
        search_window=arguments.search_window,
        search_size=arguments.search_size,
    )
    assert isinstance(venv, relo_env.TrackingVectorEnv)
    reports = soak(venv, arguments.steps, arguments.seconds)
    settled = reports[len(reports) // 4 :]
    print(
        f"\nNo fault. After a quarter of the run memory was {settled[0]:.0f} MiB, "
        f"at its end {settled[-1]:.0f} MiB, at most {max(settled):.0f} MiB."
    )
    venv.close()


if __name__ == "__main__":
    main()
