"""Weights of the public RELO release and of Fast-iTPN: names, conversion and safe reading.

Facts: SEMANTICS section 6 (files) and the manifests of the released checkpoints. Our modules fuse
some matrices and have names of their own; `official_names` is the one table between both.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agents.network.checkpoints import Network
from agents.network.fast_itpn import FastITPN, adapt_position
from relo_env.errors import CheckpointError, ConfigError

Source = str | PathLike[str] | Mapping[str, Any]
"""A file, or its contents."""


_WIDTHS = {384: "t256", 512: "b256", 768: "l256"}
"""Official presets by the channels of their encoders."""

_DECISION_HEADS = ("policy_model.", "value_model.")

_BODY = {
    "temporal.start": "ttokens",
    "temporal.position": "pos_embed_ttoken",
    "position": "pos_embed",
    "norm": "fc_norm",
    "stem.patches": "patch_embed.proj",
}
_STEM_BLOCK = {"norm": "norm2", "widen": "mlp.fc1", "inner_norm": "mlp.ffn_ln", "narrow": "mlp.fc2"}
_ATTENTION_BLOCK = {
    "scale1": ("gamma_1",),
    "scale2": ("gamma_2",),
    "attention.q_bias": ("attn.q_bias",),
    "attention.v_bias": ("attn.v_bias",),
    "attention.qkv": ("attn.q_proj", "attn.k_proj", "attn.v_proj"),
    "attention.out": ("attn.proj",),
    "mlp.gate_value": ("mlp.w1", "mlp.w2"),
    "mlp.norm": ("mlp.ffn_ln",),
    "mlp.out": ("mlp.w3",),
}
_BRANCHES = {
    "prior": ("decoder", "ctr", "conv5_ctr"),
    "size": ("decoder", "size", "conv5_size"),
    "offset": ("decoder", "offset", "conv5_offset"),
    "policy": ("policy_model", "ctr", "conv5_ctr"),
    "value": ("value_model", "val", "fc_val"),
}


def official_names(name: str, stem_blocks: tuple[int, int]) -> tuple[str, ...]:
    """Official entries that make up our state-dict entry, stacked along their first axis.

    Args:
        name: entry of a RELONetwork with a Fast-iTPN encoder.
        stem_blocks: blocks of its stem at stride 4 and at stride 8.
    """
    part, _, rest = name.partition(".")
    if part == "encoder":
        return tuple(f"encoder.body.{body}" for body in _body_names(rest, stem_blocks))
    branch, _, rest = rest.partition(".")
    model, suffix, out = _BRANCHES[branch]
    if layer := re.fullmatch(r"tower\.(\d+)\.(.+)", rest):
        return (f"{model}.conv{int(layer[1]) + 1}_{suffix}.{layer[2]}",)
    return (f"{model}.{out}.{rest.removeprefix('out.')}",)


def _body_names(name: str, stem_blocks: tuple[int, int]) -> tuple[str, ...]:
    """`official_names` inside the encoder: there, all stages' blocks are numbered through."""
    fine, middle = stem_blocks
    merge_fine, merge_middle = fine, fine + 1 + middle
    if name in _BODY:
        return (_BODY[name],)
    module, _, kind = name.rpartition(".")
    if module in _BODY:
        return (f"{_BODY[module]}.{kind}",)
    if match := re.fullmatch(r"stem\.(fine|middle)\.(\d+)\.(.+)", module):
        index = int(match[2]) + (0 if match[1] == "fine" else merge_fine + 1)
        return (f"blocks.{index}.{_STEM_BLOCK[match[3]]}.{kind}",)
    if match := re.fullmatch(r"stem\.merge_(fine|middle)\.(.+)", module):
        index = merge_fine if match[1] == "fine" else merge_middle
        return (f"blocks.{index}.{match[2]}.{kind}",)
    if match := re.fullmatch(r"blocks\.(\d+)\.(.+)", name):
        block = f"blocks.{int(match[1]) + merge_middle + 1}"
        if match[2] in _ATTENTION_BLOCK:
            return (f"{block}.{_ATTENTION_BLOCK[match[2]][0]}",)
        layer, _, kind = match[2].rpartition(".")
        return tuple(f"{block}.{part}.{kind}" for part in _ATTENTION_BLOCK.get(layer, (layer,)))
    return (name,)


def export_official(network: Network) -> dict[str, Tensor]:
    """State dict under official names and shapes.

    Raises:
        ConfigError: the network is not an official one.
    """
    stem_blocks = _stem_blocks(network)
    official = {}
    for name, value in network.state_dict().items():
        names = official_names(name, stem_blocks)
        parts = value.chunk(len(names)) if len(names) > 1 else (value,)
        for part_name, part in zip(names, parts, strict=True):
            pointwise = re.search(r"mlp\.fc[12]\.weight$", part_name)
            official[part_name] = part[..., None, None] if pointwise else part
    return official


def load_official(network: Network, source: Source) -> list[str]:
    """Load a released RELO or RELO_WARMUP checkpoint, or a state dict under its names.

    Returns:
        Our entries that the checkpoint does not have: none, or those of policy and value, which a
        warm-up checkpoint leaves as they are.

    Raises:
        ConfigError: the network is not an official one.
        CheckpointError: the file cannot be read, or entries are missing, unexpected or of another
            shape.
    """
    state = _state(source, "net")
    expected = export_official(network)
    if not any(name.startswith(_DECISION_HEADS) for name in state):
        expected = {k: v for k, v in expected.items() if not k.startswith(_DECISION_HEADS)}
    what = f"an official checkpoint of {network.preset_name or 'this network'}"
    _compare(state, expected, what + _hint(state, network))
    return _assign(network, state)


