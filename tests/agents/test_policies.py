import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from sb3_contrib import TRPO, MaskablePPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.utils import obs_as_tensor

from agents.algorithms import ActorCritic
from agents.network import RELONetwork, preset
from agents.network.heads import HeadConfig
from agents.policies import RELOPolicy
from agents.vec import RELOVecEnv
from relo_env.errors import CheckpointError, ConfigError
from relo_env.vector_env import TrackingVectorEnv
from tests.agents.worlds import CLIP_LENGTH, micro_network, square_world
from tests.toys import SMALL_CROPS, Squares

EVERYTHING = {"heads": 1.0, "encoder": 0.1}


@pytest.fixture
def network():
    return micro_network()


@pytest.fixture
def venv(network):
    venv = square_world(network)
    yield venv
    venv.close()


def make_policy(venv, network, lr: float = 1e-3, **kwargs) -> RELOPolicy:
    return RELOPolicy(
        venv.observation_space, venv.action_space, lambda _: lr, network=network, **kwargs
    )


def tensors(observation):
    return obs_as_tensor(observation, torch.device("cpu"))


def test_features_go_to_the_heads(venv, network):
    policy = make_policy(venv, network)
    observation = venv.reset()
    with torch.no_grad():
        actions, values, log_prob = policy(tensors(observation), deterministic=True)
        out = network.heads(torch.from_numpy(observation["features"]))
    torch.testing.assert_close(values[:, 0], out.value)
    torch.testing.assert_close(actions, out.policy_logits.argmax(1))
    torch.testing.assert_close(log_prob, out.policy_logits.log_softmax(1).max(1).values)


def test_crops_and_tokens_give_what_the_proposer_saw(network):
    # An open loop: in a closed one a window may move by what the proposers' boxes are rounded to.
    venv, crops = (
        square_world(network, train_encoder=train, search_window="jittered")
        for train in (False, True)
    )
    heads, whole = make_policy(venv, network), make_policy(crops, network)
    for world in (venv, crops):
        world.seed(0)
    seen, raw = venv.reset(), crops.reset()
    for _ in range(2 * CLIP_LENGTH):
        with torch.no_grad():
            short = heads.get_distribution(tensors(seen)).distribution.logits
            long = whole.get_distribution(tensors(raw)).distribution.logits
        torch.testing.assert_close(short, long, atol=2e-3, rtol=0)  # features travel as float16
        (seen, *_), (raw, *_) = (world.step(short.argmax(1).numpy()) for world in (venv, crops))
    venv.close()
    crops.close()


def test_only_what_is_trained_is_a_parameter(venv, network):
    policy = make_policy(venv, network)
    names = [name for name, _ in policy.named_parameters()]
    assert names
    assert all(name.startswith(("network.heads.policy", "network.heads.value")) for name in names)
    held = {id(p) for group in policy.optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in policy.parameters()}


def test_groups_keep_their_own_learning_rates(network):
    venv = square_world(network, train_encoder=True)
    policy = make_policy(
        venv, network, lr=0.5, lr_scales=EVERYTHING, optimizer_class=torch.optim.SGD
    )
    before = {name: value.clone() for name, value in policy.network.named_parameters()}
    for group in policy.optimizer.param_groups:
        group["lr"] = 0.2  # as SB3 does before every update
    for value in policy.parameters():
        value.grad = torch.ones_like(value)
    policy.optimizer.step()
    for name, value in policy.network.named_parameters():
        moved = 0.2 if name.startswith("heads") else 0.02
        torch.testing.assert_close(before[name] - value, torch.full_like(value, moved))
    assert [group["lr"] for group in policy.optimizer.param_groups] == [0.2, 0.2]
    venv.close()


def test_the_longest_prefix_decides(network):
    venv = square_world(network, train_encoder=True)
    policy = make_policy(venv, network, lr_scales={"heads": 1.0, "heads.value": 2.0})
    value = set(network.heads.value.parameters())
    assert set(policy.optimizer.param_groups[1]["params"]) == value
    assert not value & set(policy.optimizer.param_groups[0]["params"])
    venv.close()


def batch_norm_network() -> RELONetwork:
    heads = HeadConfig(channels=(8, 8), kernels=(3, 3), norm="batch")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return RELONetwork(replace(preset("micro"), heads=heads))


