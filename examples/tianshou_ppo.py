"""PPO of Tianshou on tracking clips; needs ``pip install tianshou`` (2.0 or newer).

The observation contains the features of a frozen network; its policy and value heads are trained.
"""

import argparse

import gymnasium as gym
import torch
from tianshou.algorithm import PPO
from tianshou.algorithm.modelfree.reinforce import ProbabilisticActorPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.trainer import OnPolicyTrainerParams
from torch import nn
from torch.distributions import Categorical

import relo_env  # noqa: F401  (registers the ids)
from agents.proposer import NetworkProposer, find_network

NUM_ENVS, NUM_STEPS = 8, 16


class Actor(nn.Module):
    """Policy head with Tianshou's interface."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, obs, state=None, info=None):
        features = torch.as_tensor(obs.features).float()
        return self.head(features).flatten(1), state


class Critic(nn.Module):
    """Value head with Tianshou's interface."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, obs, act=None, info=None):
        return self.head(torch.as_tensor(obs.features).float())[:, None]


def main(timesteps: int, network: str) -> None:
    net = find_network(network)
    proposer = NetworkProposer(net)  # every environment binds its own state to the same network
    envs = DummyVectorEnv(
        [lambda: gym.make("RELO-Synthetic-v0", proposer=proposer) for _ in range(NUM_ENVS)]
    )
    policy = ProbabilisticActorPolicy(
        actor=Actor(net.heads.policy),
        dist_fn=lambda logits: Categorical(logits=logits),
        action_space=envs.action_space[0],
        action_scaling=False,
    )
    algorithm = PPO(
        policy=policy,
        critic=Critic(net.heads.value),
        optim=AdamOptimizerFactory(lr=1e-3),
        gamma=1.0,
        advantage_normalization=True,
    )
    frames = NUM_ENVS * NUM_STEPS
    result = algorithm.run_training(
        OnPolicyTrainerParams(
            training_collector=Collector(
                algorithm, envs, VectorReplayBuffer(frames, NUM_ENVS), raise_on_nan_in_buffer=False
            ),
            max_epochs=1,
            epoch_num_steps=timesteps,
            collection_step_num_env_steps=frames,
            update_step_num_repetitions=4,
            batch_size=64,
            test_in_training=False,
        )
    )
    print(result)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timesteps", type=int, default=20_000)
    parser.add_argument("--network", default="nano", help="a preset or a checkpoint's path")
    main(**vars(parser.parse_args()))
