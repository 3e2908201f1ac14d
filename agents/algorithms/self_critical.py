"""Self-critical training (Rennie et al. 2017): the greedy rollout is the baseline."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv

from agents.algorithms.base import RELOAlgorithm
from agents.algorithms.buffer import RolloutSamples
from agents.algorithms.credit import episode_total, frame_return
from agents.algorithms.losses import policy_gradient_loss


class SelfCritical(RELOAlgorithm):
    """Episode return minus the return of the greedy policy on the same clip; no critic.

    With groups, row 0 of each group acts greedily and is masked from the loss. Without groups, in
    the open loop, the return of the greedy positions is computed from ``candidate_ious``.

    Arguments are those of `RELOAlgorithm` without ``credit``, and `ExpectedPolicyGradient`'s
    ``box_coef``.
    """

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        *,
        box_coef: float = 0.0,
        **kwargs: Any,
    ) -> None:
        self.box_coef = box_coef
        super().__init__(policy, env, credit="episode", **kwargs)

    def _fit_to_environment(self, env: VecEnv) -> None:
        self.grouped = self.group_size > 1
        self.candidates = not self.grouped
        super()._fit_to_environment(env)
        self._require(
            self.grouped or self.env_config.clip.search_window == "jittered",
            "the greedy policy's return on each clip",
            'make the environment with group_size=2 or more, or with search_window="jittered" and '
            "candidate_info=True",
        )

    def collect_rollouts(self, *args: Any, **kwargs: Any) -> bool:
        """Collect a rollout in which row 0 of each group acts greedily."""
        if not self.grouped:
            return super().collect_rollouts(*args, **kwargs)
        with self.policy.greedy(np.arange(self.n_envs) % self.group_size == 0):
            return super().collect_rollouts(*args, **kwargs)

    def train(self) -> None:
        """Take one optimiser step on the whole rollout."""
        self._start_update()
        buffer = self.rollout_buffer
        buffer.advantages = buffer.returns - self._greedy_returns()
        for samples in buffer.get():
            self._optimise(samples, self._loss)
        self._finish_update()

    def _greedy_returns(self) -> np.ndarray:
        """Return of the greedy policy on the clip of each frame, ``(T, N)``."""
        buffer = self.rollout_buffer
        if self.grouped:
            buffer.trainable[:, :: self.group_size] = False
            return buffer.returns[:, :: self.group_size].repeat(self.group_size, axis=1)
        num_visible = episode_total(buffer.visible.astype(np.float32), buffer.ends)
        earned = frame_return(self._greedy_ious(), num_visible, buffer.weights)
        return episode_total(earned.astype(np.float32), buffer.ends)

    @th.no_grad()
    def _greedy_ious(self) -> np.ndarray:
        """Overlap of the most probable position's box at each frame, ``(T, N)``; 0 if absent."""
        buffer = self.rollout_buffer
        actions = [
            self.policy.get_distribution(samples.observations).mode()
            for samples in buffer.in_order(self.micro_batch_size)
        ]
        chosen = th.cat(actions).cpu().numpy().reshape(*buffer.ious.shape, 1)
        return np.take_along_axis(buffer.candidate_ious, chosen, axis=2).squeeze(2)

    def _loss(self, samples: RolloutSamples) -> tuple[th.Tensor, dict[str, th.Tensor]]:
        distribution, out = self._decide(samples)
        log_prob = distribution.log_prob(self.policy.actions_of(samples.actions))
        policy_loss = policy_gradient_loss(log_prob, samples.advantages)
        entropy = distribution.entropy()
        return self._total(samples, policy_loss, entropy, candidates=out.candidates)