@pytest.mark.parametrize("algorithm", [PPO, A2C, TRPO])
def test_sb3s_algorithms_run_unchanged(algorithm):
    network = batch_norm_network()
    statistics = {n: v.clone() for n, v in network.named_buffers()}
    frozen = {n: v.clone() for n, v in network.encoder.named_parameters()}
    venv = square_world(network)
    model = algorithm(RELOPolicy, venv, n_steps=32, policy_kwargs={"network": network}, seed=0)
    before = [value.clone() for value in model.policy.parameters()]
    model.learn(64)
    after = list(model.policy.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    for name, value in network.encoder.named_parameters():
        assert torch.equal(value, frozen[name]), name
    for name, value in network.named_buffers():
        assert torch.equal(value, statistics[name]), name
    venv.close()


class Masked(RELOVecEnv):
    """Only the middle of the window may be chosen."""

    def has_attr(self, attr_name):
        return attr_name == "action_masks" or super().has_attr(attr_name)

    def env_method(self, method_name, *args, indices=None, **kwargs):
        if method_name != "action_masks":
            return super().env_method(method_name, *args, indices=indices, **kwargs)
        allowed = np.zeros((4, 4), dtype=bool)
        allowed[1:3, 1:3] = True
        return [allowed.ravel()] * self.num_envs


def test_sb3_contribs_maskable_ppo_runs_with_a_policy_of_its_own():
    options = {"clip_length": CLIP_LENGTH, "num_threads": 0, **SMALL_CROPS}
    venv = Masked(TrackingVectorEnv(2, Squares(), autoreset_mode="SameStep", **options))
    model = MaskablePPO("MultiInputPolicy", venv, n_steps=8, batch_size=8, n_epochs=1, seed=0)
    model.learn(32)
    assert set(model.rollout_buffer.actions.ravel()) <= {5, 6, 9, 10}
    venv.close()


@pytest.mark.parametrize("train_encoder", [False, True])
@pytest.mark.parametrize(
    ("algorithm", "options"), [(PPO, {"batch_size": 8, "n_epochs": 2}), (A2C, {})]
)
def test_without_learning_sb3s_ratio_is_one(algorithm, options, train_encoder):
    network = batch_norm_network()
    venv = square_world(network, train_encoder=train_encoder)
    model = algorithm(
        RELOPolicy,
        venv,
        learning_rate=0.0,
        n_steps=8,
        **options,
        policy_kwargs={
            "network": network,
            "lr_scales": EVERYTHING if train_encoder else {"heads.policy": 1, "heads.value": 1},
        },
        seed=0,
    )
    model.learn(32)
    model.policy.set_training_mode(True)
    for samples in model.rollout_buffer.get(8):
        _, log_prob, _ = model.policy.evaluate_actions(
            samples.observations, samples.actions.long().flatten()
        )
        ratio = (log_prob - samples.old_log_prob).exp()
        torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=1e-5, rtol=0)
    venv.close()


def test_ppo_trains_the_whole_network(network):
    venv = square_world(network, train_encoder=True)
    before = {n: v.clone() for n, v in network.named_parameters()}
    model = PPO(
        RELOPolicy,
        venv,
        n_steps=4,
        batch_size=8,
        n_epochs=1,
        policy_kwargs={"network": network, "lr_scales": EVERYTHING},
        seed=0,
    )
    model.learn(32)
    moved = {n for n, v in network.named_parameters() if not torch.equal(v, before[n])}
    assert any(name.startswith("encoder.vit") for name in moved)
    assert any(name.startswith("heads.policy") for name in moved)
    assert model.policy.network is network
    venv.close()


def test_amp_keeps_the_ratio_and_gives_float32(network):
    venv = square_world(network)
    policy = make_policy(venv, network, amp=True)
    observation = tensors(venv.reset())
    actions, values, log_prob = policy(observation)
    again = policy.evaluate_actions(observation, actions)
    assert values.dtype == log_prob.dtype == torch.float32
    torch.testing.assert_close(again[1], log_prob, atol=1e-5, rtol=0)
    venv.close()


def trained_from_crops(network, **kwargs):
    """Gradients of one actor-critic update of the whole network, and the bytes kept for them."""
    venv = square_world(network, train_encoder=True)
    model = ActorCritic(
        "RELOPolicy",
        venv,
        policy_kwargs={"network": network, "lr_scales": EVERYTHING, **kwargs},
        max_grad_norm=1e9,
        seed=0,
    )
    model.policy.optimizer.step = lambda: None
    kept = []

    def keep(tensor):
        kept.append(tensor.nbytes)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.learn(16)
    venv.close()
    trained = network.named_parameters()
    return {n: p.grad.clone() for n, p in trained if p.grad is not None}, sum(kept)


def test_gradient_checkpointing_keeps_less_and_gives_the_same_gradients():
    plain, much = trained_from_crops(micro_network())
    again, little = trained_from_crops(micro_network(), gradient_checkpointing=True)
    assert plain.keys() == again.keys()
    assert any(name.startswith("encoder.vit.blocks.1") for name in plain)
    for name, value in plain.items():
        torch.testing.assert_close(again[name], value, atol=1e-6, rtol=1e-4)
    assert little < 0.7 * much


def test_amp_trains_the_whole_network_in_bfloat16():
    plain, _ = trained_from_crops(micro_network())
    half, _ = trained_from_crops(micro_network(), amp=True)
    assert plain.keys() == half.keys()
    together = [torch.cat([g.flatten() for g in one.values()]) for one in (plain, half)]
    assert all(value.dtype == torch.float32 for value in half.values())
    assert not torch.equal(*together)
    assert torch.cosine_similarity(*together, dim=0) > 0.9


