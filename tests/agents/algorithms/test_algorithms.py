from contextlib import closing

import numpy as np
import pytest
import torch
from gymnasium.wrappers.vector import TransformReward
from stable_baselines3.common.callbacks import BaseCallback

from agents.algorithms import GRPO, ActorCritic, ExpectedPolicyGradient, SelfCritical
from agents.algorithms.losses import actor_critic_loss
from agents.algorithms.schedules import linear, stages
from agents.network.boxes import box_loss
from agents.vec import RELOVecEnv
from relo_env.config import RewardConfig
from relo_env.errors import ConfigError
from relo_env.rewards import make_reward
from tests.agents.worlds import CLIP_LENGTH, micro_network, square_world

CASES = {
    "actor-critic": (ActorCritic, {}, {}),
    "actor-critic, gae": (ActorCritic, {"credit": "gae"}, {}),
    "actor-critic, episode": (ActorCritic, {"credit": "episode"}, {}),
    "grpo": (GRPO, {"batch_size": 8}, {"group_size": 2}),
    "grpo, per step, kl": (GRPO, {"per_step": True, "kl_coef": 0.1}, {"group_size": 4}),
    "self-critical, groups": (SelfCritical, {}, {"group_size": 2}),
    "self-critical, open loop": (
        SelfCritical,
        {},
        {"search_window": "jittered", "candidate_info": True},
    ),
    "expected gradient": (ExpectedPolicyGradient, {}, {"candidate_info": True}),
    "expected gradient, open loop": (
        ExpectedPolicyGradient,
        {},
        {"search_window": "jittered", "candidate_info": True},
    ),
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def make(request):
    """Makes a case's algorithm on a small world; the network is ``model.policy.network``."""
    algorithm, kwargs, options = request.param
    worlds = []

    def build(train_encoder: bool = False, **more):
        network = micro_network()
        worlds.append(square_world(network, train_encoder=train_encoder, **options))
        policy_kwargs = {"network": network, **more.pop("policy_kwargs", {})}
        return algorithm(
            "RELOPolicy", worlds[-1], policy_kwargs=policy_kwargs, seed=0, **kwargs, **more
        )

    yield build
    for world in worlds:
        world.close()


def logged(model) -> dict[str, float]:
    return dict(model.logger.name_to_value)


def test_it_learns_and_logs(make):
    model = make(ent_coef=0.01)
    before = [value.clone() for value in model.policy.parameters()]
    model.learn(48, log_interval=None)
    assert model.n_steps == CLIP_LENGTH
    assert model.num_timesteps == 48
    assert any(
        not torch.equal(a, b) for a, b in zip(before, model.policy.parameters(), strict=True)
    )
    names = logged(model)
    for name in ("policy_gradient_loss", "entropy_loss", "loss", "grad_norm", "learning_rate"):
        assert np.isfinite(names[f"train/{name}"]), name
    assert 0 <= names["rollout/iou_mean"] <= 1
    assert 0 <= names["rollout/auc_mean"] <= 0.975


@pytest.mark.parametrize("train_encoder", [False, True])
def test_without_learning_the_ratio_is_one(make, train_encoder):
    scales = {"heads": 1.0, "encoder": 1.0} if train_encoder else {"heads.policy": 1.0}
    model = make(train_encoder, learning_rate=0.0, policy_kwargs={"lr_scales": scales})
    model.learn(32)
    model.policy.set_training_mode(True)
    for samples in model.rollout_buffer.get(8):
        _, log_prob, _ = model.policy.evaluate_actions(
            samples.observations, samples.actions.long().flatten()
        )
        ratio = (log_prob - samples.old_log_prob).exp()
        torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=1e-5, rtol=0)


def test_everything_frozen_stays_equal_to_the_bit(make):
    model = make(learning_rate=0.1)
    network = model.policy.network
    kept = {
        name: value.clone()
        for name, value in network.state_dict().items()
        if not name.startswith(("heads.policy", "heads.value"))
    }
    model.learn(32)
    for name, value in kept.items():
        assert torch.equal(network.state_dict()[name], value), name


