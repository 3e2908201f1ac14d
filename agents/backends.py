"""Backends: the runtimes of a frozen network, torch or ONNX Runtime, behind one interface.

ONNX Runtime runs it in float32, or on request with the encoder's matrices in 8 bits. `RELOTracker`
and `NetworkProposer` run the encoder and the box regression through a backend, so that both get the
same numbers. The other heads are torch's in all.
"""

from __future__ import annotations

import io
import json
import statistics
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from agents.export import Step, step_inputs
from agents.network import RELONetwork, TemplateCache, TokenState
from agents.network.inference import check_device, fold
from relo_env.errors import ConfigError, unknown

NAMES = ("auto", "torch", "onnxruntime", "onnxruntime-int8")
LEAD = 1.1
"""Factor by which ONNX Runtime must be faster to be chosen by ``"auto"``."""
MOST_WEIGHTS = 500_000_000
"""[bytes] ``"auto"`` stays with torch above: ONNX Runtime holds the weights twice more."""
SECONDS = 1.0
"""[s] that ``"auto"`` times the backends for."""
FEWEST = 3
"""Frames that each backend is timed on at least, however slow the network."""


@dataclass(frozen=True)
class Choice:
    """Backend that runs a network, and why.

    Attributes:
        name: of the backend.
        reason: in words.
        milliseconds: median of a frame by backend, where they were timed.
    """

    name: str
    reason: str = "as asked for"
    milliseconds: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


class Encoded(NamedTuple):
    """Outputs of `Backend.encode`.

    Attributes:
        features: ``(N, C, H, W)``.
        candidates: ``(N, H * W, 4)``, cxcywh01 of the search crop.
        tokens: state for the next frame; None without temporal tokens.
    """

    features: Tensor
    candidates: Tensor
    tokens: TokenState | None


class Backend:
    """Torch as the runtime; base of the others.

    Args:
        network: runs as it is: `RELONetwork.for_inference`, or a network in training.
        choice: choice with its reason; None: it was asked for.
    """

    name = "torch"

    def __init__(self, network: RELONetwork, choice: Choice | None = None) -> None:
        self.network = network
        self.choice = choice or Choice(self.name)

    def encode_templates(self, templates: Tensor, boxes: Tensor) -> TemplateCache:
        """See `RELONetwork.encode_templates`; torch runs it in every backend."""
        return self.network.encode_templates(templates, boxes)

    def encode(self, cache: TemplateCache, search: Tensor, tokens: TokenState | None) -> Encoded:
        """Encode normalised search crops ``(N, 3, Hx, Wx)`` and compute their candidates."""
        features, tokens = self.network.encode(cache, None, search, tokens)
        candidates = self.network.heads(features, only=("boxes",)).candidates
        assert candidates is not None
        return Encoded(features, candidates, tokens)


class OnnxBackend(Backend):
    """ONNX Runtime on the CPU, float32; the model stays in memory.

    Args:
        network: `RELONetwork.for_inference` of ``original``.
        original: exported; its weights as they are now.
        choice: see `Backend`.

    Raises:
        ConfigError: onnxruntime is not installed, or torch cannot export the network.
    """

    name = "onnxruntime"

    def __init__(
        self, network: RELONetwork, original: RELONetwork, choice: Choice | None = None
    ) -> None:
        super().__init__(network, choice)
        self._model = self._reduce(_export(original))
        self._session = _session(self._model)

    def encode(self, cache: TemplateCache, search: Tensor, tokens: TokenState | None) -> Encoded:
        """See `Backend.encode`."""
        feed = {"template_rows": cache.rows, "search": search}
        if self.network.token_size:
            feed["tokens"], feed["tokens_valid"] = self._flat(tokens, len(search))
        arrays = {name: value.contiguous().numpy() for name, value in feed.items()}
        features, candidates, *following = map(torch.from_numpy, self._session.run(None, arrays))
        state = self.network.unpack_tokens(following[0]) if following else None
        return Encoded(features, candidates, state)

    def _reduce(self, model: bytes) -> bytes:
        return model

    def _flat(self, tokens: TokenState | None, count: int) -> tuple[Tensor, Tensor]:
        if tokens is None:
            return torch.zeros(count, self.network.token_size), torch.zeros(count, dtype=torch.bool)
        valid = torch.ones(count, dtype=torch.bool) if tokens.valid is None else tokens.valid
        return self.network.pack_tokens(tokens), valid

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_session"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._session = _session(self._model)


class Int8Backend(OnnxBackend):
    """ONNX Runtime with the matrices of encoder layers in 8 bits.

    Weights are rounded once, a scale for each output; the inputs of each layer at every frame, with
    a scale of their own (dynamic quantisation), so that no calibration is needed. Boxes differ from
    those of float32: docs/performance.md has the figures of ``nano``.
    """

    name = "onnxruntime-int8"

    def _reduce(self, model: bytes) -> bytes:
        return _quantize(model)


