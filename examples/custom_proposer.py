"""A custom proposer: the cell sets the place of the box and, as on a chessboard, its size.

Dark cells keep the last size; light cells change it by +10 % or -10 %, in alternation. A policy of
SB3 chooses place and size in one action.
"""

import argparse
from collections.abc import Mapping

import gymnasium as gym
import numpy as np
from stable_baselines3 import PPO

from agents.vec import RELOVecEnv
from relo_env import CropConfig, Proposals
from relo_env.proposers import grid_centers


class ChessboardProposer:
    """Sizes that alternate between neighbouring cells."""

    extra_spaces: Mapping[str, gym.Space] = {}
    crop = CropConfig(num_templates=1, template_size=64, search_size=64, stride=8)

    def __init__(self) -> None:
        rows, columns = np.indices(self.crop.grid).reshape(2, -1)
        steps = np.where((rows + columns) % 2, np.where(rows % 2, 1.1, 0.9), 1.0)
        self.centers, self.scales = grid_centers(self.crop.grid), steps[:, None]

    def bind(self, num_rows: int) -> "ChessboardProposer":
        """Return itself: it has no state of an episode."""
        return self

    def reset(self, rows: np.ndarray, templates: np.ndarray, template_boxes: np.ndarray) -> None:
        """Do nothing: there is no state."""

    def propose(
        self,
        rows: np.ndarray,
        searches: np.ndarray,
        previous_boxes: np.ndarray,
        target_boxes: np.ndarray | None = None,
    ) -> Proposals:
        """Boxes at every cell's centre; the size is the last size times the cell's scale."""
        sizes = previous_boxes[:, None, 2:] * self.scales
        centers = np.broadcast_to(self.centers, sizes.shape)
        return Proposals(np.concatenate([centers, sizes], axis=-1), extras={})


def main(timesteps: int) -> PPO:
    env = RELOVecEnv("RELO-Synthetic-v0", num_envs=8, proposer=ChessboardProposer())
    model = PPO("MultiInputPolicy", env, n_steps=16, batch_size=64, gamma=1.0, verbose=1)
    return model.learn(timesteps, progress_bar=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timesteps", type=int, default=20_000)
    main(**vars(parser.parse_args()))