def test_micro_batches_change_nothing(make):
    """Gradients, not weights: an optimiser turns rounding of a gradient of 0 into whole steps."""
    whole = without_update(make())
    parts = without_update(make(micro_batch_size=3))
    scale = max(float(gradient.abs().max()) for gradient in whole)
    assert scale > 0
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4 * scale, rtol=0)


def test_it_saves_loads_and_goes_on(make, tmp_path):
    model = make()
    model.learn(32)
    model.save(tmp_path / "model.zip")
    loaded = type(model).load(tmp_path / "model.zip", env=model.env)
    for name, value in model.policy.state_dict().items():
        assert torch.equal(value, loaded.policy.state_dict()[name]), name
    observation = model.env.reset()
    for deterministic in (True, False):
        torch.manual_seed(0)
        one, _ = model.predict(observation, deterministic=deterministic)
        torch.manual_seed(0)
        other, _ = loaded.predict(observation, deterministic=deterministic)
        np.testing.assert_array_equal(one, other)
    loaded.learn(16, reset_num_timesteps=False)
    assert loaded.num_timesteps == 48


def test_the_same_seed_gives_the_same_run(make):
    one, other = make().learn(48), make().learn(48)
    for a, b in zip(one.policy.parameters(), other.policy.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_broken_rollout_is_thrown_away(make):
    model = make()
    steps = iter(range(100))
    model.learn(32, callback=lambda *_: next(steps) != CLIP_LENGTH + 1)
    model.learn(32, reset_num_timesteps=False)
    assert model.rollout_buffer.full


def without_update(model):
    """Collect a rollout, take its gradient and step nowhere."""
    model.policy.optimizer.step = lambda: None
    model.learn(1)
    return [value.grad.clone() for value in model.policy.parameters() if value.grad is not None]


@pytest.mark.parametrize("absent", [(), (3, 4, 5, 9, 10, 14, 15, 20, 21, 22)])
def test_actor_critics_gradient_is_that_of_the_papers_loss(absent):
    network = micro_network()
    venv = square_world(network, absent=absent, auc_weight=1.5, iou_weight=0.7)
    model = ActorCritic(
        "RELOPolicy", venv, policy_kwargs={"network": network}, max_grad_norm=1e9, seed=1
    )
    gradient = without_update(model)
    buffer = model.rollout_buffer
    (samples,) = buffer.in_order()
    out = network.heads(samples.observations["features"])
    shape = buffer.ious.shape
    loss = actor_critic_loss(
        out.policy_logits.reshape(*shape, -1),
        out.value.reshape(shape),
        samples.actions.long().reshape(shape),
        torch.from_numpy(buffer.ious),
        torch.from_numpy(buffer.aucs[-1]),
        visible=torch.from_numpy(buffer.visible),
        iou_weight=0.7,
        auc_weight=1.5,
    )
    assert bool(absent) == (not buffer.visible.all())
    expected = torch.autograd.grad(loss, list(model.policy.parameters()))
    for got, want in zip(gradient, expected, strict=True):
        torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-4)
    venv.close()


def test_expected_gradient_is_exact_in_the_open_loop():
    # Enumerated: the gradient of the sum over positions of pi(a) times what a pays alone, where the
    # clip's AUC is shared between its frames.
    network = micro_network()
    venv = square_world(network, search_window="jittered", candidate_info=True, auc_weight=2.0)
    model = ExpectedPolicyGradient(
        "RELOPolicy",
        venv,
        policy_kwargs={"network": network, "lr_scales": {"heads.policy": 1.0}},
        max_grad_norm=1e9,
        vf_coef=0.0,
        seed=0,
    )
    gradient = without_update(model)
    buffer = model.rollout_buffer
    (samples,) = buffer.in_order()
    probabilities = network.heads(samples.observations["features"]).policy_logits.softmax(-1)
    pay = make_reward(RewardConfig(auc_weight=2.0 / CLIP_LENGTH))
    alone = [
        [pay(np.array([iou]), np.array([True]), True) for iou in frame]
        for frame in buffer.candidate_ious.reshape(-1, 16)
    ]
    value = (probabilities * torch.tensor(alone)).sum(1).mean()
    expected = torch.autograd.grad(-value, list(model.policy.parameters()))
    for got, want in zip(gradient, expected, strict=True):
        torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-4)
    venv.close()


