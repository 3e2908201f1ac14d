"""Expected policy gradient: every position counts with its probability and its known return."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv

from agents.algorithms.base import RELOAlgorithm
from agents.algorithms.buffer import RolloutSamples
from agents.algorithms.losses import expected_policy_gradient_loss, policy_gradient_loss


class ExpectedPolicyGradient(RELOAlgorithm):
    """``sum_a pi(a) (w(a) - b) grad log pi(a)`` with w from ``candidate_ious``.

    w(a) is `frame_return` of position a: its IoU and its share of lambda * AUC. In the open loop
    this gradient is exact. In the closed loop an action also moves later windows. Therefore the
    sampled return of the later frames is added for the action taken, ``G_{t+1} - b_t``, with the
    baseline ``b_t = V_t - sum_a pi(a) w_t(a)``. The value of the next frame is no baseline: it
    depends on the action. Controls change later frames only: they get this sampled credit alone.

    Needs ``candidate_info=True``. Further arguments are those of `RELOAlgorithm` without ``credit``
    and ``candidates``.

    Args:
        box_coef: weight of the box loss: GIoU and L1 at the true cell of each visited frame. A
            frame counts 0 if its target is absent or has its centre outside the search window.
            Boxes need a learning rate:
            ``policy_kwargs={"lr_scales": {"heads": 1.0, "encoder": 0.1}}``.
        greedy_share: share of the environments that take the most probable action, as a tracker
            does. Their sampled return of later frames has weight 0.
    """

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        *,
        box_coef: float = 0.0,
        greedy_share: float = 0.0,
        **kwargs: Any,
    ) -> None:
        self.box_coef = box_coef
        self.greedy_share = greedy_share
        super().__init__(policy, env, credit="frame", candidates=True, **kwargs)

    def _fit_to_environment(self, env: VecEnv) -> None:
        super()._fit_to_environment(env)
        self.closed_loop = self.env_config.clip.search_window == "tracked"
        self._require(
            0 <= self.greedy_share <= 1,
            "a greedy_share from 0 to 1",
            f"it is {self.greedy_share}",
        )

    def collect_rollouts(self, *args: Any, **kwargs: Any) -> bool:
        """Collect a rollout; the first ``greedy_share`` of the environments act greedily."""
        greedy = np.arange(self.n_envs) < round(self.greedy_share * self.n_envs)
        with self.policy.greedy(greedy):
            complete = super().collect_rollouts(*args, **kwargs)
        self.rollout_buffer.sampled[:, greedy] = False
        return complete

    def train(self) -> None:
        """Take one optimiser step on the whole rollout."""
        self._start_update()
        for samples in self.rollout_buffer.get():
            self._optimise(samples, self._loss)
        self._finish_update()

    def _loss(self, samples: RolloutSamples) -> tuple[th.Tensor, dict[str, th.Tensor]]:
        distribution, out = self._decide(samples, "value")
        action_values = samples.candidate_returns
        assert out.policy_logits is not None
        assert action_values is not None
        policy_loss = expected_policy_gradient_loss(out.policy_logits, action_values)
        if self.closed_loop:
            positions = samples.actions[:, :1].long()
            later = samples.returns - action_values.gather(1, positions).squeeze(1)
            probs = out.policy_logits.softmax(1)
            expected_later = samples.old_values - (probs * action_values).sum(1)
            log_prob = distribution.log_prob(self.policy.actions_of(samples.actions))
            credit = (later - expected_later) * samples.sampled
            policy_loss = policy_loss + policy_gradient_loss(log_prob, credit)
        entropy = distribution.entropy()
        return self._total(samples, policy_loss, entropy, out.value, out.candidates)
