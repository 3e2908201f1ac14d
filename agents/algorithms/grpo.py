"""Group-relative policy optimisation (Shao et al. 2024) over rollouts of one clip."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv

from agents.algorithms.base import RELOAlgorithm
from agents.algorithms.buffer import RolloutSamples
from agents.algorithms.credit import episode_total, to_go
from agents.algorithms.losses import clipped_ratio_loss, k3_divergence
from relo_env.checks import PositiveInt, check

EPSILON = 1e-8
"""Standard deviation of returns below which a group counts as without spread."""


def group_advantages(rewards: np.ndarray, ends: np.ndarray, group_size: int) -> np.ndarray:
    """Episode returns, standardised within each group of rows on the same clip.

    Args:
        rewards: ``(T, N)``, rows of a group side by side and in step.
        ends: True where an episode ends, ``(T, N)``.
        group_size: rows G of a group.

    Returns:
        ``(T, N)``; 0 for a group whose returns are all equal.
    """
    returns = episode_total(rewards, ends).reshape(len(rewards), -1, group_size)
    spread = returns.std(-1, keepdims=True)
    return ((returns - returns.mean(-1, keepdims=True)) / (spread + EPSILON)).reshape(rewards.shape)


def step_advantages(rewards: np.ndarray, ends: np.ndarray, group_size: int) -> np.ndarray:
    """Rewards standardised over all steps of a group, then summed from each step to the end.

    Process supervision (Shao et al. 2024, section 4.1.3); shapes as in `group_advantages`.
    """
    grouped = (len(rewards), rewards.shape[1] // group_size, group_size)
    length = episode_total(np.ones_like(rewards), ends).reshape(grouped)[..., :1]

    def mean(values: np.ndarray) -> np.ndarray:
        total = episode_total(values.reshape(rewards.shape), ends).reshape(grouped)
        return total.mean(-1, keepdims=True) / length

    centred = rewards.reshape(grouped) - mean(rewards)
    spread = np.sqrt(mean(centred**2))
    return to_go((centred / (spread + EPSILON)).reshape(rewards.shape), ends)


class GRPO(RELOAlgorithm):
    """Episode return, standardised within a group on the same clip; no critic.

    The environment's ``group_size`` is G. Further arguments are those of `RELOAlgorithm` without
    ``credit``.

    Args:
        batch_size: frames of one optimiser step; None: the whole rollout.
        n_epochs: passes over a rollout.
        clip_range: half width of the range that the probability ratio is clipped to.
        kl_coef: weight of KL(policy || reference); the reference is the initial policy.
        target_kl: an update ends early at 1.5 times this divergence from the old policy.
        per_step: use `step_advantages` instead of `group_advantages`.
    """

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        *,
        batch_size: int | None = None,
        n_epochs: int = 4,
        clip_range: float = 0.2,
        kl_coef: float = 0.0,
        target_kl: float | None = None,
        per_step: bool = False,
        **kwargs: Any,
    ):
        check("n_epochs", n_epochs, PositiveInt)
        self.batch_size = batch_size
        self.n_epochs = n_epochs
        self.clip_range = clip_range
        self.kl_coef = kl_coef
        self.target_kl = target_kl
        self.per_step = per_step
        super().__init__(policy, env, credit="episode", **kwargs)

    def _fit_to_environment(self, env: VecEnv) -> None:
        super()._fit_to_environment(env)
        self._require(
            self.group_size > 1,
            "groups of rollouts of one clip",
            "make the environment with group_size=8, or another number above 1",
        )

    def _setup_model(self) -> None:
        super()._setup_model()
        self.reference = copy.deepcopy(self.policy).eval() if self.kl_coef else None

    def train(self) -> None:
        """Update the policy in ``n_epochs`` passes over the rollout."""
        self._start_update()
        self._credit_groups()
        epochs = 0
        while epochs < self.n_epochs:
            epochs += 1
            for samples in self.rollout_buffer.get(self.batch_size):
                self._optimise(samples, self._loss)
            divergences = self._logged.get("approx_kl")  # none where no frame shows its target
            if self.target_kl and divergences and divergences[-1] > 1.5 * self.target_kl:
                break
        self._finish_update(epochs)

    def _credit_groups(self) -> None:
        buffer = self.rollout_buffer
        credit = step_advantages if self.per_step else group_advantages
        buffer.advantages = credit(buffer.rewards, buffer.ends, self.group_size).astype(np.float32)
        episodes = buffer.returns[buffer.ends[:, 0]]
        spread = episodes.reshape(-1, self.group_size).std(-1)
        self.logger.record("train/group_spread", spread.mean())
        self.logger.record("train/groups_without_spread", (spread < EPSILON).mean())

    def _loss(self, samples: RolloutSamples) -> tuple[th.Tensor, dict[str, th.Tensor]]:
        observations, actions = samples.observations, samples.actions
        _, log_prob, entropy = self.policy.evaluate_actions(observations, actions)
        policy_loss = clipped_ratio_loss(
            log_prob, samples.old_log_prob, samples.advantages, self.clip_range
        )
        loss, scalars = self._total(samples, policy_loss, entropy)
        with th.no_grad():
            clipped = (log_prob - samples.old_log_prob).exp().sub(1).abs() > self.clip_range
            scalars["approx_kl"] = k3_divergence(samples.old_log_prob, log_prob)
            scalars["clip_fraction"] = clipped.float().mean()
        if self.reference is not None:
            with th.no_grad():
                _, reference, _ = self.reference.evaluate_actions(observations, actions)
            divergence = k3_divergence(log_prob, reference)
            loss = loss + self.kl_coef * divergence
            scalars["reference_kl"] = divergence
        return loss, scalars

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "reference"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        names, variables = super()._get_torch_save_params()
        return [*names, "reference"] if self.reference is not None else names, variables
