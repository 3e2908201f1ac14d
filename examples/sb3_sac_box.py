"""SAC of Stable-Baselines3 predicts the box itself, as fractions of the search window."""

import argparse

from stable_baselines3 import SAC

from agents.vec import RELOVecEnv


def main(timesteps: int) -> SAC:
    env = RELOVecEnv(
        "RELO-Synthetic-v0",
        num_envs=4,
        action_mode="box",
        num_templates=1,
        template_size=64,
        search_size=64,
        stride=8,
    )
    model = SAC(
        "MultiInputPolicy",
        env,
        buffer_size=10_000,
        learning_starts=min(1_000, timesteps // 2),
        batch_size=32,
        gamma=0.9,
        verbose=1,
    )
    return model.learn(timesteps, progress_bar=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timesteps", type=int, default=20_000)
    main(**vars(parser.parse_args()))