def make_backend(
    network: RELONetwork,
    backend: str | Choice = "auto",
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    compiled: bool = False,
) -> Backend:
    """A frozen copy of a network in a runtime.

    ``"auto"`` times torch and ONNX Runtime on crops of the network's size, once in a process for
    all networks of a preset. It takes torch where ONNX Runtime cannot run, and for networks of more
    than `MOST_WEIGHTS`.

    Args:
        network: its weights as they are now.
        backend: ``"torch"``, ``"onnxruntime"``, ``"onnxruntime-int8"`` or ``"auto"``; or the choice
            of a backend that was made with the same options.
        device: see `RELONetwork.for_inference`, as the next two.
        dtype: of the weights; None keeps it.
        compiled: run it through ``torch.compile``.

    Raises:
        ConfigError: an unknown name, or ONNX Runtime with options that only torch has.
    """
    choice = backend if isinstance(backend, Choice) else Choice(backend)
    if choice.name not in NAMES:
        raise ConfigError(unknown("backend", str(choice.name), NAMES))
    check_device(device)
    weights = network.encoder.search_token.dtype if dtype is None else dtype
    fits = torch.device(device).type == "cpu" and weights == torch.float32 and not compiled
    if choice.name == "auto" and fits:
        return _fastest(network)
    if choice.name == "auto":
        choice = Choice("torch", "ONNX Runtime runs float32 on a CPU only, not compiled")
    if choice.name != "torch" and not fits:
        raise ConfigError(
            f"backend {choice.name!r} runs float32 on a CPU, but device is {str(device)!r}, dtype "
            f"{weights} and compiled {compiled}. Use backend='torch'."
        )
    return _in_runtime(choice, network.for_inference(device, dtype, compiled), network)


def _in_runtime(choice: Choice, fast: RELONetwork, network: RELONetwork) -> Backend:
    for kind in (OnnxBackend, Int8Backend):
        if choice.name == kind.name:
            return kind(fast, network, choice)
    return Backend(fast, choice)


_CHOSEN: dict[tuple[str | None, str, int, int], Choice] = {}


def _fastest(network: RELONetwork) -> Backend:
    """Backend of ``"auto"``; the process remembers its choice."""
    size = sum(weight.nbytes for weight in network.parameters())
    key = network.preset_name, json.dumps(network.changes), size, torch.get_num_threads()
    fast = network.for_inference()
    if key in _CHOSEN:
        return _in_runtime(_CHOSEN[key], fast, network)
    backend = Backend(fast)
    if size > MOST_WEIGHTS:
        reason = f"ONNX Runtime would hold its {size / 1e9:.1f} GB of weights twice"
        backend.choice = Choice("torch", reason)
    else:
        try:
            backend = _faster(backend, OnnxBackend(fast, network))
        except ConfigError as error:
            backend.choice = Choice("torch", str(error))
    _CHOSEN[key] = backend.choice
    return backend


@torch.random.fork_rng(devices=[])  # a measurement changes no draw of the run around it
@torch.inference_mode()
def _faster(plain: Backend, other: Backend) -> Backend:
    """Backend that takes less time for a frame; torch, if the other one is not faster by `LEAD`."""
    crop = plain.network.crop
    templates = torch.zeros(1, crop.num_templates, 3, crop.template_size, crop.template_size)
    cache = plain.encode_templates(templates, torch.full((1, crop.num_templates, 4), 0.25))
    search = torch.randn(1, 3, crop.search_size, crop.search_size)
    tokens = plain.encode(cache, search, None).tokens

    def run(backend: Backend) -> float:
        begin = perf_counter()
        backend.encode(cache, search, tokens)
        return perf_counter() - begin

    times: dict[str, list[float]] = {plain.name: [], other.name: []}
    for backend in (plain, other):
        run(backend)  # the first frame also fills caches
    end = perf_counter() + SECONDS
    while perf_counter() < end or len(times[plain.name]) < FEWEST:
        for backend in (plain, other):
            times[backend.name].append(run(backend))
    medians = {name: 1e3 * statistics.median(spent) for name, spent in times.items()}
    chosen = other if medians[plain.name] > LEAD * medians[other.name] else plain
    reason = ", ".join(f"{name} {median:.1f} ms a frame" for name, median in medians.items())
    chosen.choice = Choice(chosen.name, reason, medians)
    return chosen


@torch.no_grad()
def _export(network: RELONetwork) -> bytes:
    """ONNX model of a frame's step; the numbers of sequences and of templates are open.

    torch's older exporter takes a second where the one of `agents.export` takes ten.
    """
    _onnxruntime()
    network = fold(network).cpu().float()
    inputs, outputs = step_inputs(network), ["features", "candidates"]
    step = Step(network, outputs)
    outputs += ["tokens_next"] if network.token_size else []
    axes = {name: {0: "batch"} for name in (*inputs, *outputs)}
    axes["template_rows"][1] = "length"  # trackers may keep another number of templates
    model = io.BytesIO()
    export: Callable[..., Any] = torch.onnx.export
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tracing: the shapes of a network are fixed
            export(
                step,
                tuple(inputs.values()),
                model,
                input_names=list(inputs),
                output_names=outputs,
                dynamic_axes=axes,
                opset_version=17,
                dynamo=False,
            )
    except Exception as error:  # torch can still run the network
        raise ConfigError(
            f"This torch cannot export the network to ONNX: {str(error).splitlines()[0]} "
            "Use backend='torch'."
        ) from error
    return model.getvalue()


def _quantize(model: bytes) -> bytes:
    """The model with the constant matrices of its products in 8 bits."""
    import onnx
    from onnxruntime.quantization import QuantType, quant_pre_process, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        prepared, reduced = Path(folder, "prepared.onnx"), Path(folder, "reduced.onnx")
        quant_pre_process(onnx.load_from_string(model), prepared, skip_symbolic_shape=True)
        quantize_dynamic(
            prepared,
            reduced,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=QuantType.QInt8,
        )
        return reduced.read_bytes()


def _session(model: bytes) -> Any:
    runtime = _onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    # Its waiting threads leave the cores to torch's heads.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _onnxruntime() -> Any:
    try:
        import onnx  # noqa: F401  (the exporter needs it)
        import onnxruntime
    except ImportError as error:
        raise ConfigError(
            f"ONNX Runtime cannot be used here ({error}): pip install '.[onnx]'."
        ) from error
    return onnxruntime
