"""PPO of Ray RLlib on a cluster, with env runners and learners in their own processes.

Needs ``pip install relo[rllib]``. Without --address the program starts a cluster on this machine
and stops it at the end. --out is a folder that all machines share. It gets the initial weights,
RLlib's checkpoints (--resume continues from the last one) and at the end network.safetensors for
``relo track`` and ``RELOTracker``. An env runner that dies is replaced.
"""

import argparse
import os
from dataclasses import dataclass, fields
from math import nan
from pathlib import Path

import ray
from ray.rllib.algorithms.algorithm import Algorithm

from agents.integrations.rllib import export_network, ppo_config, restore
from agents.proposer import find_network
from agents.tracker import RELOTracker


@dataclass
class Args:
    timesteps: int = 20_000
    """frames, of all environments together"""
    network: str = "nano"
    """a preset or a checkpoint's path"""
    env: str = "RELO-Synthetic-v0"
    out: Path = Path("runs/rllib")
    """folder of the run"""
    resume: bool = False
    """continue the run in --out"""
    address: str = ""
    """address of a Ray cluster, or "auto" on one of its machines"""
    num_env_runners: int = 2
    num_envs: int = 8
    """clips that run at the same time in each env runner"""
    num_learners: int = 0
    """learner processes; 0: this process learns"""
    batch_size: int = 256
    """frames of each learner between two updates"""
    learning_rate: float = 1e-3


def make_algorithm(args: Args, start: Path) -> Algorithm:
    config = (
        ppo_config(args.env, start, num_env_runners=args.num_env_runners, num_envs=args.num_envs)
        .learners(num_learners=args.num_learners)
        .training(lr=args.learning_rate, train_batch_size_per_learner=args.batch_size)
    )
    return config.build_algo()


def save(algorithm: Algorithm, out: Path) -> None:
    """Write a checkpoint in one piece, or not at all."""
    algorithm.save_to_path(str(out / "saving"))
    (out / "saving").rename(out / f"checkpoint-{algorithm.iteration:06d}")


def main(args: Args) -> RELOTracker:
    out = args.out.resolve()
    start = out / "start.safetensors"
    if not args.resume:
        find_network(args.network).save_checkpoint(start, stage="warmup")
    if args.address:
        ray.init(args.address)
    else:  # on a small machine, processes share its cores
        processes = args.num_env_runners + args.num_learners
        ray.init(num_cpus=max(processes, os.cpu_count() or 1))

    algorithm = make_algorithm(args, start)
    if args.resume:
        restore(algorithm, max(out.glob("checkpoint-*")))
    frames = 0
    while frames < args.timesteps:
        result = algorithm.train()
        played = result["env_runners"]
        frames = played["num_env_steps_sampled_lifetime"]
        runners = algorithm.env_runner_group.num_healthy_remote_workers()
        print(
            f"{frames:7.0f} frames  return {played.get('episode_return_mean', nan):.3f}  "
            f"AUC {played.get('auc', nan):.3f}  {runners} env runners"
        )
        save(algorithm, out)
    path = export_network(algorithm, out / "network.safetensors")
    algorithm.stop()
    ray.shutdown()
    return RELOTracker.from_pretrained(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for field in fields(Args):
        kind = {"action": "store_true"} if field.type is bool else {"type": field.type}
        parser.add_argument(f"--{field.name.replace('_', '-')}", default=field.default, **kind)
    main(Args(**vars(parser.parse_args())))