def load_fast_itpn(network: Network, source: Source, method: str = "index") -> list[str]:
    """Start the encoder from a pretrained Fast-iTPN.

    Args:
        network: one of the official ones.
        source: file, or state dict (under ``"module"``, ``"model"`` or by itself).
        method: of adapting the position embedding, see `adapt_position`.

    Returns:
        Entries of the file that RELO has no use for.

    Raises:
        ConfigError: the network is not an official one.
        CheckpointError: the file cannot be read, or entries are missing or of another shape.
    """
    state = dict(_state(source, "module", "model"))
    if isinstance(state.get("pos_embed"), Tensor):
        grids = network.crop.search_size // 16, network.crop.template_size // 16
        state["pos_embed"] = adapt_position(state["pos_embed"], *grids, method=method)
    prefix = "encoder.body."
    own = {
        name.removeprefix(prefix): value
        for name, value in export_official(network).items()
        if name.startswith(prefix)
    }
    # RELO's own parameters and its last norm are not part of the pretraining.
    optional = re.compile(r"ttokens|pos_embed_ttoken|fc_norm\..*|search_token|template_.*_token")
    needed = {k: v for k, v in own.items() if k in state or not optional.fullmatch(k)}
    useless = [name for name in state if name not in needed]
    known = {name: value for name, value in state.items() if name in needed}
    _compare(known, needed, "a Fast-iTPN file of this size")
    _assign(network, {prefix + name: value for name, value in known.items()})
    return useless


def read_torch_file(path: str | PathLike[str]) -> Any:
    """Contents of a ``torch.save`` file; no code in it is executed.

    torch's restricted unpickler reads it. Classes of other projects become empty ordered dicts,
    which is all that the restricted unpickler can fill; only tensors are of interest.

    Raises:
        CheckpointError: no such file, truncated, or not to be read safely.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"There is no file {path}. Look at the path.")
    try:
        foreign = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        aliases: list[Any] = [(_alias(name), name) for name in foreign]
        with torch.serialization.safe_globals(aliases):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch's message goes on to recommend unsafe ways; its last part names the reason.
        said = str(error).rpartition("WeightsUnpickler error: ")[2].strip() or type(error).__name__
        reason = said.splitlines()[0]
        if "weights_only" in reason:
            reason = f"{type(error).__name__}."
        raise CheckpointError(
            f"{path} cannot be read as weights: {reason.rstrip('.')}. Expected an undamaged "
            "file of torch.save; download it again (`relo weights fetch`)."
        ) from error


def _alias(name: str) -> Any:
    """A stand-in of its own for a foreign class or function of that name."""
    if name.startswith("numpy"):
        empty = {"__new__": lambda cls, *_, **__: object.__new__(cls)}
        return type("ForeignArray", (), {**empty, "__setstate__": lambda *_: None})
    return type("Foreign", (), {"__new__": lambda *_, **__: OrderedDict()})


def _state(source: Source, *keys: str) -> Mapping[str, Any]:
    """State dict of a source: under the first of the keys that it has, or the source itself.

    Raises:
        CheckpointError: the file cannot be read, or holds something else.
    """
    state: Any = source if isinstance(source, Mapping) else read_torch_file(source)
    if isinstance(state, Mapping):
        state = next((state[key] for key in keys if key in state), state)
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        where = "The given object" if isinstance(source, Mapping) else source
        raise CheckpointError(
            f"{where} holds a {type(state).__name__}; expected a state dict, tensors by name."
        )
    return state


def _stem_blocks(network: Network) -> tuple[int, int]:
    if not isinstance(network.encoder, FastITPN):
        raise ConfigError(
            f"Network {network.preset_name!r} has no official counterpart; expected one of the "
            "presets 't256', 'b256', 'l256'."
        )
    return len(network.encoder.stem.fine), len(network.encoder.stem.middle)


def _compare(state: Mapping[str, Any], expected: Mapping[str, Tensor], what: str) -> None:
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    shapes = {name: _shape(value) for name, value in state.items()}
    reshaped = [
        f"{name} is {shapes[name]}, expected {_shape(value)}"
        for name, value in expected.items()
        if shapes.get(name, _shape(value)) != _shape(value)
    ]
    if missing or unexpected or reshaped:
        raise CheckpointError(
            f"This is not {what}. Missing: {_some(missing)}. Unexpected: {_some(unexpected)}. "
            f"Other shape: {_some(reshaped)}."
        )


def _shape(value: Any) -> Any:
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__


def _hint(state: Mapping[str, Any], network: Network) -> str:
    """Preset that a state seems to belong to, if it is not the network's."""
    norm = state.get("encoder.body.fc_norm.weight")
    if not isinstance(norm, Tensor) or norm.shape == (network.width,):
        return ""
    preset = _WIDTHS.get(norm.numel())
    return f" (its width is that of {preset!r})" if preset else ""


def _assign(network: Network, state: Mapping[str, Tensor]) -> list[str]:
    """Copy what an official state has; returns our entries that it lacks."""
    stem_blocks, lacking = _stem_blocks(network), []
    with torch.no_grad():
        for name, own in network.state_dict().items():
            names = official_names(name, stem_blocks)
            if all(part in state for part in names):
                parts = [state[part] for part in names]
                own.copy_((torch.cat(parts) if len(parts) > 1 else parts[0]).reshape(own.shape))
            else:
                lacking.append(name)
    return lacking


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:8]) or "none"
    return f"{shown} ({len(names)} in all)" if len(names) > 8 else shown