def test_expected_gradient_adds_what_later_frames_returned_in_the_closed_loop():
    network = micro_network()
    venv = square_world(network, candidate_info=True, auc_weight=2.0)
    model = ExpectedPolicyGradient(
        "RELOPolicy",
        venv,
        policy_kwargs={"network": network, "lr_scales": {"heads.policy": 1.0}},
        max_grad_norm=1e9,
        vf_coef=0.0,
        seed=0,
    )
    gradient = without_update(model)
    buffer = model.rollout_buffer
    (samples,) = buffer.in_order()
    logits = network.heads(samples.observations["features"]).policy_logits
    probabilities, shape = logits.softmax(-1), buffer.ious.shape
    pay = make_reward(RewardConfig(auc_weight=2.0 / CLIP_LENGTH))
    worth = torch.tensor(
        [
            [pay(np.array([iou]), np.array([True]), True) for iou in frame]
            for frame in buffer.candidate_ious.reshape(-1, 16)
        ]
    )
    actions = samples.actions.long()
    own = worth.gather(1, actions).reshape(shape)
    later = own.flip(0).cumsum(0).flip(0) - own  # one clip a row
    value = torch.from_numpy(buffer.values)
    baseline = value - (probabilities.detach() * worth).sum(1).reshape(shape)
    log_prob = logits.log_softmax(-1).gather(1, actions).reshape(shape)
    loss = -(probabilities * worth).sum(1).mean() - (log_prob * (later - baseline)).mean()
    expected = torch.autograd.grad(loss, list(model.policy.parameters()))
    for got, want in zip(gradient, expected, strict=True):
        torch.testing.assert_close(got, want.float(), atol=1e-6, rtol=1e-4)
    venv.close()


def test_self_critical_in_groups_trains_on_what_was_sampled():
    network = micro_network()
    venv = square_world(network, group_size=2)
    model = SelfCritical("RELOPolicy", venv, policy_kwargs={"network": network}, seed=0)
    model.learn(16)
    buffer = model.rollout_buffer
    assert not buffer.trainable[:, 0::2].any()
    assert buffer.trainable[:, 1::2].all()
    greedy = buffer.returns[:, 0::2]
    assert buffer.advantages[:, 1::2] == pytest.approx(buffer.returns[:, 1::2] - greedy)
    venv.close()


def test_self_critical_in_the_open_loop_reads_the_greedy_return():
    network = micro_network()
    venv = square_world(network, search_window="jittered", candidate_info=True)
    model = SelfCritical(
        "RELOPolicy", venv, policy_kwargs={"network": network}, learning_rate=0.0, seed=0
    )
    model.learn(16)
    buffer = model.rollout_buffer
    (samples,) = buffer.in_order()
    best = model.policy.get_distribution(samples.observations).mode().reshape(CLIP_LENGTH, 4)
    pay = make_reward(RewardConfig())
    for row in range(4):
        ious = buffer.candidate_ious[np.arange(CLIP_LENGTH), row, best[:, row].numpy()]
        seen = np.ones(CLIP_LENGTH, dtype=bool)
        greedy = sum(
            pay(ious[: t + 1], seen[: t + 1], t == CLIP_LENGTH - 1) for t in range(CLIP_LENGTH)
        )
        expected = buffer.returns[:, row] - greedy
        assert buffer.advantages[:, row] == pytest.approx(expected, abs=1e-5)
    venv.close()


