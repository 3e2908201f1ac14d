"""RELONetwork: encoder and heads, with presets, checkpoints and a fast copy for inference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from agents.confidence import Confidence
from agents.network import checkpoints, official
from agents.network.controls import ControlHeads
from agents.network.heads import HEADS, HeadOutputs, Heads
from agents.network.inference import (
    COMPILE_OPTIONS,
    can_pack,
    check_device,
    find_dtype,
    fold,
    pack_linears,
    warn_of_slow_half,
)
from agents.network.presets import Preset, preset
from agents.network.temporal import TokenState
from relo_env.config import CropConfig
from relo_env.errors import CheckpointError, ConfigError

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalize_crops(crops: Tensor) -> Tensor:
    """uint8 RGB crops ``(..., 3, S, S)`` to float32 with ImageNet's mean and deviation removed."""
    mean = torch.tensor(MEAN, device=crops.device)[:, None, None]
    std = torch.tensor(STD, device=crops.device)[:, None, None]
    return (crops.float() / 255 - mean) / std


@dataclass(frozen=True)
class TemplateCache:
    """Encoded templates of N sequences, from `RELONetwork.encode_templates`.

    Attributes:
        rows: ``(N, L, C)``; sequences can be selected and concatenated along the first axis.
    """

    rows: Tensor


