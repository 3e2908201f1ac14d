"""Temporal tokens: learned vectors that carry state from frame to frame.

Learned vectors, the *current* tokens, pass with a frame's rows through every joint block of the
encoder. The *previous* tokens, those of one frame earlier, are the memory of this frame. Nothing
else passes from frame to frame, and no gradient does. The three classes below are the three ways to
pass tokens on (official behaviour: layer-aligned).

State belongs to a sequence: it is None at a sequence's first frame, and the caller passes the state
that one frame returned to the next frame.

A *block* is any callable ``block(rows, memory, keep)``: ``rows`` ``(N, L, C)`` attend to themselves
and to ``memory`` ``(N, M, C)``, which is read as extra keys and values and never written; the first
``keep`` rows are returned (all of them where it is None).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from relo_env.checks import check_fields
from relo_env.errors import ConfigError, unknown

Block = Callable[[Tensor, Tensor | None, int | None], Tensor]


@dataclass(frozen=True)
class TokenState:
    """Temporal tokens of N sequences, as one frame passes them to the next.

    Attributes:
        rows: ``(N, D, T, C)``: T tokens at each of D depths.
        valid: bool ``(N,)``, False for a sequence at its first frame; None where all are valid.
    """

    rows: Tensor
    valid: Tensor | None = None

    def at(self, depth: int, first: Tensor) -> Tensor:
        """Previous tokens ``(N, T, C)`` of one depth; ``first`` where a sequence has none yet."""
        rows = self.rows[:, depth]
        return rows if self.valid is None else torch.where(self.valid[:, None, None], rows, first)

    def row(self, index: int) -> TokenState:
        """The state of one sequence, N = 1."""
        valid = None if self.valid is None else self.valid[index : index + 1]
        return TokenState(self.rows[index : index + 1], valid)

    @classmethod
    def join(cls, states: Sequence[TokenState | None]) -> TokenState | None:
        """One state for N sequences from the state of each; None for one at its first frame."""
        known = [state for state in states if state is not None]
        if not known:
            return None
        missing = torch.zeros_like(known[0].rows)
        rows = torch.cat([missing if state is None else state.rows for state in states])
        if len(known) == len(states):
            return cls(rows)
        return cls(rows, torch.tensor([state is not None for state in states], device=rows.device))


class TemporalTokens(nn.Module):
    """Base of the ways to pass tokens on; itself mode ``"none"``, which passes none."""

    depths = 0
    """Number of depths of the encoder whose tokens are passed on."""

    def __init__(self, num_tokens: int, width: int, num_blocks: int) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.width = width

    def forward(
        self, blocks: Sequence[Block], rows: Tensor, previous: TokenState | None, keep: int
    ) -> tuple[Tensor, TokenState | None]:
        """Run ``rows`` ``(N, L, C)`` through the joint blocks.

        Returns:
            The first ``keep`` rows after the last block, and the state for the next frame.
        """
        for block in blocks[:-1]:
            rows = block(rows, None, None)
        return blocks[-1](rows, None, keep), None


class _LearnedTokens(TemporalTokens):
    """Tokens that start every frame at learned values."""

    def __init__(self, num_tokens: int, width: int, num_blocks: int) -> None:
        super().__init__(num_tokens, width, num_blocks)
        self.start = nn.Parameter(torch.zeros(1, num_tokens, width))
        self.position = nn.Parameter(torch.empty(1, num_tokens, width))
        nn.init.trunc_normal_(self.position, std=0.02)

    def current(self, batch: int) -> Tensor:
        """Tokens ``(batch, T, C)`` as they enter the first joint block."""
        return (self.start + self.position).expand(batch, -1, -1)


class LayerAligned(_LearnedTokens):
    """Block l sees the tokens that entered block l one frame earlier.

    They are read as keys and values only: the official code runs them through each block as rows
    whose outputs it throws away, which gives the same numbers. Without a previous frame the current
    tokens take their place.
    """

    def __init__(self, num_tokens: int, width: int, num_blocks: int) -> None:
        super().__init__(num_tokens, width, num_blocks)
        self.depths = num_blocks

    def forward(
        self, blocks: Sequence[Block], rows: Tensor, previous: TokenState | None, keep: int
    ) -> tuple[Tensor, TokenState | None]:
        """See `TemporalTokens.forward`."""
        rows = torch.cat([rows, self.current(rows.shape[0])], dim=1)
        entered = []
        for depth, block in enumerate(blocks):
            current = rows[:, -self.num_tokens :]
            memory = current if previous is None else previous.at(depth, first=current)
            entered.append(current.detach())
            rows = block(rows, memory, keep if depth == self.depths - 1 else None)
        return rows, TokenState(torch.stack(entered, dim=1))


class DeepToShallow(_LearnedTokens):
    """The tokens that left the last block enter the first block of the next frame.

    As in ODTrack (Zheng et al. 2024), previous tokens are rows like any other, so the blocks change
    them too; only the current ones are passed on.
    """

    depths = 1

    def forward(
        self, blocks: Sequence[Block], rows: Tensor, previous: TokenState | None, keep: int
    ) -> tuple[Tensor, TokenState | None]:
        """See `TemporalTokens.forward`."""
        current = self.current(rows.shape[0])
        memory = current if previous is None else previous.at(0, first=current)
        rows = torch.cat([rows, memory, current], dim=1)
        for block in blocks:
            rows = block(rows, None, None)
        return rows[:, :keep], TokenState(rows[:, None, -self.num_tokens :].detach())


MODES: dict[str, type[TemporalTokens]] = {
    "layer_aligned": LayerAligned,
    "deep_to_shallow": DeepToShallow,
    "none": TemporalTokens,
}


@dataclass(frozen=True)
class TemporalConfig:
    """Number of temporal tokens, and the way they are passed on.

    Attributes:
        mode: ``"layer_aligned"``, ``"deep_to_shallow"`` or ``"none"``.
        num_tokens: learned tokens T.

    Raises:
        ConfigError: an unknown mode, or no tokens in a mode that needs them.
    """

    mode: str = "layer_aligned"
    num_tokens: int = 4

    def __post_init__(self) -> None:
        check_fields(self)
        if self.mode not in MODES:
            raise ConfigError(unknown("temporal mode", self.mode, MODES))
        if self.mode != "none" and self.num_tokens < 1:
            raise ConfigError(
                f"num_tokens is {self.num_tokens} with temporal mode {self.mode!r}; expected at "
                "least 1, or temporal='none'."
            )

    def build(self, width: int, num_blocks: int) -> TemporalTokens:
        """The module for an encoder of ``num_blocks`` joint blocks of the given width."""
        return MODES[self.mode](self.num_tokens, width, num_blocks)
