"""Policy optimisation: the paper's algorithm and its kin, on SB3's ``OnPolicyAlgorithm``."""

from agents.algorithms.actor_critic import ActorCritic
from agents.algorithms.buffer import RELORolloutBuffer
from agents.algorithms.expected_policy_gradient import ExpectedPolicyGradient
from agents.algorithms.grpo import GRPO
from agents.algorithms.self_critical import SelfCritical

__all__ = ["GRPO", "ActorCritic", "ExpectedPolicyGradient", "RELORolloutBuffer", "SelfCritical"]
