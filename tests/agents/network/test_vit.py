"""Plain ViTs of timm as encoders."""

import sys

import pytest
import timm
import torch

from agents.network import RELONetwork
from relo_env.errors import CheckpointError, ConfigError


@pytest.mark.parametrize(
    ("model", "stride", "search"),
    [
        ("vit_tiny_patch16_224", 16, 256),
        ("vit_small_patch14_reg4_dinov2", 14, 224),
        ("vit_base_patch16_siglip_224", 16, 256),
    ],
)
def test_presets_of_timm_models(model, stride, search):
    with torch.device("meta"):
        network = RELONetwork.from_preset(f"timm:{model}")
    assert (network.crop.stride, network.crop.search_size) == (stride, search)
    assert network.crop.grid == (16, 16)


@pytest.mark.parametrize("model", ["test_vit", "test_vit2", "test_vit3"])
def test_search_rows_alone_are_timms_features(model):
    """Without templates and tokens the encoder is the model that timm built."""
    network = RELONetwork.from_preset(f"timm:{model}", search_size=160, temporal="none")
    encoder = network.encoder
    original = timm.create_model(model, num_classes=0, global_pool="").eval()
    encoder.load_pretrained(original.state_dict())
    search = torch.randn(2, 3, 160, 160)
    rows, _ = encoder.temporal(encoder.joint_blocks(), encoder.embed_search(search), None, 100)
    expected = original.forward_features(search)[:, original.num_prefix_tokens :]
    torch.testing.assert_close(encoder.norm(rows), expected, atol=1e-5, rtol=1e-4)


def test_a_block_with_memory_is_the_block_on_all_rows():
    encoder = RELONetwork.from_preset("nano").encoder
    block, ours = encoder.vit.blocks[encoder.separate_blocks], encoder.joint_blocks()[0]
    for scale in (block.ls1, block.ls2):
        torch.nn.init.constant_(scale.gamma, 0.5)
    rows, memory = torch.randn(2, 5, encoder.width), torch.randn(2, 3, encoder.width)
    expected = block(torch.cat([rows, memory], 1))
    torch.testing.assert_close(ours(rows, memory, 4), expected[:, :4])
    torch.testing.assert_close(ours(rows, memory, None), expected[:, :5])


def test_a_block_trains_in_bfloat16_as_in_float32():
    encoder = RELONetwork.from_preset("nano").encoder
    block = encoder.joint_blocks()[0]
    torch.nn.init.constant_(encoder.vit.blocks[encoder.separate_blocks].ls1.gamma, 1.0)
    gradients = []
    for half in (False, True):
        torch.manual_seed(0)
        rows = torch.randn(2, 50, encoder.width, requires_grad=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            out = block(rows, None, None)
        (out.float() - rows).square().mean().backward()
        gradients.append(rows.grad)
    exact, half = gradients
    assert (half - exact).norm() < 0.05 * exact.norm()


def test_separate_blocks_are_the_models_first_blocks():
    network = RELONetwork.from_preset("micro", search_size=160)
    original = timm.create_model("test_vit", num_classes=0, global_pool="").eval()
    network.encoder.load_pretrained(original.state_dict())
    search = torch.randn(1, 3, 160, 160)
    rows = original._pos_embed(original.patch_embed(search))
    expected = original.blocks[0](rows)
    ours = network.encoder.embed_search(search)
    torch.testing.assert_close(ours[:, :100], expected[:, 1:])
    torch.testing.assert_close(ours[:, 100:], expected[:, :1])


def test_positions_are_resampled_from_another_grid():
    network = RELONetwork.from_preset("micro")
    original = timm.create_model("test_vit").state_dict()
    network.encoder.load_pretrained(original)
    positions = network.encoder.vit.pos_embed
    assert positions.shape == (1, 1 + 4 * 4, 64)
    assert torch.equal(positions[:, :1], original["pos_embed"][:, :1])
    assert original["pos_embed"].shape == (1, 1 + 10 * 10, 64)


def test_an_incomplete_state_is_refused():
    network = RELONetwork.from_preset("micro")
    state = timm.create_model("test_vit").state_dict()
    del state["blocks.1.attn.qkv.weight"]
    with pytest.raises(CheckpointError, match=r"blocks\.1\.attn\.qkv\.weight"):
        network.encoder.load_pretrained(state)


@pytest.mark.parametrize(
    "model",
    [
        "swin_tiny_patch4_window7_224",
        "samvit_base_patch16",
        "eva02_tiny_patch14_224",
        "vit_base_patch16_rope_224",
        "vit_small_patch16_dinov3",
        "vit_small_r26_s32_224",
        "resnet18",
    ],
)
def test_other_architectures_are_refused(model):
    with pytest.raises(ConfigError, match="not a plain ViT"):
        RELONetwork.from_preset(f"timm:{model}")


def test_unknown_models_and_sizes_are_refused():
    with pytest.raises(ConfigError, match="Did you mean"):
        RELONetwork.from_preset("timm:vit_tiny_patch16_225")
    with pytest.raises(ConfigError, match="not a multiple of stride 16"):
        RELONetwork.from_preset("timm:test_vit", search_size=150)
    with pytest.raises(ConfigError, match="patches of 16x16"):
        RELONetwork.from_preset("timm:test_vit", stride=32)


def test_a_torchvision_of_another_build_is_explained(monkeypatch, tmp_path):
    broken = tmp_path / "timm.py"
    broken.write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "timm"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ConfigError, match="pip install --force-reinstall torch torchvision"):
        RELONetwork.from_preset("micro")