def test_grpo_logs_its_groups_and_keeps_its_reference():
    network = micro_network()
    venv = square_world(network, group_size=4)
    model = GRPO(
        "RELOPolicy",
        venv,
        policy_kwargs={"network": network},
        learning_rate=0.05,
        kl_coef=0.1,
        seed=0,
    )
    reference = {name: v.clone() for name, v in model.reference.state_dict().items()}
    model.learn(32, log_interval=None)
    names = logged(model)
    spreads = model.rollout_buffer.returns[0].reshape(-1, 4).std(1)
    assert names["train/group_spread"] == pytest.approx(spreads.mean())
    assert names["train/groups_without_spread"] == np.mean(spreads < 1e-8)
    assert names["train/reference_kl"] > 0
    for name, value in model.reference.state_dict().items():
        assert torch.equal(value, reference[name]), name
    venv.close()


@pytest.mark.parametrize(
    ("target_kl", "absent", "epochs"), [(None, (), 4), (1e-12, (), 2), (1e-12, range(3, 30), 4)]
)
def test_grpo_stops_an_update_that_goes_too_far(target_kl, absent, epochs):
    network = micro_network()
    venv = square_world(network, absent=tuple(absent), group_size=4)
    model = GRPO(
        "RELOPolicy",
        venv,
        policy_kwargs={"network": network},
        learning_rate=0.05,
        target_kl=target_kl,
        seed=0,
    )
    model.learn(16)
    assert model._n_updates == epochs  # in the first the policy is the one that acted
    venv.close()


def test_schedules_by_hand():
    assert [linear(0.3)(left) for left in (1.0, 0.0)] == [0.3, 0.3]
    assert [linear([2.0, 1.0, 0.0])(left) for left in (1.0, 0.75, 0.5, 0.0)] == [2, 1.5, 1, 0]
    assert [stages([2, 4, 8])(left) for left in (1.0, 0.67, 0.66, 0.34, 0.3, 0.0)] == [
        2, 2, 4, 4, 8, 8,
    ]  # fmt: skip
    assert linear(abs) is stages(abs) is abs


@pytest.mark.parametrize("ent_coef", [lambda remaining: 0.5 * remaining, [0.5, 0.0]])
def test_a_schedule_of_the_entropy_bonus(ent_coef):
    network = micro_network()
    venv = square_world(network)
    model = ActorCritic("RELOPolicy", venv, policy_kwargs={"network": network}, ent_coef=ent_coef)
    weights = []
    model.learn(64, callback=lambda *_: weights.append(model.entropy_weight) is None)
    assert weights[::CLIP_LENGTH] == pytest.approx([0.5, 0.375, 0.25, 0.125])
    assert model.entropy_weight == pytest.approx(0.0)
    venv.close()


@pytest.mark.parametrize("credit", ["paper", "episode", "gae"])
def test_a_lambda_of_the_algorithms_is_as_if_the_environment_paid_it(credit):
    returns = []
    for paid, own in ((3.0, None), (1.0, 3.0)):
        network = micro_network()
        venv = square_world(network, auc_weight=paid, absent=(3, 4, 9))
        model = ActorCritic(
            "RELOPolicy",
            venv,
            policy_kwargs={"network": network},
            credit=credit,
            auc_weight=own,
            learning_rate=0.0,
            seed=0,
        )
        returns.append(model.learn(32).rollout_buffer.returns)
        venv.close()
    assert returns[1] == pytest.approx(returns[0], abs=1e-5)


def test_a_schedule_of_lambda():
    network = micro_network()
    venv = square_world(network)
    model = ActorCritic(
        "RELOPolicy", venv, policy_kwargs={"network": network}, auc_weight=[4.0, 0.0], seed=0
    )
    seen = []

    class Look(BaseCallback):
        def _on_step(self):
            return True

        def _on_rollout_start(self):
            seen.append(None)

        def _on_rollout_end(self):  # credit is computed before
            buffer = model.rollout_buffer
            scored = buffer.aucs[-1] > 0
            seen[-1] = ((buffer.returns - buffer.ious) / buffer.aucs[-1].clip(1e-3))[:, scored]

    model.learn(64, callback=Look())
    for found, weight in zip(seen, (4.0, 3.0, 2.0, 1.0), strict=True):
        assert found.size
        assert found == pytest.approx(weight, abs=1e-4)
    venv.close()


