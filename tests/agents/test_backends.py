"""Backends: the same numbers from each, one choice in a process."""

import importlib.util
import pickle
import sys
import warnings

import numpy as np
import pytest
import torch

from agents import backends
from agents.backends import OnnxBackend, make_backend
from agents.commands.arguments import tracker_factory
from agents.network import RELONetwork, inference, normalize_crops
from agents.network.inference import half_precision_cost
from agents.proposer import NetworkProposer, make_network_proposer
from agents.tracker import RELOTracker
from relo_env import boxes as bx
from relo_env import make_dataset
from relo_env.errors import ConfigError

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxruntime")),
    reason="onnx or onnxruntime is not installed",
)
CHANGES = [{}, {"temporal": "none"}, {"temporal": "deep_to_shallow", "num_templates": 2}]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.setattr(backends, "_CHOSEN", {})
    monkeypatch.setattr(backends, "SECONDS", 0.05)


def micro(**changes):
    return RELONetwork.from_preset("micro", seed=0, **changes)


@torch.inference_mode()
def frames(backend, network, batch=3, count=3, num_templates=None):
    """Features and candidates of a few frames of ``batch`` sequences."""
    crop = network.crop
    rng = np.random.default_rng(0)
    shape = batch, num_templates or crop.num_templates, 3, crop.template_size, crop.template_size
    templates = normalize_crops(torch.from_numpy(rng.integers(0, 256, shape, np.uint8)))
    cache = backend.encode_templates(templates, torch.full((*shape[:2], 4), 0.25))
    tokens, encoded = None, []
    for _ in range(count):
        search = rng.integers(0, 256, (batch, 3, crop.search_size, crop.search_size), np.uint8)
        features, candidates, tokens = backend.encode(
            cache, normalize_crops(torch.from_numpy(search)), tokens
        )
        encoded += [features, candidates]
    return encoded


@needs_onnx
@pytest.mark.parametrize("changes", CHANGES)
@pytest.mark.parametrize("num_templates", [1, 3])
def test_backends_agree(changes, num_templates):
    network = micro(**changes)
    backends = [make_backend(network, name) for name in ("torch", "onnxruntime")]
    for batch in (1, 3):
        one, other = (frames(b, network, batch, 3, num_templates) for b in backends)
        assert_close(one, other)


def assert_close(one, other):
    for expected, found in zip(one, other, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4 * float(expected.std()), rtol=1e-5)


@needs_onnx
@pytest.mark.parametrize(("name", "overlap"), [("onnxruntime", 0.9), ("onnxruntime-int8", 0.6)])
def test_the_tracker_that_ships_runs_on_onnxruntime(name, overlap):
    video = make_dataset("Synthetic", split="test", length=60)[1]
    tracks = []
    for backend in ("torch", name):
        tracker = RELOTracker.from_pretrained("nano", backend=backend)
        tracker.init(video.frames.read(0), tuple(video.boxes[0].tolist()))
        tracks.append([tracker.update(video.frames.read(i))[0] for i in range(1, 6)])
    # In a closed loop rounding grows: the same object, not the same digits.
    assert bx.iou(*np.array(tracks)).min() > overlap


@needs_onnx
def test_eight_bits_are_close_and_smaller():
    network = micro()
    full, reduced = (make_backend(network, n) for n in ("onnxruntime", "onnxruntime-int8"))
    for expected, found in zip(frames(full, network), frames(reduced, network), strict=True):
        assert 0 < float((found - expected).abs().mean()) < 0.1 * float(expected.std())
    assert len(reduced._model) < 0.8 * len(full._model)


@needs_onnx
def test_a_backend_pickles():
    network = micro()
    backend = make_backend(network, "onnxruntime")
    again = pickle.loads(pickle.dumps(backend))
    # Unpickled weights may be aligned otherwise, which torch's sums follow on some processors.
    assert_close(frames(backend, network), frames(again, network))


def test_the_choice_is_made_once(monkeypatch):
    exported = []
    monkeypatch.setattr(OnnxBackend, "_reduce", lambda self, model: exported.append(1) or model)
    backend = make_backend(micro())
    assert backend.choice.name == backend.name
    assert len(exported) <= 1  # what was timed is what runs
    monkeypatch.setattr(backends, "_faster", None)
    assert RELOTracker(micro()).backend.choice is backend.choice


def test_a_slow_network_is_timed_on_a_few_frames(monkeypatch):
    clock = iter(range(1000))  # each look at the clock is a second later
    monkeypatch.setattr(backends, "perf_counter", lambda: float(next(clock)))
    choice = make_backend(micro()).choice
    assert set(choice.milliseconds) <= {"torch", "onnxruntime"}
    assert all(time == 1000 for time in choice.milliseconds.values())


