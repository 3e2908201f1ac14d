"""A2C of Stable-Baselines3 with the paper's credit: every frame earns IoU + lambda * AUC.

The rollout buffer computes the credit; the callback passes it the infos of the environment.
"""

import argparse

from stable_baselines3 import A2C

from agents.algorithms import RELORolloutBuffer
from agents.callbacks import CreditCallback
from agents.policies import RELOPolicy
from agents.proposer import NetworkProposer, find_network
from agents.vec import RELOVecEnv


def main(timesteps: int, network: str) -> A2C:
    net = find_network(network)
    env = RELOVecEnv("RELO-Synthetic-v0", num_envs=8, clip_length=8, proposer=NetworkProposer(net))
    model = A2C(
        RELOPolicy,
        env,
        learning_rate=1e-3,
        n_steps=8,
        normalize_advantage=True,
        rollout_buffer_class=RELORolloutBuffer,
        rollout_buffer_kwargs={"credit": "paper", "keys": ["features"]},
        policy_kwargs={"network": net},
        verbose=1,
    )
    return model.learn(timesteps, callback=CreditCallback(), progress_bar=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timesteps", type=int, default=20_000)
    parser.add_argument("--network", default="nano", help="a preset or a checkpoint's path")
    main(**vars(parser.parse_args()))
