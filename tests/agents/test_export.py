"""ONNX files of a network give the network's numbers in onnxruntime."""

import json
import sys

import numpy as np
import pytest
import torch

from agents.cli import main
from agents.export import export_onnx
from agents.network import RELONetwork
from relo_env.errors import ConfigError, OutputError
from tests.agents.network.test_network import inputs


def onnxruntime():
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason="needs the packages of relo[onnx]")
    return pytest.importorskip("onnxruntime", reason="needs the packages of relo[onnx]")


def follow(network, files, batch, frames=3):
    """Outputs of onnxruntime and of torch, frame by frame, tokens carried."""
    templates, step = (onnxruntime().InferenceSession(file) for file in files)
    crops, boxes, _ = inputs(network, batch)
    (rows,) = templates.run(None, {"templates": crops.numpy(), "template_boxes": boxes.numpy()})
    feed, state = {"template_rows": rows}, None
    if network.token_size:
        feed["tokens"] = np.zeros((batch, network.token_size), np.float32)
        feed["tokens_valid"] = np.zeros(batch, bool)
    names = [output.name for output in step.get_outputs()]
    for seed in range(frames):
        search = inputs(network, batch, seed)[2]
        ours = dict(zip(names, step.run(None, {**feed, "search": search.numpy()}), strict=True))
        if network.token_size:
            feed["tokens"], feed["tokens_valid"] = ours.pop("tokens_next"), np.ones(batch, bool)
        with torch.inference_mode():
            theirs, state = network(crops, boxes, search, state)
        yield ours, theirs


@pytest.mark.parametrize("temporal", ["layer_aligned", "none"])
def test_same_boxes_in_onnxruntime(tmp_path, temporal):
    onnxruntime()
    torch.manual_seed(0)
    network = RELONetwork.from_preset("micro", temporal=temporal, num_templates=2)
    files = export_onnx(network, tmp_path)
    assert [file.name for file in files] == ["templates.onnx", "step.onnx"]
    for batch in (1, 3):
        for ours, theirs in follow(network, files, batch):
            assert set(ours) == {"candidates", "policy_logits", "value"}
            for name, value in ours.items():
                np.testing.assert_allclose(value, getattr(theirs, name), atol=1e-4)
            assert (ours["policy_logits"].argmax(1) == theirs.policy_logits.argmax(1).numpy()).all()


@pytest.mark.slow
def test_a_fast_itpn_by_the_command(tmp_path, capsys):
    onnxruntime()
    torch.manual_seed(0)
    network = RELONetwork.from_preset("t256", search_size=64, template_size=32)
    checkpoint = network.save_checkpoint(tmp_path / "net.safetensors", stage="random")
    assert main(["weights", "export", str(checkpoint), str(tmp_path / "onnx")]) == 0
    files = [tmp_path / "onnx" / name for name in ("templates.onnx", "step.onnx")]
    assert capsys.readouterr().out.splitlines() == [f"wrote {file}" for file in files]
    facts = onnxruntime().InferenceSession(files[1]).get_modelmeta().custom_metadata_map["relo"]
    assert json.loads(facts)["preset"] == "t256"
    for ours, theirs in follow(network, files, batch=2):
        np.testing.assert_allclose(ours["candidates"], theirs.candidates, atol=1e-4)


def test_missing_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ConfigError, match=r"pip install '.\[onnx\]'"):
        export_onnx(RELONetwork.from_preset("micro"), tmp_path)


def test_a_file_in_the_folders_place_is_named(tmp_path):
    onnxruntime()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"Cannot write .*file"):
        export_onnx(RELONetwork.from_preset("micro"), tmp_path / "file")
