"""A custom data set: a class that names its videos and loads one, and an id for gym.make.

The videos of this example are drawn: a disc swings over a gradient. Read yours from disk.
"""

import argparse

import cv2
import numpy as np

from agents.algorithms import ActorCritic
from agents.proposer import NetworkProposer, find_network
from agents.vec import RELOVecEnv
from relo_env import Dataset, Sequence, register_dataset

WIDTH, HEIGHT, LENGTH = 320, 240, 60


class Pendulum:
    """The frames of one video, drawn when they are read."""

    def __init__(self, speed: float, radius: int) -> None:
        self.speed, self.radius = speed, radius

    def __len__(self) -> int:
        return LENGTH

    def center(self, index: int) -> tuple[int, int]:
        """Centre of the disc in pixels."""
        angle = np.sin(self.speed * index)
        return round(WIDTH / 2 + 100 * np.sin(angle)), round(60 + 100 * np.cos(angle))

    def read(self, index: int) -> np.ndarray:
        """Frame ``index``, uint8 RGB."""
        shade = np.linspace(30, 160, WIDTH, dtype=np.uint8)
        frame = np.repeat(np.tile(shade, (HEIGHT, 1))[..., None], 3, axis=2)
        return cv2.circle(frame, self.center(index), self.radius, (240, 120, 30), -1, cv2.LINE_AA)


class Pendulums(Dataset):
    """Fifty videos of discs that swing at different speeds; the last ten are for testing."""

    name = "Pendulums"
    splits = ("train", "test")

    @property
    def names(self) -> tuple[str, ...]:
        numbers = range(40) if self.split == "train" else range(40, 50)
        return tuple(f"pendulum-{number}" for number in numbers)

    def load(self, name: str) -> Sequence:
        """Video with the box of the disc in every frame."""
        rng = np.random.default_rng(int(name.removeprefix("pendulum-")))
        video = Pendulum(speed=rng.uniform(0.05, 0.3), radius=int(rng.integers(10, 30)))
        r = video.radius
        boxes = [(x - r, y - r, 2 * r, 2 * r) for x, y in map(video.center, range(LENGTH))]
        return Sequence(name, video, np.array(boxes, dtype=float), np.ones(LENGTH, dtype=bool))


def main(timesteps: int, network: str) -> ActorCritic:
    register_dataset("Pendulums", Pendulums, needs_root=False)
    proposer = NetworkProposer(find_network(network))
    env = RELOVecEnv("RELO-Pendulums-v0", num_envs=8, proposer=proposer)
    model = ActorCritic("RELOPolicy", env, learning_rate=1e-3, verbose=1)
    return model.learn(timesteps, progress_bar=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timesteps", type=int, default=20_000)
    parser.add_argument("--network", default="nano", help="a preset or a checkpoint's path")
    main(**vars(parser.parse_args()))