def test_greedy_rows_take_the_most_probable_action(venv, network):
    policy = make_policy(venv, network)
    observation = tensors(venv.reset())
    best = policy.get_distribution(observation).mode()
    rows = np.array([True, False, True, False])
    torch.manual_seed(0)
    taken = []
    with policy.greedy(rows):
        taken = torch.stack([policy(observation)[0] for _ in range(20)])
    assert (taken[:, rows] == best[rows]).all()
    assert (taken[:, ~rows] != best[~rows]).any()
    assert (torch.stack([policy(observation)[0] for _ in range(20)]) != best).any()


def saved_names(path) -> set[str]:
    with zipfile.ZipFile(path) as archive, archive.open("policy.pth") as file:
        return set(torch.load(file, weights_only=True))


def same_answers(one, other, venv) -> None:
    observation = venv.reset()
    np.testing.assert_array_equal(
        one.predict(observation, deterministic=True)[0],
        other.predict(observation, deterministic=True)[0],
    )
    with torch.no_grad():
        torch.testing.assert_close(
            one.policy.predict_values(tensors(observation)),
            other.policy.predict_values(tensors(observation)),
            rtol=0,
            atol=0,
        )


@pytest.mark.parametrize("algorithm", [ActorCritic, PPO])
def test_a_zip_holds_the_heads_and_the_path_of_the_network(algorithm, tmp_path):
    path = micro_network(seed=5).save_checkpoint(tmp_path / "net.safetensors", stage="warmup")
    venv = square_world(RELONetwork.from_checkpoint(path))
    model = algorithm(RELOPolicy, venv, n_steps=16, policy_kwargs={"network": path}, seed=0)
    model.learn(64)
    model.save(tmp_path / "model.zip")
    names = saved_names(tmp_path / "model.zip")
    assert all(name.startswith(("network.heads.policy", "network.heads.value")) for name in names)
    loaded = algorithm.load(tmp_path / "model.zip", env=venv)
    same_answers(model, loaded, venv)
    for name, value in model.policy.network.state_dict().items():
        assert torch.equal(value, loaded.policy.network.state_dict()[name]), name
    loaded.learn(64)
    venv.close()


def test_a_module_is_stored_by_its_preset_and_weights(tmp_path):
    network = micro_network(seed=3, temporal="none")
    venv = square_world(network)
    model = ActorCritic("RELOPolicy", venv, policy_kwargs={"network": network}, seed=0)
    model.learn(16)
    model.save(tmp_path / "model.zip")
    assert model.policy_kwargs["network"] is network
    loaded = ActorCritic.load(tmp_path / "model.zip", env=venv)
    assert loaded.policy_kwargs["network"] == {"name": "micro", "temporal": "none"}
    same_answers(model, loaded, venv)
    for name, value in network.state_dict().items():
        assert torch.equal(value, loaded.policy.network.state_dict()[name]), name
    venv.close()


def test_a_policy_saves_and_loads_alone(venv, network, tmp_path):
    policy = make_policy(venv, network)
    policy.save(tmp_path / "policy.pt")
    loaded = RELOPolicy.load(tmp_path / "policy.pt")
    observation = venv.reset()
    np.testing.assert_array_equal(
        policy.predict(observation, deterministic=True)[0],
        loaded.predict(observation, deterministic=True)[0],
    )


def test_foreign_weights_are_refused(venv, network):
    policy = make_policy(venv, network)
    state = policy.state_dict()
    state["network.heads.policy.extra"] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=r"unexpected \['network.heads.policy.extra'\]"):
        policy.load_state_dict(state)


@pytest.mark.parametrize(
    ("options", "kwargs", "message"),
    [
        (SMALL_CROPS | {"action_mode": "box"}, {}, "action_mode"),
        (SMALL_CROPS | {"search_size": 128}, {}, "64 positions"),
        ({}, {"lr_scales": {"heads.polcy": 1.0}}, "heads.policy"),
        ({}, {"lr_scales": {"head.policy": 1.0}}, "heads.policy"),
        ({}, {"lr_scales": {}}, "nothing is trained"),
    ],
)
def test_what_does_not_fit_is_said(network, options, kwargs, message):
    venv = square_world(None if options else network, **options)
    with pytest.raises(ConfigError, match=message):
        make_policy(venv, network, **kwargs)
    venv.close()


def test_features_cannot_train_the_encoder(venv, network):
    with pytest.raises(ConfigError, match="train_encoder=True"):
        make_policy(venv, network, lr_scales=EVERYTHING)


def test_features_of_another_width_are_refused(venv):
    other = RELONetwork.from_preset("timm:vit_tiny_patch16_224", search_size=64, template_size=48)
    with pytest.raises(ConfigError, match=r"shape \(64, 4, 4\).* reads .*\(192, 4, 4\)"):
        make_policy(venv, other)
