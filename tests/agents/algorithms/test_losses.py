import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical

from agents.algorithms.losses import (
    actor_critic_loss,
    clipped_ratio_loss,
    expected_policy_gradient_loss,
    k3_divergence,
    normalise,
    policy_gradient_loss,
)


def test_actor_critic_loss_by_hand():
    # Two frames of one clip, two positions, uniform policy: r = (0.9, 0.5), A = r - V = (0.4, 0.2),
    # normalised (1, -1) / sqrt(2). d(-A log pi)/dlogit of the chosen position is -A (1 - 1/2) / T.
    logits = torch.zeros(2, 1, 2, requires_grad=True)
    value = torch.tensor([[0.5], [0.3]], requires_grad=True)
    actions = torch.tensor([[0], [1]])
    loss = actor_critic_loss(
        logits, value, actions, ious=torch.tensor([[0.6], [0.2]]), auc=torch.tensor([0.3])
    )
    loss.backward()
    assert loss.item() == pytest.approx(0.5 * (0.4**2 + 0.2**2) / 2, abs=1e-6)
    slope = 1 / math.sqrt(2) / 4
    assert logits.grad is not None
    assert value.grad is not None
    assert logits.grad.squeeze(1).numpy() == pytest.approx(
        np.array([[-slope, slope], [-slope, slope]]), abs=1e-6
    )
    assert value.grad.flatten().numpy() == pytest.approx([-0.2, -0.1], abs=1e-6)


def test_actor_critic_loss_leaves_absent_frames_out():
    torch.manual_seed(0)
    logits, value = torch.randn(4, 2, 5), torch.randn(4, 2)
    actions, ious = torch.randint(5, (4, 2)), torch.rand(4, 2)
    visible = torch.ones(4, 2, dtype=torch.bool)
    visible[3] = False
    masked = actor_critic_loss(logits, value, actions, ious, torch.rand(2), visible=visible)
    torch.manual_seed(0)
    spoiled = ious.clone()
    spoiled[3] = 99.0
    logits, value = torch.randn(4, 2, 5), torch.randn(4, 2)
    torch.randint(5, (4, 2)), torch.rand(4, 2)
    assert masked == actor_critic_loss(
        logits, value, actions, spoiled, torch.rand(2), visible=visible
    )


def test_actor_critic_loss_is_the_official_one(shared):
    golden = np.load(shared / "official" / "golden_misc.npz")

    def get(name: str) -> torch.Tensor:
        return torch.from_numpy(np.asarray(golden[f"rl/{name}"]))

    logits, value = get("logits").requires_grad_(), get("value").requires_grad_()
    loss = actor_critic_loss(logits, value, get("actions"), get("iou"), get("auc"))
    loss.backward()
    assert loss.item() == pytest.approx(get("loss").item(), abs=1e-7)
    torch.testing.assert_close(logits.grad, get("grad_logits"), atol=1e-8, rtol=1e-6)
    torch.testing.assert_close(value.grad, get("grad_value"), atol=1e-8, rtol=1e-6)


def test_normalise_uses_the_unbiased_deviation():
    assert normalise(torch.tensor([1.0, 2.0, 3.0])).tolist() == pytest.approx([-1, 0, 1])
    assert normalise(torch.tensor([5.0])).tolist() == [0.0]


def test_policy_gradient_loss_is_reinforce():
    logits = torch.tensor([[0.3, -1.0, 2.0]], requires_grad=True)
    advantages = torch.tensor([1.7])
    log_prob = Categorical(logits=logits).log_prob(torch.tensor([1]))
    (as_ratio,) = torch.autograd.grad(
        policy_gradient_loss(log_prob, advantages), logits, retain_graph=True
    )
    (as_log,) = torch.autograd.grad(-(advantages * log_prob).mean(), logits)
    torch.testing.assert_close(as_ratio, as_log)


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [(1.5, 1.0, -1.2), (1.5, -1.0, 1.5), (0.5, 1.0, -0.5), (0.5, -1.0, 0.8), (1.1, 2.0, -2.2)],
)
def test_clipped_ratio_loss_is_pessimistic(ratio, advantage, expected):
    loss = clipped_ratio_loss(
        torch.tensor([math.log(ratio)]), torch.zeros(1), torch.tensor([advantage]), clip_range=0.2
    )
    assert loss.item() == pytest.approx(expected, rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_k3_estimates_the_divergence(seed):
    generator = torch.Generator().manual_seed(seed)
    policy = Categorical(logits=torch.randn(6, generator=generator, dtype=torch.float64))
    reference = Categorical(logits=torch.randn(6, generator=generator, dtype=torch.float64))
    actions = torch.arange(6)
    each = torch.stack(
        [k3_divergence(policy.log_prob(a)[None], reference.log_prob(a)[None]) for a in actions]
    )
    assert (each >= 0).all()
    exact = torch.distributions.kl_divergence(policy, reference)
    torch.testing.assert_close((policy.probs * each).sum(), exact)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(-5, 5))
def test_expected_gradient_is_the_mean_of_sampled_ones_whatever_the_baseline(seed, baseline):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    worth = torch.rand(1, 5, generator=generator, dtype=torch.float64)
    (exact,) = torch.autograd.grad(expected_policy_gradient_loss(logits, worth), logits)
    distribution = Categorical(logits=logits)
    mean = torch.zeros_like(logits)
    for action in range(5):
        log_prob = distribution.log_prob(torch.tensor([action]))
        loss = policy_gradient_loss(log_prob, worth[:, action] - baseline)
        (sampled,) = torch.autograd.grad(loss, logits, retain_graph=True)
        mean += distribution.probs[0, action].detach() * sampled
    torch.testing.assert_close(exact, mean)


def test_the_closed_loops_baseline_leaves_what_a_choice_does_to_later_frames():
    # One decision; each position earns `now` itself and leads to a frame worth `later`.
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    now, later = torch.rand(2, 4, generator=generator, dtype=torch.float64)
    (exact,) = torch.autograd.grad(expected_policy_gradient_loss(logits, now + later), logits)
    policy = Categorical(logits=logits)
    probs = policy.probs[0].detach()
    value = (probs * (now + later)).sum()
    total = torch.autograd.grad(
        expected_policy_gradient_loss(logits, now), logits, retain_graph=True
    )[0]
    for action in range(4):
        advantage = later[action] - (value - (probs * now).sum())
        loss = policy_gradient_loss(policy.log_prob(torch.tensor([action])), advantage)
        total = total + probs[action] * torch.autograd.grad(loss, logits, retain_graph=True)[0]
    torch.testing.assert_close(total, exact)
