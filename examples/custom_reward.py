"""A custom reward: precise boxes earn more, and a lost target is punished.

A reward is a function of the overlaps and visibility of the frames so far. The paper's credit is
defined for the paper's reward only, so this example uses GAE.
"""

import argparse

import numpy as np

from agents.algorithms import ActorCritic
from agents.proposer import NetworkProposer, find_network
from agents.vec import RELOVecEnv


def precise(ious: np.ndarray, visible: np.ndarray, last: bool) -> float:
    """Squared IoU of the frame; minus one at the last frame if the target is lost."""
    lost = last and ious[visible][-1:].sum() == 0
    return float(ious[-1] ** 2 - lost) if visible[-1] else -float(lost)


def main(timesteps: int, network: str) -> ActorCritic:
    proposer = NetworkProposer(find_network(network))
    env = RELOVecEnv("RELO-Synthetic-v0", num_envs=8, reward=precise, proposer=proposer)
    model = ActorCritic("RELOPolicy", env, credit="gae", learning_rate=1e-3, verbose=1)
    return model.learn(timesteps, progress_bar=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timesteps", type=int, default=20_000)
    parser.add_argument("--network", default="nano", help="a preset or a checkpoint's path")
    main(**vars(parser.parse_args()))
