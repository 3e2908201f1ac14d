"""The frozen copy that runs faster: same numbers, and nothing of it leaks out."""

import copy
import pickle

import pytest
import torch

from agents.network import RELONetwork
from agents.network.fast_itpn import FastITPNConfig
from agents.network.inference import PackedLinear, can_pack, fold
from agents.network.presets import Preset, preset
from tests.agents.network.test_network import inputs

CPU = torch.device("cpu")
needs_packing = pytest.mark.skipif(
    not can_pack(CPU, torch.float32), reason="this torch is built without oneDNN"
)


@pytest.fixture(scope="module")
def small():
    """A Fast-iTPN of two attention blocks whose biases and norms are not at their defaults."""
    torch.manual_seed(0)
    official = preset("t256", search_size=64, template_size=32)
    config = FastITPNConfig(width=128, stem_blocks=(1, 1), depth=2)
    network = RELONetwork(Preset(config, official.crop, official.temporal)).eval()
    for name, value in network.state_dict().items():
        if name.endswith(("bias", "running_mean")):
            value.normal_(std=0.1)
        elif name.endswith(("running_var", "scale1", "scale2")):
            value.uniform_(0.5, 1.5)
    return network


def packed(network):
    return [part for part in network.modules() if isinstance(part, PackedLinear)]


@torch.inference_mode()
def outputs(network, frames=2):
    tokens = None
    for seed in range(frames):
        result, tokens = network(*inputs(network, seed=seed), tokens)
    return vars(result)


def assert_same(ours, theirs, atol=1e-4):
    for name, value in outputs(ours).items():
        torch.testing.assert_close(value, outputs(theirs)[name], atol=atol, rtol=0)


def test_same_numbers(small):
    fast = small.for_inference()
    assert_same(fast, small)
    assert_same(fold(small), small)
    assert not any(parameter.requires_grad for parameter in fast.parameters())


@needs_packing
def test_every_linear_layer_of_the_encoder_is_packed(small):
    fast = small.for_inference()
    assert len(packed(fast)) == 2 * 2 + 2 * 4
    assert not any(type(part) is torch.nn.Linear for part in fast.encoder.modules())
    assert packed(small.for_inference(dtype=torch.bfloat16)) == []


def test_the_network_itself_stays_as_it_is(small):
    before = {name: value.clone() for name, value in small.state_dict().items()}
    small.for_inference()
    after = small.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))])
def test_copies_give_the_same_numbers(small, again):
    copied = again(small.for_inference())
    assert_same(copied, small)
    assert packed(copied) == []


def test_a_copy_of_a_copy_may_have_another_type(small):
    half = small.for_inference().for_inference(dtype=torch.bfloat16)
    assert_same(half, small, atol=0.1)


@needs_packing
def test_packed_layer_without_bias():
    linear = torch.nn.Linear(5, 3, bias=False)
    x = torch.randn(2, 7, 5)
    torch.testing.assert_close(PackedLinear(linear)(x), linear(x))


def test_timm_encoders_too():
    network = RELONetwork.from_preset("micro")
    assert_same(network.for_inference(), network)
