"""Losses of the policy stage, as functions of tensors.

Frames without target must be left out: by the rollout buffer, or by the argument ``visible``.
"""

from __future__ import annotations

import torch as th
from torch import Tensor
from torch.distributions import Categorical


def normalise(advantages: Tensor) -> Tensor:
    """Scale to zero mean and unit (unbiased) deviation over all frames; one frame is centred."""
    centred = advantages - advantages.mean()
    return centred / (advantages.std() + 1e-8) if advantages.numel() > 1 else centred


def policy_gradient_loss(log_prob: Tensor, advantages: Tensor) -> Tensor:
    """REINFORCE loss, written with a ratio that is always 1 (official behaviour).

    The gradient is that of ``-mean(A log pi)``; the value is ``-mean(A)``, about 0 when the
    advantages are normalised.

    Args:
        log_prob: ``(N,)`` log-probabilities of the actions taken.
        advantages: ``(N,)``; they get no gradient.
    """
    return -((log_prob - log_prob.detach()).exp() * advantages.detach()).mean()


def clipped_ratio_loss(
    log_prob: Tensor, old_log_prob: Tensor, advantages: Tensor, clip_range: float
) -> Tensor:
    """Clipped surrogate loss of PPO (Schulman et al. 2017, eq. 7); all tensors are ``(N,)``."""
    ratio = (log_prob - old_log_prob).exp()
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    return -th.min(ratio * advantages, clipped * advantages).mean()


def k3_divergence(log_prob: Tensor, reference_log_prob: Tensor) -> Tensor:
    """Estimate of KL(policy || reference) from the policy's own actions (Schulman 2020, k3).

    ``r - 1 - log r`` with r the ratio of reference to policy probability: unbiased, never negative.
    Both arguments are ``(N,)``.
    """
    log_ratio = reference_log_prob - log_prob
    return (log_ratio.exp() - 1 - log_ratio).mean()


def expected_policy_gradient_loss(logits: Tensor, action_returns: Tensor) -> Tensor:
    """Expected policy gradient loss of one decision: exact, without sampling.

    The gradient is ``-mean sum_a pi(a) (w(a) - b) grad log pi(a)`` for any b that does not depend
    on a (Sutton et al. 2001; Ciosek & Whiteson 2018).

    Args:
        logits: ``(N, A)``.
        action_returns: ``(N, A)`` return w(a) of each action.
    """
    return -(logits.softmax(-1) * action_returns.detach()).sum(-1).mean()


def actor_critic_loss(
    logits: Tensor,
    value: Tensor,
    actions: Tensor,
    ious: Tensor,
    auc: Tensor,
    *,
    visible: Tensor | None = None,
    iou_weight: float = 1.0,
    auc_weight: float = 1.0,
    vf_coef: float = 0.5,
) -> Tensor:
    """Loss of the paper's policy stage: ``policy + vf_coef * value`` (arXiv 2605.07379).

    ``r_t = iou_weight * IoU_t + auc_weight * AUC``, the same AUC at every frame of a clip;
    ``A_t = r_t - V_t``, normalised over all frames of all clips.

    Args:
        logits: ``(..., A)`` policy logits; clips are the last batch axis, as in ``(T, N, A)``.
        value: ``(...)`` predicted V_t.
        actions: ``(...)`` chosen positions.
        ious: ``(...)`` overlaps of the chosen boxes.
        auc: ``clip_auc`` of each clip, ``(N,)`` or another shape that broadcasts to ``ious``.
        visible: ``(...)`` bool, False for frames to leave out; None: all count.
        iou_weight: weight of a frame's IoU.
        auc_weight: the environment's lambda.
        vf_coef: weight of the value loss.
    """
    if visible is None:
        visible = th.ones_like(ious, dtype=th.bool)
    returns = (iou_weight * ious + auc_weight * auc)[visible]
    value = value[visible]
    log_prob = Categorical(logits=logits).log_prob(actions)[visible]
    advantages = normalise(returns - value.detach())
    return policy_gradient_loss(log_prob, advantages) + vf_coef * (value - returns).square().mean()
