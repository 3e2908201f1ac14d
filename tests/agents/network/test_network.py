"""RELONetwork through its public door."""

import pytest
import torch

from agents.network import HEADS, RELONetwork, normalize_crops, presets
from agents.network.encoder import foreground
from agents.network.heads import candidate_boxes
from relo_env.errors import ConfigError


def inputs(network, batch=2, seed=0):
    """Templates, boxes and search crops that fit a network."""
    generator = torch.Generator().manual_seed(seed)
    crop = network.crop
    template, search = crop.template_size, crop.search_size
    return (
        torch.randn(batch, crop.num_templates, 3, template, template, generator=generator),
        torch.tensor([0.25, 0.25, 0.5, 0.5]).expand(batch, crop.num_templates, 4),
        torch.randn(batch, 3, search, search, generator=generator),
    )


@pytest.fixture
def micro():
    torch.manual_seed(0)
    return RELONetwork.from_preset("micro")


def test_presets_are_named():
    assert {"nano", "micro", "t256", "b256", "l256"} == set(presets())


def test_nano_is_small():
    with torch.device("meta"):
        network = RELONetwork.from_preset("nano")
    assert sum(p.numel() for p in network.parameters()) <= 10e6
    assert network.crop.grid == (12, 12)
    assert network.token_size == 3 * 4 * 384


@pytest.mark.parametrize("changes", [{}, {"search_size": 128, "num_templates": 3}])
def test_shapes(changes):
    network = RELONetwork.from_preset("micro", **changes)
    side = network.crop.grid[0]
    features, tokens = network.encode(*inputs(network))
    outputs = network.heads(features)
    assert features.shape == (2, network.width, side, side)
    assert tokens.rows.shape == (2, 2, 2, network.width)
    assert outputs.candidates.shape == (2, side * side, 4)
    assert outputs.size.shape == outputs.offset.shape == (2, 2, side, side)
    assert outputs.policy_logits.shape == outputs.prior.shape == (2, side * side)
    assert outputs.value.shape == (2,)
    assert all(value.dtype == torch.float32 for value in vars(outputs).values())


def test_other_sizes_of_a_fast_itpn():
    network = RELONetwork.from_preset("t256", search_size=96, template_size=64, num_templates=2)
    features, _ = network.encode(*inputs(network))
    assert features.shape == (2, 384, 6, 6)


def test_memory_layout_of_crops_changes_nothing(micro):
    templates, boxes, search = inputs(micro, batch=1)
    expected, _ = micro.encode(templates, boxes, search)
    channels_last = search.contiguous(memory_format=torch.channels_last)
    features, _ = micro.encode(templates, boxes, channels_last)
    assert torch.equal(features, expected)


def test_cached_templates_take_the_place_of_templates(micro):
    templates, boxes, search = inputs(micro)
    plain, tokens = micro.encode(templates, boxes, search)
    plain, _ = micro.encode(templates, boxes, search, tokens)
    cached, _ = micro.encode(micro.encode_templates(templates, boxes), None, search, tokens)
    assert torch.equal(cached, plain)


def test_only_the_heads_asked_for_are_computed(micro):
    features = torch.randn(1, micro.width, 4, 4)
    everything = micro.heads(features)
    for head, fields in {
        "boxes": ["candidates", "size", "offset"],
        "policy": ["policy_logits"],
        "value": ["value"],
        "prior": ["prior"],
    }.items():
        outputs = vars(micro.heads(features, only=(head,)))
        assert [name for name, value in outputs.items() if value is not None] == fields
        for name in fields:
            assert torch.equal(outputs[name], getattr(everything, name))
    assert set(HEADS) == {"boxes", "policy", "value", "prior"}


def test_candidate_of_a_cell():
    offset = torch.zeros(1, 2, 2, 4)
    size = torch.zeros(1, 2, 2, 4)
    offset[0, :, 1, 2] = torch.tensor([0.5, 0.25])
    size[0, :, 1, 2] = torch.tensor([0.3, 0.4])
    boxes = candidate_boxes(size, offset)
    # Row-major cell 1 * 4 + 2; x = (2 + 0.5) / 4, y = (1 + 0.25) / 2.
    torch.testing.assert_close(boxes[0, 6], torch.tensor([0.625, 0.625, 0.3, 0.4]))
    torch.testing.assert_close(boxes[0, 1], torch.tensor([0.25, 0.0, 0.0, 0.0]))


