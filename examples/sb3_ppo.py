"""PPO of Stable-Baselines3 chooses positions on the features of a frozen network.

gamma is 1, because the last frame pays the AUC of the whole clip. A rollout of 16 steps is two
whole clips of eight frames.
"""

import argparse

from stable_baselines3 import PPO

from agents.policies import RELOPolicy
from agents.proposer import NetworkProposer, find_network
from agents.vec import RELOVecEnv


def main(timesteps: int, network: str) -> PPO:
    net = find_network(network)
    env = RELOVecEnv("RELO-Synthetic-v0", num_envs=8, proposer=NetworkProposer(net))
    model = PPO(
        RELOPolicy,
        env,
        learning_rate=1e-3,
        n_steps=16,
        batch_size=64,
        n_epochs=4,
        gamma=1.0,
        policy_kwargs={"network": net},
        verbose=1,
    )
    return model.learn(timesteps, progress_bar=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timesteps", type=int, default=20_000)
    parser.add_argument("--network", default="nano", help="a preset or a checkpoint's path")
    main(**vars(parser.parse_args()))
