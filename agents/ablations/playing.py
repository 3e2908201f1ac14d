"""Decision rules of one network on held-back clips, in the closed loop: greedy, no window."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import nn

from agents.network import RELONetwork
from agents.proposer import NetworkProposer
from relo_env.benchmark.metrics import OVERLAP_THRESHOLDS
from relo_env.datasets.base import Dataset
from relo_env.rewards import clip_auc
from relo_env.vector_env import TrackingVectorEnv

AT_ONCE = 8
"""Clips that are played side by side; which clips there are depends on it."""

Rule = Callable[[torch.Tensor, Callable[[], np.ndarray]], np.ndarray]
"""Positions ``(n,)`` from features ``(n, C, H, W)`` and a function that tells the overlap of every
position's box with the truth, ``(n, A)``."""


@dataclass(frozen=True)
class HeldBack:
    """The clips of an evaluation.

    Attributes:
        clips: how many.
        length: search frames of each.
        seed: of the clips; the same ones for every rule.
    """

    clips: int = 32
    length: int = 16
    seed: int = 10_000


def policy_rule(head: nn.Module) -> Rule:
    """The most probable position of a policy head, or of a prior's."""

    def rule(features: torch.Tensor, overlaps: Callable[[], np.ndarray]) -> np.ndarray:
        return head(features).flatten(1).argmax(1).cpu().numpy()

    return rule


def random_rule(positions: int, seed: int) -> Rule:
    """Any position."""
    rng = np.random.default_rng(seed)

    def rule(features: torch.Tensor, overlaps: Callable[[], np.ndarray]) -> np.ndarray:
        return rng.integers(positions, size=len(features))

    return rule


def oracle_rule(features: torch.Tensor, overlaps: Callable[[], np.ndarray]) -> np.ndarray:
    """The position whose box overlaps the truth most: no choice does better on this frame."""
    return overlaps().argmax(1)


@torch.no_grad()
def play(
    rules: Sequence[Rule],
    network: RELONetwork,
    dataset: Dataset,
    held_back: HeldBack,
    *,
    proposer: NetworkProposer | None = None,
    tick: Callable[[int], None] = lambda frames: None,
) -> dict[str, np.ndarray]:
    """Play the same clips with every rule, all in one environment.

    Args:
        rules: what chooses.
        network: whose features the rules read.
        dataset: held-back videos.
        held_back: which clips.
        proposer: for the same network, e.g. one with a cache.
        tick: told how many frames were played.

    Returns:
        Figures by name, each ``(len(rules), clips)``, see `figures`.
    """
    groups, count = min(AT_ONCE, held_back.clips), len(rules)
    env = TrackingVectorEnv(
        groups * count,
        dataset,
        group_size=count,
        autoreset_mode=AutoresetMode.DISABLED,
        proposer=proposer or NetworkProposer(network),
        clip_length=held_back.length,
        search_window="tracked",
        augment=False,
    )
    device = next(network.parameters()).device
    seed: int | None = held_back.seed
    ious, visible = [], []
    try:
        for _ in range(-(-held_back.clips // groups)):
            observation, _ = env.reset(seed=seed)
            seed = None  # the next clips follow from the first ones' generators
            for _ in range(held_back.length):
                features = torch.from_numpy(observation["features"]).to(device).float()
                actions = np.empty(env.num_envs, dtype=np.int64)
                for i, rule in enumerate(rules):
                    rows = range(i, env.num_envs, count)
                    overlaps = partial(true_overlaps, env, rows)
                    actions[i::count] = rule(features[i::count], overlaps)
                observation, _, _, _, info = env.step(actions)
                ious.append(info["iou"])
                visible.append(info["visible"])
                tick(env.num_envs)
    finally:
        env.close()
    shape = (-1, held_back.length, groups, count)
    played = np.reshape(ious, shape).transpose(3, 0, 2, 1).reshape(count, -1, held_back.length)
    seen = np.reshape(visible, shape).transpose(3, 0, 2, 1).reshape(count, -1, held_back.length)
    return figures(played[:, : held_back.clips], seen[0, : held_back.clips])


def true_overlaps(env: TrackingVectorEnv, rows: Sequence[int]) -> np.ndarray:
    """Overlap of every position's box with the truth ``(n, A)``; 0 where the target is absent."""
    return np.stack(env.get_attr("candidate_ious"))[list(rows)]


def figures(ious: np.ndarray, visible: np.ndarray) -> dict[str, np.ndarray]:
    """Figures of each clip, over the frames that show the target.

    Args:
        ious: ``(R, C, T)`` of R rules on C clips of T frames.
        visible: ``(C, T)``.

    Returns:
        ``(R, C)`` each: ``success_auc`` (mean of 21 success rates, strict >), ``clip_auc`` (the
        reward's) and ``iou``; clips that never show the target are left out.
    """
    seen = np.flatnonzero(visible.any(1))
    of_clip: Mapping[str, Callable[[np.ndarray], float]] = {
        "success_auc": lambda values: float((values[:, None] > OVERLAP_THRESHOLDS).mean()),
        "clip_auc": clip_auc,
        "iou": lambda values: float(values.mean()),
    }
    return {
        name: np.array([[figure(rule[c][visible[c]]) for c in seen] for rule in ious])
        for name, figure in of_clip.items()
    }
