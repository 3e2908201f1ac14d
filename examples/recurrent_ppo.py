"""RecurrentPPO of sb3-contrib with its own policy, an LSTM over small crops.

Candidate boxes have the size of the last box, at every cell of an 8 x 8 grid.
"""

import argparse

from sb3_contrib import RecurrentPPO

from agents.vec import RELOVecEnv


def main(timesteps: int) -> RecurrentPPO:
    env = RELOVecEnv(
        "RELO-Synthetic-v0", num_envs=8, num_templates=1, template_size=64, search_size=64, stride=8
    )
    model = RecurrentPPO(
        "MultiInputLstmPolicy",
        env,
        n_steps=16,
        batch_size=64,
        n_epochs=2,
        gamma=1.0,
        policy_kwargs={"lstm_hidden_size": 64},
        verbose=1,
    )
    return model.learn(timesteps, progress_bar=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timesteps", type=int, default=20_000)
    main(**vars(parser.parse_args()))
