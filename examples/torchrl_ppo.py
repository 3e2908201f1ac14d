"""Collector and PPO loss of TorchRL on tracking clips; needs ``pip install torchrl``.

The observation contains the features of a frozen network; its policy and value heads are trained.
"""

import argparse

import gymnasium as gym
import torch
from tensordict.nn import TensorDictModule
from torchrl.collectors import Collector
from torchrl.envs import GymWrapper, SerialEnv
from torchrl.modules import OneHotCategorical, ProbabilisticActor
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

import relo_env  # noqa: F401  (registers the ids)
from agents.proposer import NetworkProposer, find_network

NUM_ENVS, NUM_STEPS, EPOCHS = 8, 16, 4


def main(timesteps: int, network: str) -> None:
    net = find_network(network)
    proposer = NetworkProposer(net)  # every environment binds its own state to the same network
    env = SerialEnv(NUM_ENVS, lambda: GymWrapper(gym.make("RELO-Synthetic-v0", proposer=proposer)))
    logits = TensorDictModule(Logits(net.heads.policy), ["features"], ["logits"])
    actor = ProbabilisticActor(
        logits,
        in_keys=["logits"],
        distribution_class=OneHotCategorical,
        return_log_prob=True,
        spec=env.action_spec,
    )
    critic = TensorDictModule(Values(net.heads.value), ["features"], ["state_value"])
    advantage = GAE(gamma=1.0, lmbda=0.95, value_network=critic)
    objective = ClipPPOLoss(actor, critic)
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-3)

    frames = NUM_ENVS * NUM_STEPS
    collector = Collector(env, actor, frames_per_batch=frames, total_frames=timesteps)
    for i, rollout in enumerate(collector):
        with torch.no_grad():
            advantage(rollout)
        for _ in range(EPOCHS):
            losses = objective(rollout.reshape(-1))
            loss = losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(objective.parameters(), 0.5)
            optimizer.step()
        reward = rollout["next", "reward"].mean().item()
        print(f"{(i + 1) * frames:7d} frames  reward {reward:.3f}")
    collector.shutdown()


class Logits(torch.nn.Module):
    """Policy head with TorchRL's interface: any leading axes, one logit for each position."""

    def __init__(self, head: torch.nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """``(..., C, H, W)`` to ``(..., H * W)``."""
        logits = self.head(features.flatten(0, -4).float()).flatten(1)
        return logits.unflatten(0, features.shape[:-3])


class Values(Logits):
    """Value head with TorchRL's interface: one number for each observation."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """``(..., C, H, W)`` to ``(..., 1)``."""
        return self.head(features.flatten(0, -4).float()).reshape(*features.shape[:-3], 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timesteps", type=int, default=20_000)
    parser.add_argument("--network", default="nano", help="a preset or a checkpoint's path")
    main(**vars(parser.parse_args()))