def test_a_schedule_of_the_clips_length():
    network = micro_network()
    venv = square_world(network, candidate_info=True)
    model = ExpectedPolicyGradient(
        "RELOPolicy", venv, policy_kwargs={"network": network}, clip_length=[1, 2, 5], seed=0
    )
    lengths = []
    model.learn(120, callback=lambda *_: lengths.append(model.n_steps) is None)
    # Frames 0 to 40 in clips of 1, to 80 in clips of 2, to 120 in clips of 5; four rows.
    assert sorted(set(lengths)) == [1, 2, 5]
    assert [lengths.count(length) for length in (1, 2, 5)] == [10, 10, 10]
    assert [episode["l"] for episode in model.ep_info_buffer] == [1] * 40 + [2] * 20 + [5] * 8
    assert model.n_steps == model.rollout_buffer.buffer_size == 5
    venv.close()


def test_a_changing_clip_length_says_how_long_a_rollout_is():
    network = micro_network()
    venv = square_world(network)
    with pytest.raises(ConfigError, match="leave n_steps out"):
        ActorCritic(
            "RELOPolicy", venv, policy_kwargs={"network": network}, clip_length=[2, 4], n_steps=8
        )
    venv.close()


@pytest.mark.parametrize(
    ("algorithm", "options", "message"),
    [
        (GRPO, {}, "group_size"),
        (SelfCritical, {"candidate_info": True}, "group_size"),
        (SelfCritical, {"search_window": "jittered"}, "candidate_info"),
        (ExpectedPolicyGradient, {}, "candidate_info=True"),
    ],
)
def test_what_the_environment_lacks_is_said(algorithm, options, message):
    network = micro_network()
    venv = square_world(network, **options)
    with pytest.raises(ConfigError, match=message):
        algorithm("RELOPolicy", venv, policy_kwargs={"network": network})
    venv.close()


@pytest.mark.parametrize("argument", [{"n_steps": 0}, {"micro_batch_size": -1}])
def test_sizes_are_positive(argument):
    venv = square_world(micro_network())
    with pytest.raises(ConfigError, match=next(iter(argument))):
        ActorCritic("RELOPolicy", venv, **argument)
    venv.close()


def test_the_policy_trains_the_proposers_network():
    network = micro_network()
    venv = square_world(network)
    assert ActorCritic("RELOPolicy", venv).policy.network is network
    venv.close()


def test_other_environments_are_refused():
    with pytest.raises(ConfigError, match="environment of relo_env"):
        ActorCritic("RELOPolicy", "CartPole-v1")


def test_the_papers_credit_does_not_pass_a_wrapper_over():
    venv = square_world(micro_network())
    raised = RELOVecEnv(TransformReward(venv.vector_env, lambda reward: reward + 1))
    with pytest.raises(ConfigError, match="a wrapper changed them"):
        ActorCritic("RELOPolicy", raised).learn(16)
    ActorCritic("RELOPolicy", raised, credit="gae").learn(16)
    venv.close()


def test_a_credit_of_ones_own():
    venv = square_world(micro_network())
    model = ActorCritic("RELOPolicy", venv, credit=lambda rollout: rollout.rewards + 7)
    model.learn(16)
    buffer = model.rollout_buffer
    np.testing.assert_array_equal(buffer.returns, buffer.rewards + 7)
    model = ActorCritic("RELOPolicy", venv, credit=lambda rollout: rollout.rewards[0])
    with pytest.raises(ConfigError, match="expected the return of each of"):
        model.learn(16)
    venv.close()


def test_the_papers_credit_needs_the_papers_reward():
    network = micro_network()
    venv = square_world(network, reward=lambda ious, visible, last: float(ious[-1] ** 2))
    model = ActorCritic("RELOPolicy", venv, policy_kwargs={"network": network})
    with pytest.raises(ConfigError, match='credit="gae"'):
        model.learn(16)
    ActorCritic("RELOPolicy", venv, policy_kwargs={"network": network}, credit="gae").learn(16)
    venv.close()


