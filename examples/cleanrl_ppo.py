"""PPO in one file, after CleanRL: a loop over the vector environment.

The observation contains the features of a frozen network; its policy and value heads are trained.
"""

import argparse
from dataclasses import dataclass, fields

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch.distributions import Categorical
from torch.nn.functional import mse_loss

import relo_env  # noqa: F401  (registers the ids)
from agents.network import RELONetwork
from agents.proposer import NetworkProposer, find_network


@dataclass
class Args:
    timesteps: int = 20_000
    """frames, of all environments together"""
    network: str = "nano"
    """a preset or a checkpoint's path"""
    num_envs: int = 8
    """clips that run at the same time"""
    num_steps: int = 16
    """frames of each environment between two updates"""
    learning_rate: float = 1e-3
    gamma: float = 1.0
    gae_lambda: float = 0.95
    num_minibatches: int = 4
    update_epochs: int = 4
    clip_coef: float = 0.2
    ent_coef: float = 0.01
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    seed: int = 1


def decide(network: RELONetwork, features: torch.Tensor) -> tuple[Categorical, torch.Tensor]:
    out = network.heads(features, only=("policy", "value"))
    return Categorical(logits=out.policy_logits), out.value


def gae(rewards, values, ends, next_value, gamma: float, gae_lambda: float) -> torch.Tensor:
    advantages = torch.zeros_like(rewards)
    ahead = torch.zeros_like(next_value)
    for t in reversed(range(len(rewards))):
        goes_on = 1.0 - ends[t]
        delta = rewards[t] + gamma * goes_on * next_value - values[t]
        ahead = delta + gamma * gae_lambda * goes_on * ahead
        advantages[t], next_value = ahead, values[t]
    return advantages


def learn(
    network: RELONetwork,
    optimizer: torch.optim.Optimizer,
    batch: list[torch.Tensor],
    args: Args,
) -> None:
    """Update policy and value on a rollout: PPO's clipped loss."""
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for _ in range(args.update_epochs):
        for part in torch.randperm(len(batch[0])).chunk(args.num_minibatches):
            features, action, old_log_prob, advantage, target = (row[part] for row in batch)
            distribution, value = decide(network, features)
            ratio = (distribution.log_prob(action) - old_log_prob).exp()
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
            clipped = ratio.clamp(1 - args.clip_coef, 1 + args.clip_coef)
            loss = (
                -torch.min(ratio * advantage, clipped * advantage).mean()
                + args.vf_coef * mse_loss(value, target)
                - args.ent_coef * distribution.entropy().mean()
            )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, args.max_grad_norm)
            optimizer.step()


def main(args: Args) -> RELONetwork:
    torch.manual_seed(args.seed)
    network = find_network(args.network)
    envs = gym.make_vec(
        "RELO-Synthetic-v0",
        num_envs=args.num_envs,
        vectorization_mode="vector_entry_point",
        autoreset_mode=AutoresetMode.SAME_STEP,
        proposer=NetworkProposer(network),
    )
    trained = [*network.heads.policy.parameters(), *network.heads.value.parameters()]
    optimizer = torch.optim.Adam(trained, lr=args.learning_rate, eps=1e-5)

    rollout = (args.num_steps, args.num_envs)
    features = torch.zeros(*rollout, *envs.single_observation_space["features"].shape)
    actions = torch.zeros(rollout, dtype=torch.long)
    log_probs, rewards, values, ends = (torch.zeros(rollout) for _ in range(4))

    observation, _ = envs.reset(seed=args.seed)
    batch_size = args.num_steps * args.num_envs
    for update in range(-(-args.timesteps // batch_size)):
        aucs = []
        for step in range(args.num_steps):
            features[step] = torch.from_numpy(observation["features"])
            with torch.no_grad():
                distribution, values[step] = decide(network, features[step])
            actions[step] = distribution.sample()
            log_probs[step] = distribution.log_prob(actions[step])
            observation, reward, terminated, _, infos = envs.step(actions[step].numpy())
            rewards[step], ends[step] = torch.from_numpy(reward), torch.from_numpy(terminated)
            if terminated.any():
                aucs.extend(infos["final_info"]["auc"][terminated])

        with torch.no_grad():
            _, next_value = decide(network, torch.from_numpy(observation["features"]))
        advantages = gae(rewards, values, ends, next_value, args.gamma, args.gae_lambda)
        returns = advantages + values

        batch = (features, actions, log_probs, advantages, returns)
        learn(network, optimizer, [x.flatten(0, 1) for x in batch], args)

        frames = (update + 1) * batch_size
        print(
            f"{frames:7d} frames  return {returns[ends == 1].mean():.3f}  AUC {np.mean(aucs):.3f}"
        )
    envs.close()
    return network


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for field in fields(Args):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}", type=field.type, default=field.default
        )
    main(Args(**vars(parser.parse_args())))
