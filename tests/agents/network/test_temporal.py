"""What a temporal token is, checked on small attention blocks."""

import pytest
import torch

from agents.network import RELONetwork, TemporalConfig, TokenState
from agents.network.fast_itpn import AttentionBlock
from relo_env.errors import ConfigError

WIDTH, DEPTH, NUM_TOKENS, ROWS = 64, 3, 2, 5


@pytest.fixture
def blocks():
    torch.manual_seed(0)
    blocks = torch.nn.ModuleList(AttentionBlock(WIDTH, 0.0) for _ in range(DEPTH))
    for parameter in blocks.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return list(blocks)


def component(mode):
    torch.manual_seed(1)
    return TemporalConfig(mode, NUM_TOKENS).build(WIDTH, DEPTH)


def test_layer_aligned_is_the_official_loop(blocks):
    """Previous tokens as rows of every block, their outputs thrown away."""
    temporal = component("layer_aligned")
    previous = None
    state = None
    for frame in range(3):
        rows = torch.randn(2, ROWS, WIDTH, generator=torch.Generator().manual_seed(frame))
        current = temporal.current(2)
        x = torch.cat([rows, current, current], 1)
        entered = []
        for depth, block in enumerate(blocks):
            if previous is not None:
                x = torch.cat([x[:, :-NUM_TOKENS], previous[depth]], 1)
            entered.append(x[:, -2 * NUM_TOKENS : -NUM_TOKENS])
            x = block(x)
        previous = entered
        ours, state = temporal(blocks, rows, state, keep=4)
        torch.testing.assert_close(ours, x[:, :4], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(state.rows, torch.stack(entered, 1), atol=1e-5, rtol=1e-4)


def test_deep_to_shallow_hands_on_the_last_layer(blocks):
    temporal = component("deep_to_shallow")
    rows = torch.randn(1, ROWS, WIDTH)
    x = torch.cat([rows, temporal.current(1), temporal.current(1)], 1)
    for block in blocks:
        x = block(x)
    ours, state = temporal(blocks, rows, None, keep=ROWS)
    torch.testing.assert_close(ours, x[:, :ROWS])
    torch.testing.assert_close(state.rows[:, 0], x[:, -NUM_TOKENS:])
    again, _ = temporal(blocks, rows, state, keep=ROWS)
    assert not torch.allclose(again, ours)


def test_none_carries_nothing(blocks):
    ours, state = component("none")(blocks, torch.randn(1, ROWS, WIDTH), None, keep=2)
    assert ours.shape == (1, 2, WIDTH)
    assert state is None


@pytest.mark.parametrize("mode", ["layer_aligned", "deep_to_shallow"])
def test_no_gradient_crosses_frames(blocks, mode):
    rows = torch.randn(1, ROWS, WIDTH, requires_grad=True)
    _, state = component(mode)(blocks, rows, None, keep=1)
    assert not state.rows.requires_grad


@pytest.mark.parametrize("mode", ["layer_aligned", "deep_to_shallow"])
def test_sequences_at_different_frames_share_a_batch(blocks, mode):
    temporal = component(mode)
    rows = torch.randn(2, ROWS, WIDTH)
    _, state = temporal(blocks, rows, None, keep=ROWS)
    first, _ = temporal(blocks, rows[:1], None, keep=ROWS)
    second, _ = temporal(blocks, rows[1:], state.row(1), keep=ROWS)
    both, _ = temporal(blocks, rows, TokenState.join([None, state.row(1)]), keep=ROWS)
    torch.testing.assert_close(both, torch.cat([first, second]), atol=1e-5, rtol=1e-4)
    assert TokenState.join([None, None]) is None


@pytest.mark.parametrize("mode", ["layer_aligned", "deep_to_shallow"])
def test_packing_is_lossless(mode):
    network = RELONetwork.from_preset("micro", temporal=mode)
    crop = network.crop
    _, tokens = network.encode(
        torch.randn(3, 1, 3, crop.template_size, crop.template_size),
        torch.tensor([0.25, 0.25, 0.5, 0.5]).expand(3, 1, 4),
        torch.randn(3, 3, crop.search_size, crop.search_size),
    )
    flat = network.pack_tokens(tokens)
    assert flat.shape == (3, network.token_size)
    unpacked = network.unpack_tokens(flat, torch.tensor([1.0, 0.0, 1.0]))
    assert torch.equal(unpacked.rows, tokens.rows)
    assert unpacked.valid.tolist() == [True, False, True]


def test_without_tokens_there_is_nothing_to_pack():
    network = RELONetwork.from_preset("micro", temporal="none")
    assert network.token_size == 0
    assert network.unpack_tokens(torch.zeros(2, 0)) is None


@pytest.mark.parametrize("config", [{"mode": "layeraligned"}, {"num_tokens": 0}])
def test_refused_configurations(config):
    with pytest.raises(ConfigError, match=r"layer_aligned"):
        TemporalConfig(**config)