def test_a_large_network_stays_with_torch(monkeypatch):
    monkeypatch.setattr(backends, "MOST_WEIGHTS", 1)
    choice = make_backend(micro()).choice
    assert choice.name == "torch"
    assert "GB of weights" in choice.reason


def test_measurements_draw_nothing():
    half_precision_cost.cache_clear()
    before = torch.get_rng_state()
    make_backend(micro())
    half_precision_cost(torch.bfloat16)
    torch.testing.assert_close(torch.get_rng_state(), before)


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_without_onnxruntime_it_is_torch(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    choice = make_backend(micro()).choice
    assert choice.name == "torch"
    assert "pip install" in choice.reason
    for name in ("onnxruntime", "onnxruntime-int8"):
        with pytest.raises(ConfigError, match=r"pip install '\.\[onnx\]'"):
            RELOTracker(micro(), backend=name)


@pytest.mark.parametrize("make", [RELOTracker, NetworkProposer])
def test_unknown_backends_are_refused(make):
    with pytest.raises(ConfigError, match=r"Unknown backend 'onnx'.*Did you mean 'onnxruntime'"):
        make(micro(), backend="onnx")


def test_options_that_only_torch_has():
    for name in ("onnxruntime", "onnxruntime-int8"):
        with pytest.raises(ConfigError, match=r"bfloat16.*Use backend='torch'"):
            RELOTracker(micro(), dtype=torch.bfloat16, backend=name)
    assert RELOTracker(micro(), dtype=torch.bfloat16).backend.name == "torch"


@needs_onnx
def test_a_proposer_follows_its_network():
    network = micro()
    proposer = NetworkProposer(network, backend="onnxruntime").bind(1)
    templates, search = np.zeros((1, 1, 3, 48, 48), np.uint8), np.zeros((1, 3, 64, 64), np.uint8)

    def boxes():
        proposer.reset(np.array([0]), templates, np.full((1, 1, 4), 0.25))
        return proposer.propose(np.array([0]), search, np.zeros((1, 4))).boxes

    before = boxes()
    with torch.no_grad():
        network.heads.size.out.bias.add_(0.5)
    assert np.abs(boxes() - before)[..., 2:].min() > 0.01


def test_an_evaluation_names_its_backend():
    assert tracker_factory("nano", device="cpu").settings["backend"] == "torch"
    chosen = tracker_factory("nano", device="cpu", options={"backend": "onnxruntime"})
    assert chosen.settings["backend"] == chosen.kwargs["backend"] == "onnxruntime"
    assert chosen.settings["tracker_options"] == {}
    assert chosen().backend.choice.reason == "as asked for"
    auto = tracker_factory("nano", device="cpu", options={"backend": "auto"})
    assert auto.settings["backend"] == auto().backend.name
    assert auto().backend.choice.reason != "as asked for"
    half = {"backend": "auto", "dtype": "bfloat16"}
    assert tracker_factory("nano", device="cpu", options=half).settings["backend"] == "torch"
    with pytest.raises(ConfigError, match="Unknown backend"):
        tracker_factory("nano", device="cpu", options={"backend": "tensorrt"})


@pytest.fixture
def slow(monkeypatch):
    """A processor on which half precision takes six times as long."""
    monkeypatch.setattr(inference, "half_precision_cost", lambda dtype: 6.0)
    inference._warn_once.cache_clear()
    yield
    inference._warn_once.cache_clear()


def test_slow_half_precision_is_said_once(slow):
    with pytest.warns(UserWarning, match="6.0 times as long"):
        RELOTracker(micro(), dtype=torch.bfloat16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RELOTracker(micro(), dtype=torch.bfloat16)
        RELOTracker(micro())


def test_weights_that_are_half_already_are_said_too(slow):
    with pytest.warns(UserWarning, match="float16 is slower"):
        RELOTracker(micro().to(torch.float16))


@pytest.mark.parametrize("dtype", [torch.int8, "int8", "bflot16"])
def test_types_that_no_network_runs_in_are_refused(dtype):
    with pytest.raises(ConfigError, match="Unknown dtype"):
        micro().for_inference(dtype=dtype)
    with pytest.raises(ConfigError, match="Unknown dtype"):
        make_network_proposer("micro", dtype=dtype)


def test_the_cost_of_half_precision_is_measured():
    assert inference.half_precision_cost(torch.bfloat16) > 0
