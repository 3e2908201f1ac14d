"""GRPO: eight rollouts of each clip; the advantage is the return relative to the group."""

import argparse

from agents.algorithms import GRPO
from agents.proposer import NetworkProposer, find_network
from agents.vec import RELOVecEnv


def main(timesteps: int, network: str) -> GRPO:
    proposer = NetworkProposer(find_network(network))
    env = RELOVecEnv("RELO-Synthetic-v0", num_envs=16, group_size=8, proposer=proposer)
    model = GRPO("RELOPolicy", env, learning_rate=1e-3, kl_coef=0.01, verbose=1)
    return model.learn(timesteps, progress_bar=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timesteps", type=int, default=20_000)
    parser.add_argument("--network", default="nano", help="a preset or a checkpoint's path")
    main(**vars(parser.parse_args()))
