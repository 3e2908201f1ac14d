"""Learning from recorded clips alone: cloning the actions, or weighing them by their IoU.

Clips are recorded as a Minari data set; the recording policy draws half of its positions at random.
A recording that --out already holds is used again. Three policy heads learn from it: one clones
every action, one weighs each action by the IoU that it earned, one learns from the IoU of all
positions, which the data set holds too. Each then plays clips of another split. Needs
``pip install "relo[offline]"``.
"""

import argparse
from dataclasses import dataclass, fields
from pathlib import Path

import gymnasium as gym
import minari
import numpy as np
import torch
from torch.nn.functional import one_hot

import relo_env
from agents.network import RELONetwork
from agents.proposer import NetworkProposer, find_network
from agents.recording import RecordConfig, record

METHODS = ("cloning", "weighted by IoU", "IoU of all positions")


@dataclass
class Args:
    timesteps: int = 1_600
    """frames to record"""
    network: str = "nano"
    """a preset or a checkpoint's path: gives the features, and plays the recorded clips"""
    out: Path = Path("runs/offline")
    """folder of Minari data sets"""
    epsilon: float = 0.5
    """share of the recorded positions that are drawn at random"""
    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 1e-3
    temperature: float = 0.1
    """of the softmax that turns all positions' IoU into a target"""
    clips: int = 32
    """clips that each policy plays"""
    seed: int = 1


def load(path: Path) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features ``(N, C, H, W)``, actions ``(N,)`` and all positions' IoU ``(N, H * W)``."""
    episodes = list(minari.MinariDataset(path).iterate_episodes())
    features = np.concatenate([episode.observations["features"][:-1] for episode in episodes])
    actions = np.concatenate([episode.actions for episode in episodes])
    # Entry t + 1 of the infos belongs to action t.
    ious = np.concatenate([episode.infos["candidate_ious"][1:] for episode in episodes])
    in_sight = ious.max(axis=1) > 0
    kept = [torch.from_numpy(array[in_sight]) for array in (features, actions, ious)]
    return kept[0], kept[1], kept[2].float()


def targets(method: str, actions: torch.Tensor, ious: torch.Tensor, args: Args) -> torch.Tensor:
    """Weight of every position's log-probability, ``(N, H * W)``."""
    chosen = one_hot(actions, ious.shape[1]).float()
    if method == "cloning":
        return chosen
    if method == "weighted by IoU":
        return chosen * ious / (chosen * ious).sum(1).mean()
    return (ious / args.temperature).softmax(1)


def train(network: RELONetwork, path: Path, method: str, args: Args) -> None:
    """Fit a new policy head to the recorded frames."""
    torch.manual_seed(args.seed)
    network.reset_heads(seed=args.seed)
    features, actions, ious = load(path)
    wanted = targets(method, actions, ious, args)
    optimizer = torch.optim.Adam(network.heads.policy.parameters(), lr=args.learning_rate)
    for _ in range(args.epochs):
        for part in torch.randperm(len(actions)).split(args.batch_size):
            out = network.heads(features[part].float(), only=("policy",))
            loss = -(wanted[part] * out.policy_logits.log_softmax(1)).sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@torch.no_grad()
def play(network: RELONetwork, args: Args) -> float:
    """Mean AUC of clips of another split, each frame at its most probable position."""
    envs = gym.make_vec(
        "RELO-Synthetic-v0",
        num_envs=args.clips,
        vectorization_mode="vector_entry_point",
        split="val",
        proposer=NetworkProposer(network),
    )
    observation, _ = envs.reset(seed=args.seed)
    ended = np.zeros(args.clips, dtype=bool)
    while not ended.all():
        features = torch.from_numpy(observation["features"]).float()
        logits = network.heads(features, only=("policy",)).policy_logits
        observation, _, ended, _, info = envs.step(logits.argmax(1).numpy())
    envs.close()
    return float(info["auc"].mean())


def main(args: Args) -> None:
    network = find_network(args.network)
    start = network.save_checkpoint(args.out / "network.safetensors", stage="policy")
    config = RecordConfig(
        id="relo/cloning-v0",
        policy=str(start),
        epsilon=args.epsilon,
        episodes=-(-args.timesteps // 8),
        seed=args.seed,
    )
    path = record(config, dataset=relo_env.make_dataset("Synthetic"), out=args.out, resume=True)
    print(f"{'the recording network':24} AUC {play(network, args):.3f}")
    for method in METHODS:
        train(network, path, method, args)
        print(f"{method:24} AUC {play(network, args):.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for field in fields(Args):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}", type=field.type, default=field.default
        )
    main(Args(**vars(parser.parse_args())))
