"""Networks as ONNX files, for programs without torch: `relo weights export`.

Two files stand for a network, as `RELONetwork.encode_templates` and a frame's step are two calls:

* ``templates.onnx``: ``templates`` ``(N, K, 3, Hz, Wz)`` and ``template_boxes`` ``(N, K, 4)`` to
  ``template_rows`` ``(N, L, C)``, once an episode;
* ``step.onnx``: ``template_rows``, ``search`` ``(N, 3, Hx, Wx)``, ``tokens`` ``(N, token_size)``
  and ``tokens_valid`` bool ``(N,)`` to ``candidates`` ``(N, H * W, 4)``, ``policy_logits``
  ``(N, H * W)``, ``value`` ``(N,)`` and the ``tokens_next`` of the next frame.

Crops are float32 and normalised (`agents.network.normalize_crops`), boxes of templates xywh as
fractions of the crop, candidates cxcywh01. At a sequence's first frame ``tokens`` are zeros and
``tokens_valid`` is False. A network without temporal tokens has neither of the three.
"""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from agents.network import RELONetwork, TemplateCache
from relo_env.errors import ConfigError
from relo_env.files import refusals_explained

TEMPLATES, STEP = "templates.onnx", "step.onnx"
OPSET = 20
"""ONNX operators that the files use: onnxruntime 1.17 and newer know them."""


class _Templates(nn.Module):
    """Module exported as ``templates.onnx``."""

    def __init__(self, network: RELONetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, templates: Tensor, template_boxes: Tensor) -> Tensor:
        return self.network.encode_templates(templates, template_boxes).rows


class Step(nn.Module):
    """Graph of a frame's step.

    Args:
        network: frozen.
        outputs: names of what it gives, in order: ``"features"`` and the keys of `HEADS`. The next
            tokens follow where the network has some.
    """

    HEADS = {"candidates": "boxes", "policy_logits": "policy", "value": "value"}

    def __init__(self, network: RELONetwork, outputs: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self.outputs = tuple(outputs)

    def forward(
        self,
        template_rows: Tensor,
        search: Tensor,
        tokens: Tensor | None = None,
        tokens_valid: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Outputs in their order, of one frame of N sequences; shapes as in the module's text."""
        network = self.network
        state = None if tokens is None else network.unpack_tokens(tokens, tokens_valid)
        features, state = network.encode(TemplateCache(template_rows), None, search, state)
        heads = [self.HEADS[name] for name in self.outputs if name in self.HEADS]
        computed = network.heads(features, only=tuple(heads))
        known = tuple(
            features if name == "features" else getattr(computed, name) for name in self.outputs
        )
        return known if state is None else (*known, network.pack_tokens(state))


def template_inputs(network: RELONetwork) -> dict[str, Tensor]:
    """Example templates and boxes by name; two sequences, as exporters take 1 for a constant."""
    crop = network.crop
    side, count = crop.template_size, crop.num_templates
    return {
        "templates": torch.zeros(2, count, 3, side, side),
        "template_boxes": torch.tensor([0.25, 0.25, 0.5, 0.5]).repeat(2, count, 1),
    }


def step_inputs(network: RELONetwork) -> dict[str, Tensor]:
    """Example inputs of `Step` by name, for two sequences."""
    side = network.crop.search_size
    inputs = {
        "template_rows": network.encode_templates(**template_inputs(network)).rows,
        "search": torch.zeros(2, 3, side, side),
    }
    if network.token_size:
        inputs["tokens"] = torch.zeros(2, network.token_size)
        inputs["tokens_valid"] = torch.ones(2, dtype=torch.bool)
    return inputs


def export_onnx(network: RELONetwork, folder: str | PathLike[str]) -> tuple[Path, Path]:
    """Write ``templates.onnx`` and ``step.onnx``; the number N of sequences stays open.

    Args:
        network: its weights as they are now, in float32.
        folder: made if missing.

    Raises:
        ConfigError: the packages of the ``onnx`` extra are not installed.
        OutputError: the folder cannot be written.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"Writing ONNX needs more packages ({error}): pip install '.[onnx]'."
        ) from error
    network = copy.deepcopy(network).cpu().float().eval().requires_grad_(False)
    templates, step = Path(folder, TEMPLATES), Path(folder, STEP)
    crop = asdict(network.crop)
    facts = {"preset": network.preset_name, "changes": network.changes, "crop": crop}
    outputs = ["candidates", "policy_logits", "value"]
    following = ["tokens_next"] if network.token_size else []
    names = [*outputs, *following]
    with refusals_explained(templates.parent):
        templates.parent.mkdir(parents=True, exist_ok=True)
        _export(_Templates(network), template_inputs(network), ["template_rows"], templates, facts)
        _export(Step(network, outputs), step_inputs(network), names, step, facts)
    return templates, step


def _export(
    module: nn.Module,
    inputs: dict[str, Tensor],
    outputs: list[str],
    path: Path,
    facts: dict[str, Any],
) -> None:
    batch = torch.export.Dim("batch")
    # The exporter's deprecations and notes do not concern the caller.
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                tuple(inputs.values()),
                input_names=list(inputs),
                output_names=outputs,
                dynamic_shapes=tuple({0: batch} for _ in inputs),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    assert program is not None
    program.model.metadata_props["relo"] = json.dumps(facts)
    program.save(path)