def test_box_loss_has_the_gradient_of_giou_and_l1_at_the_true_cells():
    # Toy: the target's centre lies in cell (1, 2) of 4 x 4, the second's outside, the third absent.
    targets = torch.tensor([[0.6, 0.3, 0.2, 0.4], [1.2, 0.5, 0.2, 0.2], [0.0, 0.0, 0.0, 0.0]])
    candidates = torch.full((3, 16, 4), 0.5, requires_grad=True)
    loss = box_loss(candidates, targets, (4, 4))
    (gradient,) = torch.autograd.grad(loss, candidates)
    # The candidate (.25 .. .75)^2 against the target (.5 .. .7, .1 .. .5): they share .2 x .25;
    # their union is .28 and their hull .5 x .65.
    giou = 0.05 / 0.28 - 1 + 0.28 / 0.325
    l1 = (0.25 + 0.15 + 0.05 + 0.25) / 4
    assert loss.item() == pytest.approx((2 * (1 - giou) + 5 * l1) / 3, abs=1e-6)
    assert set(gradient.abs().sum(-1).nonzero()[:, 1].tolist()) == {6}
    assert not gradient[1:].any()
    # The same by differences.
    for part in range(4):
        moved = candidates.detach().double()
        moved[0, 6, part] += 1e-6
        more = box_loss(moved, targets.double(), (4, 4))
        moved[0, 6, part] -= 2e-6
        less = box_loss(moved, targets.double(), (4, 4))
        assert gradient[0, 6, part].item() == pytest.approx((more - less).item() / 2e-6, abs=1e-5)


@pytest.mark.parametrize("algorithm", [ExpectedPolicyGradient, SelfCritical])
def test_box_coef_adds_the_box_losss_gradient(algorithm):
    gradients = []
    grouped = {"group_size": 2} if algorithm is SelfCritical else {}
    for box_coef in (0.0, 0.3):
        network = micro_network()
        with closing(
            square_world(network, train_encoder=True, candidate_info=True, **grouped)
        ) as venv:
            model = algorithm(
                "RELOPolicy",
                venv,
                box_coef=box_coef,
                max_grad_norm=1e9,
                seed=0,
                policy_kwargs={"network": network, "lr_scales": {"heads.size": 1, "encoder": 0.1}},
            )
            model.policy.optimizer.step = lambda: None
            model.learn(1)
        gradients.append([value.grad for value in model.policy.parameters()])
    buffer = model.rollout_buffer
    samples = next(model.rollout_buffer.get())
    boxes = model.policy.outputs(samples.observations, "boxes").candidates
    inside = (samples.target_boxes[:, :2] >= 0).all(1) & (samples.target_boxes[:, :2] < 1).all(1)
    assert buffer.trainable.sum() == len(inside)
    loss = (
        0.3 * box_loss(boxes[inside], samples.target_boxes[inside], (4, 4)) * inside.float().mean()
    )
    expected = torch.autograd.grad(loss, list(model.policy.parameters()), allow_unused=True)
    for without, with_boxes, extra in zip(*gradients, expected, strict=True):
        without = torch.zeros_like(with_boxes) if without is None else without
        torch.testing.assert_close(with_boxes - without, extra, atol=1e-5, rtol=1e-3)


def test_boxes_that_are_not_trained_have_no_loss():
    with (
        closing(square_world(micro_network(), candidate_info=True)) as venv,
        pytest.raises(ConfigError, match=r"box_coef=1.*lr_scales"),
    ):
        ExpectedPolicyGradient("RELOPolicy", venv, box_coef=1.0)


def test_greedy_rows_see_the_trackers_windows_and_credit_no_sample():
    network = micro_network()
    with closing(square_world(network, candidate_info=True)) as venv:
        model = ExpectedPolicyGradient("RELOPolicy", venv, greedy_share=0.5, learning_rate=0.0)
        model.learn(1)
        buffer = model.rollout_buffer
        assert not buffer.sampled[:, :2].any()
        assert buffer.sampled[:, 2:].all()
        (samples,) = buffer.in_order()
        best = model.policy.get_distribution(samples.observations).mode()
    greedy = ~samples.sampled
    assert torch.equal(best[greedy], samples.actions[greedy].flatten().long())
