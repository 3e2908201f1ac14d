"""Plain Vision Transformers of timm as one-stream encoders.

timm builds the model, its embedding (``patch_embed``, ``_pos_embed``, ``norm_pre``) and its blocks;
this file only lets a block's rows attend to a memory beside themselves. The first blocks may run on
each crop apart, so that a template passes through them once an episode.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from agents.network.encoder import Encoder, attend, import_timm
from agents.network.temporal import Block, TemporalConfig
from relo_env.config import CropConfig
from relo_env.errors import CheckpointError, ConfigError, unknown


@dataclass(frozen=True)
class ViTConfig:
    """A plain ViT by its name in timm.

    Attributes:
        model: e.g. ``"vit_small_patch14_dinov2"``.
        depth: number of its blocks that are used; None for all.
        separate_blocks: number of the first of them, which read each crop apart.
    """

    model: str
    depth: int | None = None
    separate_blocks: int = 0

    def build(self, crop: CropConfig, temporal: TemporalConfig) -> ViTEncoder:
        """The encoder with random weights."""
        return ViTEncoder(self, crop, temporal)


class ViTEncoder(Encoder):
    """A plain ViT: learned positions, resampled to each crop's grid; prefix tokens are kept.

    Raises:
        ConfigError: no such model, not a plain ViT (windows, rotary positions, other blocks), or a
            stride that is not its patch size.
    """

    def __init__(self, config: ViTConfig, crop: CropConfig, temporal: TemporalConfig) -> None:
        vit = _build(config, crop)
        super().__init__(vit.embed_dim, len(vit.blocks) - config.separate_blocks, crop, temporal)
        self.model = config.model
        self.separate_blocks = config.separate_blocks
        self.vit = vit
        self.norm = vit.norm
        vit.norm = nn.Identity()

    def embed_search(self, crops: Tensor) -> Tensor:
        """See `Encoder.embed_search`."""
        vit = self.vit
        rows = vit.norm_pre(vit._pos_embed(vit.patch_embed(crops)))
        for block in vit.blocks[: self.separate_blocks]:
            rows = block(rows)
        prefix = vit.num_prefix_tokens
        return torch.cat([rows[:, prefix:], rows[:, :prefix]], dim=1)

    embed_template = embed_search

    def joint_blocks(self) -> Sequence[Block]:
        """See `Encoder.joint_blocks`."""
        blocks = self.vit.blocks[self.separate_blocks :]
        return [functools.partial(_read_together, block) for block in blocks]

    def load_pretrained(self, state: Mapping[str, Tensor] | None = None) -> None:
        """Take a timm model's weights: blocks beyond ours are left out, positions resampled.

        Args:
            state: state dict of the timm model; None for the weights that timm publishes.

        Raises:
            CheckpointError: an entry is missing, has another shape or cannot be downloaded.
        """
        timm = import_timm()
        if state is None:
            try:
                state = timm.create_model(self.model, pretrained=True, num_classes=0).state_dict()
            except Exception as error:
                raise CheckpointError(
                    f"timm could not get the weights of {self.model!r}: {error}. Offline, download "
                    "them elsewhere and pass the state dict to encoder.load_pretrained(state)."
                ) from error
        state = timm.models.vision_transformer.checkpoint_filter_fn(dict(state), self.vit)
        own = self.vit.state_dict()
        norm = {
            name: state.get(f"norm.{name}", state.get(f"fc_norm.{name}"))
            for name in self.norm.state_dict()
        }
        wrong = [
            name
            for name, value in own.items()
            if name not in state or state[name].shape != value.shape
        ] + [f"norm.{name}" for name, value in norm.items() if value is None]
        if wrong:
            raise CheckpointError(
                f"These entries of {self.model!r} are missing or have another shape: {wrong[:8]} "
                f"({len(wrong)} in all); expected the state dict of that timm model."
            )
        self.vit.load_state_dict({name: state[name] for name in own})
        self.norm.load_state_dict(norm)


def _read_together(block: Any, rows: Tensor, memory: Tensor | None, keep: int | None) -> Tensor:
    """One timm block on rows that also attend to a memory; see `agents.network.temporal`."""
    seen = block.norm1(rows if memory is None else torch.cat([rows, memory], dim=1))
    keep = rows.shape[1] if keep is None else keep
    attended = _attend(block.attn, seen, keep)
    rows = rows[:, :keep] + block.drop_path1(block.ls1(attended))
    return rows + block.drop_path2(block.ls2(block.mlp(block.norm2(rows))))


def _attend(attention: Any, seen: Tensor, queries: int) -> Tensor:
    """The first ``queries`` rows attend to all rows."""
    qkv = attention.qkv(seen).unflatten(2, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    q, k, v = qkv.unbind(0)
    q, k = attention.q_norm(q[:, :, :queries]), attention.k_norm(k)
    dropout = attention.attn_drop.p if attention.training else 0.0
    mixed = attend(q, k, v, dropout)
    mixed = attention.norm(mixed.transpose(1, 2).flatten(2))
    return attention.proj_drop(attention.proj(mixed))


def patch_size(model: str) -> int:
    """[px] side of a patch of a plain timm ViT, read off the model built without memory.

    Raises:
        ConfigError: see `ViTEncoder`.
    """
    with torch.device("meta"):
        return _create(model, depth=1).patch_embed.patch_size[0]


def _build(config: ViTConfig, crop: CropConfig) -> Any:
    depth = {} if config.depth is None else {"depth": config.depth}
    vit = _create(config.model, img_size=crop.search_size, **depth)
    patch = vit.patch_embed.patch_size
    if patch != (crop.stride, crop.stride):
        raise ConfigError(
            f"{config.model!r} has patches of {patch[0]}x{patch[1]} px but stride is {crop.stride};"
            " set stride to the patch size, and sizes to multiples of it."
        )
    return vit


def _create(model: str, **arguments: Any) -> Any:
    timm = import_timm()
    if not timm.is_model(model):
        raise ConfigError(unknown("timm model", model, timm.list_models("*vit*")))
    plain = timm.models.vision_transformer
    if timm.models.model_entrypoint(model).__module__ == plain.__name__:
        vit = timm.create_model(
            model, num_classes=0, global_pool="", dynamic_img_size=True, **arguments
        )
        attention = getattr(vit.blocks[0], "attn", None)
        if (
            type(vit.blocks[0]) is plain.Block
            and type(attention) is timm.layers.Attention
            and getattr(attention, "gate", None) is None
            and hasattr(vit.patch_embed, "patch_size")
        ):
            return vit
    raise ConfigError(
        f"timm model {model!r} is not a plain ViT (windows, rotary positions, hybrid stems and "
        "parallel blocks are not supported); choose e.g. 'timm:vit_base_patch16_224' or "
        "'timm:vit_small_patch14_dinov2'."
    )
