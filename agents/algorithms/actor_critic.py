"""The paper's algorithm: REINFORCE with a learned baseline, one update a rollout."""

from __future__ import annotations

import torch as th

from agents.algorithms.base import RELOAlgorithm
from agents.algorithms.buffer import RolloutSamples
from agents.algorithms.losses import policy_gradient_loss


class ActorCritic(RELOAlgorithm):
    """RELO's policy stage (arXiv 2605.07379): ``A_t = IoU_t + lambda * AUC - V_t``, normalised.

    The gradient of one update is that of `losses.actor_critic_loss` on the rollout. ``credit``
    selects the return from which ``V_t`` is subtracted. Arguments are those of `RELOAlgorithm`.
    """

    def train(self) -> None:
        """Take one optimiser step on the whole rollout."""
        self._start_update()
        self.rollout_buffer.normalise_advantages()
        for samples in self.rollout_buffer.get():
            self._optimise(samples, self._loss)
        self._finish_update()

    def _loss(self, samples: RolloutSamples) -> tuple[th.Tensor, dict[str, th.Tensor]]:
        values, log_prob, entropy = self.policy.evaluate_actions(
            samples.observations, samples.actions
        )
        policy_loss = policy_gradient_loss(log_prob, samples.advantages)
        return self._total(samples, policy_loss, entropy, values.flatten())
