"""One-stream encoders: template crops and a search crop are embedded apart, then read together.

A subclass says how one crop becomes rows and which blocks read the rows of all crops together. What
all share stands here: type embeddings, the sequence of rows, temporal tokens, the feature map.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from agents.network.temporal import Block, TemporalConfig, TokenState
from relo_env.config import CropConfig
from relo_env.errors import ConfigError


class Encoder(nn.Module):
    """Base of the encoders.

    Subclasses call `__init__` with their measures, set ``norm`` and implement ``embed_search``,
    ``embed_template`` and ``joint_blocks``.

    Attributes:
        width: channels C of a row and of the feature map.
        crop: the crops it reads.
        temporal: tokens that pass from frame to frame.
        norm: normalisation of the feature rows.
        gradient_checkpointing: with gradients, keep a joint block's input only and run
            it again on the way back: a third more time, a fraction of the memory.
    """

    norm: nn.Module
    gradient_checkpointing = False

    def __init__(
        self, width: int, num_blocks: int, crop: CropConfig, temporal: TemporalConfig
    ) -> None:
        super().__init__()
        if crop.template_size % crop.stride:
            raise ConfigError(
                f"template_size {crop.template_size} is not a multiple of stride {crop.stride}; "
                "choose a size that the stride divides."
            )
        self.width = width
        self.crop = crop
        self.temporal = temporal.build(width, num_blocks)
        self.search_token = nn.Parameter(torch.zeros(width))
        self.template_foreground_token = nn.Parameter(torch.zeros(width))
        self.template_background_token = nn.Parameter(torch.zeros(width))

    def embed_search(self, crops: Tensor) -> Tensor:
        """Rows ``(N, L, C)`` of search crops ``(N, 3, Hx, Wx)``; the H * W positions come first."""
        raise NotImplementedError

    def embed_template(self, crops: Tensor) -> Tensor:
        """Rows ``(N, L, C)`` of template crops ``(N, 3, Hz, Wz)``; the grid's cells come first."""
        raise NotImplementedError

    def joint_blocks(self) -> Sequence[Block]:
        """The blocks that read all rows together, in order."""
        raise NotImplementedError

    def encode_templates(self, templates: Tensor, boxes: Tensor) -> Tensor:
        """Rows ``(N, K * L, C)`` of templates ``(N, K, 3, Hz, Wz)`` and boxes ``(N, K, 4)``.

        They do not depend on the search crop: one episode needs them once.
        """
        rows = self.embed_template(templates.flatten(0, 1))
        mask = foreground(boxes.flatten(0, 1), self.crop.template_size, self.crop.stride)
        # A row that stands for the whole crop (class token, registers) gets the crop's mean.
        whole = mask.mean(1, keepdim=True).expand(-1, rows.shape[1] - mask.shape[1])
        mask = torch.cat([mask, whole], dim=1)[..., None].to(rows.dtype)
        rows = rows + torch.lerp(
            self.template_background_token, self.template_foreground_token, mask
        )
        return rows.unflatten(0, templates.shape[:2]).flatten(1, 2)

    def forward(
        self, template_rows: Tensor, search: Tensor, tokens: TokenState | None
    ) -> tuple[Tensor, TokenState | None]:
        """Feature map ``(N, C, H, W)`` of search crops ``(N, 3, Hx, Wx)`` and the next tokens."""
        rows = self.embed_search(search) + self.search_token
        rows = torch.cat([rows, template_rows], dim=1)
        blocks = self.joint_blocks()
        if self.gradient_checkpointing and torch.is_grad_enabled():
            blocks = [partial(checkpoint, block, use_reentrant=False) for block in blocks]
        rows, tokens = self.temporal(blocks, rows, tokens, keep=self.crop.num_positions)
        return self.norm(rows).transpose(1, 2).unflatten(2, self.crop.grid), tokens


def foreground(boxes: Tensor, size: int, stride: int) -> Tensor:
    """Share of each grid cell that a box covers, ``(N, G * G)`` row-major in [0, 1].

    Args:
        boxes: ``(N, 4)`` xywh as fractions of the crop.
        size: [px] side of the crop.
        stride: [px] side of a cell.

    A pixel counts when its integer index lies in ``[left, left + width)`` (official behaviour).
    """
    pixels = torch.arange(size, device=boxes.device)
    low = boxes[:, :2, None].float() * size
    high = low + boxes[:, 2:, None].float() * size
    inside = ((pixels >= low) & (pixels < high)).float().unflatten(2, (-1, stride)).mean(-1)
    columns, rows = inside.unbind(1)
    return (rows[:, :, None] * columns[:, None, :]).flatten(1)


def attend(q: Tensor, k: Tensor, v: Tensor, dropout: float = 0.0) -> Tensor:
    """Scaled dot-product attention, ``(N, heads, L, width)`` each.

    Two plain products train in bfloat16 on a CPU: the gradient of torch's fused operator is slow
    there (a step of `nano`'s stage 1 took 1.36 s with it and .97 s without).
    """
    slow = q.requires_grad and q.dtype == torch.bfloat16 and q.device.type == "cpu"
    if not slow or dropout:
        return scaled_dot_product_attention(q, k, v, dropout_p=dropout)
    weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    return weights.float().softmax(-1).to(q.dtype) @ v


def import_timm() -> ModuleType:
    """timm, imported where a network needs it.

    Raises:
        ConfigError: timm's torchvision was built for another torch.
    """
    try:
        import timm
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        raise ConfigError(
            "torchvision does not fit this torch: the two come from different builds. Install "
            "both from one index in one command: pip install --force-reinstall torch torchvision, "
            "with the same --index-url for a CPU build."
        ) from error
    return timm