def test_untrained_boxes_sit_on_their_cells(micro):
    with torch.no_grad():
        for head in (micro.heads.offset, micro.heads.size):
            head.out.weight.zero_()
        boxes = micro.heads(torch.randn(1, micro.width, 4, 4), only=("boxes",)).candidates
    torch.testing.assert_close(boxes[0, 5, :2], torch.tensor([0.375, 0.375]))
    torch.testing.assert_close(boxes[0, 5, 2:], torch.full((2,), 0.25), atol=1e-3, rtol=0)


def test_foreground_share_of_cells():
    # A crop of 4 px in cells of 2: pixels 1 and 2 of both axes are inside.
    shares = foreground(torch.tensor([[0.25, 0.25, 0.5, 0.5]]), size=4, stride=2)
    assert shares.tolist() == [[0.25] * 4]
    # Pixels 0 and 1 across, 1 to 3 down: left < pixel index < right, from the first whole index.
    shares = foreground(torch.tensor([[0.0, 0.2, 0.5, 0.8]]), size=4, stride=2)
    assert shares.tolist() == [[0.5, 0.0, 1.0, 0.0]]


def test_template_box_matters(micro):
    templates, boxes, search = inputs(micro)
    torch.nn.init.normal_(micro.encoder.template_foreground_token)
    here, _ = micro.encode(templates, boxes, search)
    there, _ = micro.encode(templates, boxes * 0.5, search)
    assert not torch.allclose(here, there)


@pytest.mark.parametrize("preset", ["micro", "t256"])
def test_every_parameter_gets_a_gradient(preset):
    changes = {"search_size": 64, "template_size": 32} if preset == "t256" else {}
    network = RELONetwork.from_preset(preset, **changes).train()
    outputs, _ = network(*inputs(network))
    total = sum(value.sum() for value in vars(outputs).values())
    total.backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_reset_heads_draws_policy_and_value_only(micro):
    before = {name: value.clone() for name, value in micro.state_dict().items()}
    micro.reset_heads(seed=1)
    first = {name: value.clone() for name, value in micro.state_dict().items()}
    micro.reset_heads(seed=2)
    micro.reset_heads(seed=1)
    changed = {name for name in before if not torch.equal(before[name], first[name])}
    assert changed
    assert all(name.startswith(("heads.policy", "heads.value")) for name in changed)
    assert all(torch.equal(first[name], value) for name, value in micro.state_dict().items())


def test_batch_norms_fold_without_a_trace(t256):
    for part in t256.heads.modules():
        assert not part.training
    frozen = t256.for_inference()
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in frozen.modules())
    assert any(isinstance(part, torch.nn.BatchNorm2d) for part in t256.modules())
    features = torch.randn(1, 384, 16, 16)
    for ours, plain in zip(
        vars(frozen.heads(features)).values(), vars(t256.heads(features)).values(), strict=True
    ):
        torch.testing.assert_close(ours, plain, atol=2e-5, rtol=0)


def test_half_precision_features_are_read(micro):
    features = torch.randn(1, micro.width, 4, 4)
    exact = micro.heads(features).policy_logits
    half = micro.heads(features.half()).policy_logits
    torch.testing.assert_close(half, exact, atol=1e-2, rtol=0)


def test_bfloat16_copy_runs(micro):
    fast = micro.for_inference(dtype=torch.bfloat16)
    outputs, _ = fast(*inputs(fast))
    assert outputs.policy_logits.dtype == torch.float32


def test_normalisation():
    crops = torch.tensor([0, 128, 255], dtype=torch.uint8)[:, None, None].expand(3, 2, 2)
    expected = [-0.485 / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    torch.testing.assert_close(normalize_crops(crops)[:, 0, 0], torch.tensor(expected))


def test_refusals(micro):
    templates, boxes, search = inputs(micro)
    with pytest.raises(ConfigError, match=r"search has shape \(2, 3, 60, 60\).*64, 64"):
        micro.encode(templates, boxes, search[..., :60, :60])
    with pytest.raises(ConfigError, match="template_boxes"):
        micro.encode(templates, None, search)
    with pytest.raises(ConfigError, match="Did you mean 'nano'"):
        RELONetwork.from_preset("nanno")
    with pytest.raises(ConfigError, match="Did you mean 'search_size'"):
        RELONetwork.from_preset("nano", searchsize=224)
    with pytest.raises(ConfigError, match="template_size 40 is not a multiple of stride 16"):
        RELONetwork.from_preset("t256", template_size=40)
    with pytest.raises(ConfigError, match="stride of 16"):
        RELONetwork.from_preset("t256", stride=32)
    with pytest.raises(ConfigError, match="no official counterpart"):
        micro.export_official()
