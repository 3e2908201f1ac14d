"""Real episodes of the synthetic environment, kept for drawing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from agents.network import RELONetwork
from agents.proposer import NetworkProposer
from relo_env import SearchWindow, TrackingEnv

Choice = Callable[[dict[str, np.ndarray], TrackingEnv], tuple[int, np.ndarray]]
"""``(observation, env) -> (position, probabilities (H, W))``."""


@dataclass(frozen=True)
class Step:
    """Record of one step.

    Attributes:
        frame: uint8 RGB.
        window: the search window in it.
        crop: the search crop, uint8 ``(S, S, 3)``.
        candidates: ``(H * W, 4)`` xywh pixels of the frame.
        probabilities: of the policy, ``(H, W)``.
        position: the action.
        info: of the step.
        reward: of the step.
    """

    frame: np.ndarray
    window: SearchWindow
    crop: np.ndarray
    candidates: np.ndarray
    probabilities: np.ndarray
    position: int
    info: dict[str, Any]
    reward: float


@dataclass(frozen=True)
class Play:
    """One episode: its first template crop, the target's box in it (xywh01), and its steps."""

    template: np.ndarray
    template_box: np.ndarray
    steps: list[Step]


def play(choice: Choice, *, seed: int, network: RELONetwork | None = None, **options: Any) -> Play:
    """Play one episode of ``RELO-Synthetic-v0``."""
    if network is not None:
        options["proposer"] = NetworkProposer(network)
    env = TrackingEnv(candidate_info=True, augment=False, split="val", **options)
    observation, _ = env.reset(seed=seed)
    first = observation["template"][:3].transpose(1, 2, 0), observation["template_box"][:4]
    steps, done = [], False
    while not done:
        crop = observation["search"].transpose(1, 2, 0)
        seen = env.frame.copy(), env.window, crop, env.candidates.copy()
        position, probabilities = choice(observation, env)
        observation, reward, done, _, info = env.step(position)
        steps.append(Step(*seen, probabilities, position, info, reward))
    return Play(*first, steps)


def greedy(network: RELONetwork, sample: np.random.Generator | None = None) -> Choice:
    """The network's most probable position, or one drawn from its policy."""

    def choose(observation: dict[str, np.ndarray], env: TrackingEnv) -> tuple[int, np.ndarray]:
        features = torch.from_numpy(observation["features"][None]).float()
        with torch.no_grad():
            logits = network.heads(features, only=("policy",)).policy_logits
        probabilities = logits.softmax(-1)[0].double().numpy()
        probabilities /= probabilities.sum()
        position = probabilities.argmax()
        if sample is not None:
            position = sample.choice(probabilities.size, p=probabilities)
        return int(position), probabilities.reshape(network.crop.grid)

    return choose


def shifted(columns: int) -> Choice:
    """The middle position, or one that many columns to its right."""

    def choose(observation: dict[str, np.ndarray], env: TrackingEnv) -> tuple[int, np.ndarray]:
        rows, width = env.crop.grid
        probabilities = np.zeros((rows, width))
        probabilities[rows // 2, width // 2 + columns] = 1
        return int(probabilities.argmax()), probabilities

    return choose
