"""Weights on disk: ours, the released ones, and files that mean harm."""

import argparse
import collections
import hashlib
import json
import os
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from agents.cli import main
from agents.network import RELONetwork, checkpoints, official, weights
from relo_env.errors import CheckpointError, ConfigError
from tests.agents.network.seeding import seeded_state

SMALL = {"search_size": 32, "template_size": 16}


@pytest.fixture
def micro():
    torch.manual_seed(0)
    return RELONetwork.from_preset("micro", num_templates=2)


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_round_trip(micro, tmp_path):
    path = micro.save_checkpoint(
        tmp_path / "a" / "net.safetensors", stage="warmup", metrics={"x": 1}
    )
    again = RELONetwork.from_checkpoint(path)
    assert equal(again.state_dict(), micro.state_dict())
    assert not again.training
    header = checkpoints.read_header(path)
    assert header["preset"] == "micro"
    assert header["changes"] == {"num_templates": 2}
    assert (header["stage"], header["metrics"]) == ("warmup", {"x": 1})
    assert [file.name for file in path.parent.iterdir()] == ["net.safetensors"]


def test_half_precision_file(micro, tmp_path):
    path = micro.save_checkpoint(tmp_path / "n.safetensors", stage="policy", dtype=torch.float16)
    again = RELONetwork.from_checkpoint(path)
    for name, value in again.state_dict().items():
        assert torch.equal(value, micro.state_dict()[name].half().float())


