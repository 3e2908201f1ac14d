"""A proposer that encodes nothing twice."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import torch

from agents.network import RELONetwork
from agents.proposer import NetworkProposer
from relo_env.proposers import Proposals


class _Seen(NamedTuple):
    boxes: np.ndarray
    extras: dict[str, np.ndarray]
    tokens: torch.Tensor
    size: int


class CachedProposer(NetworkProposer):
    """What a frozen network makes of a clip's crops, kept for the next time they are seen.

    Rows and runs that saw the same crops since their episode began share one encoding: several
    algorithms on the same open-loop clips, several policies that chose the same positions. All that
    ``bind`` gives share the cache. Values are those of the network in the batch in which the crops
    came first, which may differ from another batch's by rounding.

    Args:
        network: must not be trained while this is in use.
        cache_bytes: what may be kept; the longest unused goes first.
        dtype: see `NetworkProposer`.
    """

    def __init__(
        self,
        network: RELONetwork,
        *,
        cache_bytes: int = 2**30,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(network, dtype=dtype)
        self._cache: OrderedDict[bytes, _Seen] = OrderedDict()
        self._cache_bytes = cache_bytes
        self._kept = {"bytes": 0, "asked": 0, "encoded": 0}
        self._history: list[bytes] = []

    def bind(self, num_rows: int) -> CachedProposer:
        """See `NetworkProposer.bind`."""
        bound = super().bind(num_rows)
        assert isinstance(bound, CachedProposer)
        bound._history = [b""] * num_rows
        return bound

    @property
    def encoded(self) -> float:
        """Share of the crops so far that had to be encoded."""
        return self._kept["encoded"] / max(self._kept["asked"], 1)

    def reset(self, rows: np.ndarray, templates: np.ndarray, template_boxes: np.ndarray) -> None:
        """See `NetworkProposer.reset`."""
        super().reset(rows, templates, template_boxes)
        for row, crops, boxes in zip(rows, templates, template_boxes, strict=True):
            self._history[row] = _digest(crops, boxes)

    def propose(
        self,
        rows: np.ndarray,
        searches: np.ndarray,
        previous_boxes: np.ndarray,
        target_boxes: np.ndarray | None = None,
    ) -> Proposals:
        """See `NetworkProposer.propose`."""
        for row, search in zip(rows, searches, strict=True):
            self._history[row] = _digest(self._history[row], search)
        keys = [self._history[row] for row in rows]
        new = {key: i for i, key in enumerate(keys) if key not in self._cache}
        found = {key: self._cache[key] for key in keys if key not in new}
        if new:
            chosen = list(new.values())
            proposals = super().propose(rows[chosen], searches[chosen], previous_boxes[chosen])
            for i, key in enumerate(new):
                extras = {name: values[i] for name, values in proposals.extras.items()}
                found[key] = self._keep(key, proposals.boxes[i], extras, rows[new[key]])
        for key in found:
            self._cache.move_to_end(key)
        self._trim()
        self._kept["asked"] += len(rows)
        self._kept["encoded"] += len(new)
        seen = [found[key] for key in keys]
        if self.network.token_size:
            self._tokens[rows] = torch.stack([one.tokens for one in seen])
            self._valid[rows] = 1
        return Proposals(
            np.stack([one.boxes for one in seen]),
            {name: np.stack([one.extras[name] for one in seen]) for name in self.extra_spaces},
        )

    def _keep(
        self, key: bytes, boxes: np.ndarray, extras: dict[str, np.ndarray], row: Any
    ) -> _Seen:
        extras = {name: value.copy() for name, value in extras.items()}
        tokens = self._tokens[row].clone()
        size = boxes.nbytes + tokens.nbytes + sum(value.nbytes for value in extras.values())
        self._cache[key] = _Seen(boxes.copy(), extras, tokens, size)
        self._kept["bytes"] += size
        return self._cache[key]

    def _trim(self) -> None:
        while self._kept["bytes"] > self._cache_bytes:
            _, oldest = self._cache.popitem(last=False)
            self._kept["bytes"] -= oldest.size


def _digest(*parts: np.ndarray | bytes) -> bytes:
    state = blake2b(digest_size=16)
    for part in parts:
        state.update(part if isinstance(part, bytes) else part.tobytes())
    return state.digest()
