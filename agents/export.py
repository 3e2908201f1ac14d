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
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from agents.network import RELONetwork, TemplateCache
from relo_env.errors import ConfigError

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


class _Step(nn.Module):
    """Module exported as ``step.onnx``."""

    def __init__(self, network: RELONetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        template_rows: Tensor,
        search: Tensor,
        tokens: Tensor | None = None,
        tokens_valid: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        network = self.network
        state = None if tokens is None else network.unpack_tokens(tokens, tokens_valid)
        features, state = network.encode(TemplateCache(template_rows), None, search, state)
        outputs = network.heads(features, only=("boxes", "policy", "value"))
        known = (outputs.candidates, outputs.policy_logits, outputs.value)
        return known if state is None else (*known, network.pack_tokens(state))


def export_onnx(network: RELONetwork, folder: str | PathLike[str]) -> tuple[Path, Path]:
    """Write ``templates.onnx`` and ``step.onnx``; the number N of sequences stays open.

    Args:
        network: its weights as they are now, in float32.
        folder: where to write; made where it is missing.

    Raises:
        ConfigError: the packages of the ``onnx`` extra are not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"Writing ONNX needs more packages ({error}): pip install '.[onnx]'."
        ) from error
    network = copy.deepcopy(network).cpu().float().eval().requires_grad_(False)
    crop = network.crop
    # Two sequences: the exporter takes a size of 1 for a constant.
    templates = torch.zeros(2, crop.num_templates, 3, crop.template_size, crop.template_size)
    boxes = torch.tensor([0.25, 0.25, 0.5, 0.5]).repeat(2, crop.num_templates, 1)
    step = {
        "template_rows": network.encode_templates(templates, boxes).rows,
        "search": torch.zeros(2, 3, crop.search_size, crop.search_size),
    }
    outputs = ["candidates", "policy_logits", "value"]
    if network.token_size:
        step["tokens"] = torch.zeros(2, network.token_size)
        step["tokens_valid"] = torch.ones(2, dtype=torch.bool)
        outputs.append("tokens_next")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    inputs = {"templates": templates, "template_boxes": boxes}
    facts = {"preset": network.preset_name, "changes": network.changes, "crop": asdict(crop)}
    return (
        _export(_Templates(network), inputs, ["template_rows"], folder / TEMPLATES, facts),
        _export(_Step(network), step, outputs, folder / STEP, facts),
    )


def _export(
    module: nn.Module,
    inputs: dict[str, Tensor],
    outputs: list[str],
    path: Path,
    facts: dict[str, Any],
) -> Path:
    batch = torch.export.Dim("batch")
    # The exporter's own deprecations and notes are no business of the caller.
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
    return path