class RELONetwork(nn.Module):
    """A tracker's network: crops in, candidate boxes, policy and value out.

    Attributes:
        preset_name: the preset it was made from, and ``changes``, what was changed in it.
        crop: the crops it reads (`relo_env.config.CropConfig`).
        width: channels C of its features.
        confidence: confidence of a tracker in its box; None if it was not measured.
        controls: heads for the decisions beside the position, by name; most networks have none.
    """

    def __init__(self, architecture: Preset) -> None:
        super().__init__()
        self.crop: CropConfig = architecture.crop
        self.preset_name: str | None = None
        self.changes: dict[str, Any] = {}
        self.confidence: Confidence | None = None
        self.encoder = architecture.encoder.build(architecture.crop, architecture.temporal)
        self.width = self.encoder.width
        self.heads = Heads(self.width, architecture.heads)
        self.controls = ControlHeads(self.width, architecture.controls)

    @classmethod
    def from_preset(cls, name: str, *, seed: int | None = None, **changes: Any) -> RELONetwork:
        """A network with random weights, in evaluation mode.

        Args:
            name: see `agents.network.presets`.
            seed: of the weights; None draws them from torch's global generator.
            changes: see `agents.network.preset`, e.g. ``search_size=384, temporal="none"``.

        Raises:
            ConfigError: an unknown preset or change, or sizes that do not fit together.
        """
        architecture = preset(name, **changes)
        with torch.random.fork_rng(devices=(), enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            network = cls(architecture)
        if "controls" in changes:  # as JSON gives it back
            changes["controls"] = list(changes["controls"])
        network.preset_name, network.changes = name, changes
        return network.eval()

    @classmethod
    def from_checkpoint(cls, path: str | PathLike[str]) -> RELONetwork:
        """The network of one of our checkpoints, in evaluation mode and float32.

        Raises:
            CheckpointError: truncated, not a RELO checkpoint, or of a preset unknown here.
        """
        header = checkpoints.read_header(path)
        try:
            network = cls.from_preset(header["preset"], **header["changes"])
        except (ConfigError, TypeError, RuntimeError) as error:  # or sizes that no memory holds
            raise CheckpointError(f"{path} cannot be built by this version: {error}") from error
        checkpoints.load_checkpoint(network, path)
        return network

    @classmethod
    def from_pretrained(cls, name_or_path: str | PathLike[str]) -> RELONetwork:
        """The network of a preset that ships with weights, or of a checkpoint's path.

        Raises:
            CheckpointError: neither such a preset nor a readable checkpoint.
        """
        return cls.from_checkpoint(checkpoints.find_checkpoint(name_or_path))

    def save_checkpoint(self, path: str | PathLike[str], *, stage: str, **details: Any) -> Path:
        """Write one of our checkpoints; see `agents.network.checkpoints.save_checkpoint`."""
        return checkpoints.save_checkpoint(self, path, stage=stage, **details)

    def load_official(self, source: official.Source) -> list[str]:
        """Load released weights by their names; see `agents.network.official.load_official`."""
        return official.load_official(self, source)

    def export_official(self) -> dict[str, Tensor]:
        """State dict under the names of the released checkpoints."""
        return official.export_official(self)

    def encode_templates(self, templates: Tensor, template_boxes: Tensor) -> TemplateCache:
        """Encode the templates of an episode once; `encode` takes the result in their place.

        Args:
            templates: ``(N, K, 3, Hz, Wz)``, normalised.
            template_boxes: ``(N, K, 4)``, xywh as fractions of the crop.
        """
        self._check("templates", templates, self.crop.template_size)
        return TemplateCache(self.encoder.encode_templates(self._cast(templates), template_boxes))

    def encode(
        self,
        templates: Tensor | TemplateCache,
        template_boxes: Tensor | None,
        search: Tensor,
        tokens: TokenState | None = None,
    ) -> tuple[Tensor, TokenState | None]:
        """Encode templates and a search crop together.

        Args:
            templates: ``(N, K, 3, Hz, Wz)``, normalised; or what `encode_templates` gave.
            template_boxes: ``(N, K, 4)``, xywh as fractions of the crop; None beside a cache.
            search: ``(N, 3, Hx, Wx)``, normalised.
            tokens: tokens that the frame before returned; None at the start.

        Returns:
            Features ``(N, C, H, W)`` and the tokens for the next frame.

        Raises:
            ConfigError: crops of another size than the network's.
        """
        if not isinstance(templates, TemplateCache):
            if template_boxes is None:
                raise ConfigError("encode needs template_boxes beside templates that are crops.")
            templates = self.encode_templates(templates, template_boxes)
        self._check("search", search, self.crop.search_size)
        return self.encoder(templates.rows, self._cast(search), tokens)

    def forward(
        self,
        templates: Tensor | TemplateCache,
        template_boxes: Tensor | None,
        search: Tensor,
        tokens: TokenState | None = None,
        only: tuple[str, ...] = HEADS,
    ) -> tuple[HeadOutputs, TokenState | None]:
        """`encode` and the heads in one call."""
        features, tokens = self.encode(templates, template_boxes, search, tokens)
        return self.heads(features, only), tokens

    def reset_heads(self, seed: int) -> None:
        """Draw policy, value and controls anew, as at the start of the policy stage."""
        self.heads.reset_decisions(seed)
        self.controls.reset(seed)

    def extend(
        self, *, controls: Sequence[str] = (), num_templates: int | None = None
    ) -> RELONetwork:
        """Add heads for controls, or change the number of templates, in place.

        Existing weights and outputs stay the same. New heads choose neither zoom nor renewal until
        they are trained. Renewal needs two templates or more.

        Args:
            controls: names of the controls to add; heads that are there stay.
            num_templates: template crops K; None keeps them.

        Returns:
            The network itself.

        Raises:
            ConfigError: an unknown control, or a number of templates below 1.
        """
        new = ControlHeads(self.width, [name for name in controls if name not in self.controls])
        if num_templates is not None and num_templates != self.crop.num_templates:
            self.crop = self.encoder.crop = replace(self.crop, num_templates=num_templates)
            self.changes = {**self.changes, "num_templates": num_templates}
        new.reset(seed=0)
        if new:
            self.controls.update(dict(new.to(self.encoder.search_token.device)))
            self.changes = {**self.changes, "controls": list(self.controls)}
        return self

    @property
    def token_size(self) -> int:
        """Numbers in one sequence's packed tokens; 0 without temporal tokens."""
        temporal = self.encoder.temporal
        return temporal.depths * temporal.num_tokens * temporal.width

    def pack_tokens(self, tokens: TokenState) -> Tensor:
        """Tokens of N sequences as a flat ``(N, token_size)`` observation."""
        return tokens.rows.flatten(1)

    def unpack_tokens(self, flat: Tensor, valid: Tensor | None = None) -> TokenState | None:
        """Tokens from ``(N, token_size)``; sequences with ``valid`` ``(N,)`` False have none."""
        if self.token_size == 0:
            return None
        temporal = self.encoder.temporal
        rows = flat.unflatten(1, (temporal.depths, temporal.num_tokens, temporal.width))
        return TokenState(
            rows.to(self.encoder.search_token.dtype), None if valid is None else valid.bool()
        )

    def for_inference(
        self,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        compiled: bool = False,
    ) -> RELONetwork:
        """A frozen copy that gives the same numbers faster; it stays on its device.

        Batch norms and biases are folded into the layers before them, and on a CPU in float32 the
        matrices of the encoder are laid out as its kernels read them.

        Args:
            device: device of the copy.
            dtype: of its weights; None keeps them.
            compiled: run what is not laid out so through ``torch.compile``, which takes a minute at
                the first frames and needs a C++ compiler on a CPU.

        Raises:
            ConfigError: the device cannot be used, or no network runs in the type.
        """
        check_device(device)
        dtype = find_dtype(self.encoder.search_token.dtype if dtype is None else dtype)
        warn_of_slow_half(dtype, device)
        network = fold(self).to(device=device, dtype=dtype)
        # The features lie in memory like this, so that no convolution copies them.
        network.heads.to(memory_format=torch.channels_last)
        if can_pack(torch.device(device), dtype):
            pack_linears(network.encoder)
        elif compiled:
            network.encoder.compile(options=COMPILE_OPTIONS)
        if compiled:
            network.heads.compile(options=COMPILE_OPTIONS)
        return network

    def _cast(self, crops: Tensor) -> Tensor:
        # One layout: a convolution rounds otherwise on crops whose channels come last.
        return crops.to(self.encoder.search_token.dtype).contiguous()

    def _check(self, name: str, crops: Tensor, size: int) -> None:
        if crops.shape[-3:] != (3, size, size):
            raise ConfigError(
                f"{name} has shape {tuple(crops.shape)}; this network reads crops "
                f"(..., 3, {size}, {size})."
            )
