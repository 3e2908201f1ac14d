"""Frames a second that Stable-Baselines3 collects, with the network's features from a stub.

The proposer gives each frame features that it made before, so that what is measured is the way of
an action: policy heads, environment, infos, rollout buffer. Two source trees take turns, each in a
process of its own that stays:

    git worktree add ../old 80d53bb
    python benchmarks/collection.py --trees ../old . --rounds 9
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROWS, STEPS = 16, 32


def stub(num_rows: int = 1) -> Any:
    """A proposer of the last size whose features are of an array made once."""
    import gymnasium as gym
    import numpy as np

    from agents.network import RELONetwork
    from relo_env.proposers import PreviousSizeProposer, Proposals

    network = RELONetwork.from_preset("nano")

    class Stub(PreviousSizeProposer):
        def __init__(self) -> None:
            super().__init__(network.crop)
            self.trainable = network
            shape = (network.width, *network.crop.grid)
            box = gym.spaces.Box(-np.inf, np.inf, shape, np.float16)
            self.extra_spaces = {"features": box}
            rng = np.random.default_rng(0)
            self.cached = rng.standard_normal((ROWS, *shape)).astype(np.float16)

        def propose(self, rows: Any, *boxes: Any) -> Any:
            proposals = super().propose(rows, *boxes)
            return Proposals(proposals.boxes, {"features": self.cached[rows]})

    return network, Stub()


def video() -> Any:
    """A data set of one video in memory: reading a frame costs nothing."""
    import numpy as np

    from relo_env.datasets.base import Dataset, Sequence

    class Frames:
        image = np.random.default_rng(0).integers(0, 255, (72, 96, 3), np.uint8)

        def __len__(self) -> int:
            return 40

        def read(self, index: int) -> np.ndarray:
            return self.image

    class Video(Dataset):
        name, splits, names = "Video", ("train",), ("video",)  # type: ignore[assignment]

        def load(self, name: str) -> Sequence:
            boxes = np.tile([30.0, 20.0, 20.0, 16.0], (40, 1))
            return Sequence(name, Frames(), boxes, np.ones(40, bool))

    return Video()


def serve() -> None:
    """Collect a rollout for each line of the input; answer with frames a second."""
    import torch
    from gymnasium.vector import AutoresetMode
    from stable_baselines3.common.callbacks import CallbackList

    from agents.algorithms import ActorCritic
    from agents.vec import RELOVecEnv
    from relo_env.vector_env import TrackingVectorEnv

    torch.set_num_threads(1)
    network, proposer = stub()
    venv = RELOVecEnv(
        TrackingVectorEnv(
            ROWS,
            video(),
            autoreset_mode=AutoresetMode.SAME_STEP,
            num_threads=0,
            proposer=proposer,
            augment=False,
        )
    )
    model = ActorCritic(
        "RELOPolicy", venv, n_steps=STEPS, policy_kwargs={"network": network}, seed=0
    )
    _, callback = model._setup_learn(10**9, CallbackList([]))
    for _ in sys.stdin:
        start = time.process_time()
        model.collect_rollouts(venv, callback, model.rollout_buffer, STEPS)
        print(ROWS * STEPS / (time.process_time() - start), flush=True)


def start(tree: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(tree.resolve()), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).resolve()), "--serve"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trees", nargs="+", type=Path, default=[Path()], help="source trees")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve()
        return
    servers = [start(tree) for tree in arguments.trees]
    rates: list[list[float]] = [[] for _ in servers]
    for _ in range(arguments.rounds + 1):
        for server, measured in zip(servers, rates, strict=True):
            assert server.stdin is not None
            assert server.stdout is not None
            server.stdin.write("\n")
            server.stdin.flush()
            measured.append(float(server.stdout.readline()))
    for server in servers:
        server.communicate()
    medians = [statistics.median(measured[1:]) for measured in rates]  # the first one warms up
    for tree, median in zip(arguments.trees, medians, strict=True):
        print(f"{tree}: {median:.0f} frames/s of processor time, {median / medians[0]:.2f}")


if __name__ == "__main__":
    main()