def test_an_interrupted_save_leaves_the_old_file(micro, tmp_path, monkeypatch):
    path = micro.save_checkpoint(tmp_path / "n.safetensors", stage="warmup")
    before = path.read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        micro.save_checkpoint(path, stage="policy")
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_refused_checkpoints(micro, tmp_path):
    path = micro.save_checkpoint(tmp_path / "n.safetensors", stage="warmup")
    with pytest.raises(CheckpointError, match="holds preset 'micro'"):
        checkpoints.load_checkpoint(RELONetwork.from_preset("micro"), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        RELONetwork.from_checkpoint(path)
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        RELONetwork.from_checkpoint(tmp_path / "absent.safetensors")
    path.write_bytes(checkpoints.save(micro.state_dict()))
    with pytest.raises(CheckpointError, match="without relo's header"):
        RELONetwork.from_checkpoint(path)
    with pytest.raises(CheckpointError, match="Unknown checkpoint 'nanno'"):
        RELONetwork.from_pretrained("nanno")
    micro.preset_name = None
    with pytest.raises(ConfigError, match="from_preset"):
        micro.save_checkpoint(path, stage="warmup")


@pytest.fixture(scope="module")
def released():
    """What a released t256 file has under "net", at a small input size."""
    return seeded_state(RELONetwork.from_preset("t256", **SMALL))


def small_t256():
    return RELONetwork.from_preset("t256", **SMALL)


def test_official_round_trip_is_bit_equal(released):
    network = small_t256()
    assert network.load_official(released) == []
    assert equal(network.export_official(), released)


def test_a_warmup_checkpoint_leaves_policy_and_value(released):
    state = {k: v for k, v in released.items() if not k.startswith(("policy", "value"))}
    network = small_t256()
    before = network.heads.policy.out.weight.clone()
    lacking = network.load_official({"net": state, "net_type": "RELO_WARMUP"})
    assert len(lacking) == 60
    assert all(name.startswith(("heads.policy.", "heads.value.")) for name in lacking)
    assert torch.equal(network.heads.policy.out.weight, before)
    assert torch.equal(network.encoder.temporal.start, state["encoder.body.ttokens"])


def test_wrong_official_entries_are_reported(released):
    state = dict(released)
    del state["decoder.conv1_size.0.weight"]
    state["encoder.body.extra"] = torch.zeros(1)
    state["encoder.body.ttokens"] = torch.zeros(1, 9, 384)
    before = small_t256()
    with pytest.raises(CheckpointError) as caught:
        before.load_official(state)
    for part in (
        "Missing: decoder.conv1_size.0.weight",
        "Unexpected: encoder.body.extra",
        "encoder.body.ttokens is (1, 9, 384), expected (1, 4, 384)",
    ):
        assert part in str(caught.value)


class _Foreign:
    def __init__(self):
        self.a, self.d = 1, collections.defaultdict(list)


class _ForeignDict(dict):
    pass


def test_released_files_hold_foreign_objects(released, tmp_path, monkeypatch):
    module = ModuleType("lib_of_others")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for kind in (_Foreign, _ForeignDict):
        monkeypatch.setattr(kind, "__module__", module.__name__)
        setattr(module, kind.__name__, kind)
    nested = _ForeignDict(x=1)
    nested.attribute = 3
    path = tmp_path / "RELO_ep0090.pth.tar"
    torch.save(
        {
            "net": released,
            "settings": _Foreign(),
            "config": nested,
            "arguments": argparse.Namespace(lr=1e-4),
            "stats": collections.OrderedDict(loss=np.float64(1), curve=np.arange(3)),
        },
        path,
    )
    monkeypatch.delitem(sys.modules, module.__name__)
    network = small_t256()
    assert network.load_official(path) == []
    assert equal(network.export_official(), released)


@pytest.mark.parametrize("function", [eval, os.system], ids=["eval", "system"])
def test_a_file_that_would_run_code_does_not(released, tmp_path, function):
    trace = tmp_path / "trace"
    code = f"open({str(trace)!r}, 'w')" if function is eval else f"touch {trace}"

    class Harm:
        def __reduce__(self):
            return function, (code,)

    path = tmp_path / "harm.pth.tar"
    torch.save({"net": {"w": torch.ones(1)}, "settings": Harm()}, path)
    with pytest.raises(CheckpointError):
        small_t256().load_official(path)
    assert not trace.exists()


def test_damaged_and_absent_files(tmp_path):
    path = tmp_path / "RELO_ep0090.pth.tar"
    torch.save({"net": {"w": torch.ones(10_000)}}, path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        small_t256().load_official(path)
    with pytest.raises(CheckpointError, match=r"There is no file .*absent\.pth\.tar"):
        small_t256().load_official(tmp_path / "absent.pth.tar")
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="holds a list"):
        small_t256().load_official(path)
    with pytest.raises(CheckpointError, match="holds a int; expected a state dict"):
        small_t256().load_official({"net": 5})
    whole = small_t256().export_official()
    with pytest.raises(CheckpointError, match=r"Other shape: \S+ is str, expected"):
        small_t256().load_official({**whole, next(iter(whole)): "a word"})
    for positions in (torch.zeros(197), torch.zeros(1, 197, 384), "a word"):
        with pytest.raises(CheckpointError, match="pos_embed"):
            official.load_fast_itpn(small_t256(), {"pos_embed": positions})


def test_fast_itpn_file_starts_the_encoder(released):
    body = "encoder.body."
    own = ("ttokens", "pos_embed_ttoken", "fc_norm.", "search_token", "template_")
    state = {
        name.removeprefix(body): value
        for name, value in released.items()
        if name.startswith(body) and not name.removeprefix(body).startswith(own)
    }
    state["pos_embed"] = torch.randn(1, 14 * 14, 384)
    state["head.weight"] = torch.zeros(1000, 384)
    network = small_t256()
    assert official.load_fast_itpn(network, {"model": state}) == ["head.weight"]
    exported = network.export_official()
    name = "blocks.4.attn.q_proj.weight"
    assert torch.equal(exported[body + name], state[name])
    corner = state["pos_embed"].reshape(14, 14, 384)[:2, :2].reshape(4, 384)
    assert torch.equal(exported[body + "pos_embed"][0, :4], corner)
    del state[name]
    with pytest.raises(CheckpointError, match=name):
        official.load_fast_itpn(network, state)


@pytest.mark.slow
def test_convert_writes_one_of_ours(tmp_path):
    state = seeded_state(RELONetwork.from_preset("t256"))
    source, target = tmp_path / "RELO_ep0090.pth.tar", tmp_path / "t256.safetensors"
    torch.save({"net": state}, source)
    assert main(["weights", "convert", "t256", str(source), str(target)]) == 0
    assert checkpoints.read_header(target)["stage"] == "policy"
    assert equal(RELONetwork.from_checkpoint(target).export_official(), state)


def test_a_file_of_another_preset_is_named(released):
    with pytest.raises(
        CheckpointError, match=r"checkpoint of b256 \(its width is that of 't256'\)"
    ):
        RELONetwork.from_preset("b256", **SMALL).load_official(released)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that hands out one file; its published hash can be set."""
    module = pytest.importorskip("huggingface_hub")
    file = tmp_path / "RELO_ep0090.pth.tar"
    file.write_bytes(b"weights")
    published = SimpleNamespace(etag=hashlib.sha256(b"weights").hexdigest())

    def download(repository, name, local_dir):
        assert (repository, name) == ("xche32/RELO", weights.released_file("b256"))
        return str(file)

    monkeypatch.setattr(module, "hf_hub_download", download)
    monkeypatch.setattr(module, "get_hf_file_metadata", lambda url: published)
    return SimpleNamespace(module=module, file=file, published=published)


def test_fetch_checks_the_hash(hub):
    assert weights.fetch("b256") == hub.file
    hub.published.etag = "0" * 64
    with pytest.raises(CheckpointError, match="damaged on its way"):
        weights.fetch("b256")
    assert not hub.file.exists()


def test_fetch_takes_what_the_cache_has(hub, monkeypatch):
    def offline(url):
        raise ConnectionError("no route")

    monkeypatch.setattr(hub.module, "get_hf_file_metadata", offline)
    assert weights.fetch("b256") == hub.file
    monkeypatch.setattr(hub.module, "get_hf_file_metadata", lambda url: SimpleNamespace(etag="abc"))
    assert weights.fetch("b256") == hub.file


def test_fetch_says_what_to_do_offline(hub, monkeypatch):
    def offline(repository, name, local_dir):
        raise ConnectionError("no route")

    monkeypatch.setattr(hub.module, "hf_hub_download", offline)
    with pytest.raises(CheckpointError, match=r"relo weights convert b256 FILE b256") as caught:
        weights.fetch("b256")
    assert "relo_b256/RELO_ep0090.pth.tar" in str(caught.value)
    with pytest.raises(ConfigError, match="Unknown released preset 'nano'"):
        weights.fetch("nano")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match=r"pip install '.\[hub\]'"):
        weights.fetch("b256")


def with_header(micro, path, change):
    """A checkpoint whose header was changed as a parsed object, or replaced by a text."""
    micro.save_checkpoint(path, stage="policy")
    header = change if isinstance(change, str) else change(checkpoints.read_header(path))
    text = header if isinstance(header, str) else json.dumps(header)
    path.write_bytes(checkpoints.save(micro.state_dict(), metadata={checkpoints.HEADER: text}))
    return path


def confidence(**entries):
    return lambda header: {**header, "confidence": entries}


def changes(**entries):
    return lambda header: {**header, "changes": entries}


NUMBERS = {"bias": 0.0, "spread": 1.0, "value": 1.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("{not json", "header of .*n.safetensors is damaged"),
        ("[]", "preset, changes, stage, metrics, versions missing"),
        (lambda header: {**header, "changes": None}, "changes missing or of another type"),
        (lambda header: {k: v for k, v in header.items() if k != "stage"}, "stage missing"),
        (lambda header: {**header, "preset": "pico"}, "cannot be built by this version"),
        (changes(sise=2), "cannot be built by this version"),
        (changes(name="x"), "cannot be built by this version"),
        (changes(temporal=["none"]), "mode is .*; expected a string"),
        (changes(num_tokens=1.5), "num_tokens is 1.5; expected an int"),
        (changes(controls=5), "controls is 5"),
        (changes(search_size=16 * 10**8), "cannot be built by this version"),
        (confidence(x=1), "expected numbers: bias, spread, value"),
        (lambda header: {**header, "confidence": [1]}, "confidence in .* is damaged"),
        (confidence(**NUMBERS, heat=0.5), "is damaged"),
        (confidence(**{**NUMBERS, "value": float("nan")}), "is damaged"),
        (confidence(**{**NUMBERS, "bias": "0"}), "is damaged"),
    ],
)
def test_damaged_headers(micro, tmp_path, change, message):
    path = with_header(micro, tmp_path / "n.safetensors", change)
    with pytest.raises(CheckpointError, match=message):
        RELONetwork.from_checkpoint(path)


def test_a_confidence_of_an_earlier_kind_is_left_out(micro, tmp_path):
    earlier = confidence(bias=0.0, agreement=1.0, heat=1.0, features=[0.5] * 64)
    path = with_header(micro, tmp_path / "n.safetensors", earlier)
    assert RELONetwork.from_checkpoint(path).confidence is None


def test_a_header_is_read_without_the_weights(micro, tmp_path, monkeypatch):
    path = micro.save_checkpoint(tmp_path / "n.safetensors", stage="policy")
    opened = checkpoints.safe_open

    class HeaderOnly:
        def __init__(self, *args, **kwargs):
            self.file = opened(*args, **kwargs)

        def __enter__(self):
            return SimpleNamespace(metadata=self.file.__enter__().metadata)

        def __exit__(self, *error):
            return self.file.__exit__(*error)

    monkeypatch.setattr(checkpoints, "safe_open", HeaderOnly)
    assert checkpoints.read_header(path)["preset"] == "micro"


def test_random_weights_of_a_seed():
    state = torch.get_rng_state()
    one, same, other = (RELONetwork.from_preset("micro", seed=seed) for seed in (0, 0, 1))
    assert equal(one.state_dict(), same.state_dict())
    assert not equal(one.state_dict(), other.state_dict())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_damaged_file_leaves_the_hubs_cache(hub, monkeypatch):
    link = hub.file.with_name("snapshot")
    link.symlink_to(hub.file)
    monkeypatch.setattr(hub.module, "hf_hub_download", lambda *_, **__: str(link))
    hub.published.etag = "0" * 64
    with pytest.raises(CheckpointError, match="damaged on its way"):
        weights.fetch("b256")
    assert not hub.file.exists()
    assert not link.is_symlink()


def test_torchs_advice_to_load_unsafely_is_not_repeated(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("Weights only load failed: weights_only=False will likely succeed")

    path = tmp_path / "RELO_ep0090.pth.tar"
    torch.save({}, path)
    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(CheckpointError, match="RuntimeError") as caught:
        official.read_torch_file(path)
    assert "weights_only" not in str(caught.value)
