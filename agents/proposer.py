"""A `RELONetwork` as a `BoxProposer`: encoder and box regression, once for all rows."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from agents.network import RELONetwork, TemplateCache, TokenState, normalize_crops, presets
from relo_env.errors import ConfigError
from relo_env.proposers import Proposals


class NetworkProposer:
    """Candidate boxes of a network, and what its policy needs to decide between them.

    With ``train_encoder=False`` the observation gets ``features`` float16 ``(C, H, W)``, so that no
    crop is encoded twice. With ``train_encoder=True`` the policy encodes the crops itself, with
    gradients, and gets what a crop cannot tell: the temporal tokens of the frame before, ``tokens``
    float32 ``(token_size,)`` and ``tokens_valid`` ``(1,)``, 0 at an episode's first frame.

    The network is used as it is, in evaluation mode and without gradients: where the policy trains
    the same module, candidates follow the training and tokens are one update old.

    Args:
        network: where the boxes come from.
        device: moved there; None leaves it where it is.
        dtype: run a copy of the network in this type; None runs the network itself.
        train_encoder: the policy encodes the crops itself.

    Raises:
        ConfigError: ``dtype`` together with ``train_encoder``.
    """

    def __init__(
        self,
        network: RELONetwork,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        train_encoder: bool = False,
    ) -> None:
        if dtype is not None and train_encoder:
            raise ConfigError(
                f"dtype={dtype} runs a copy of the network, which training would not reach. "
                "Leave dtype out and use policy_kwargs=dict(amp=True)."
            )
        if device is not None:
            network = network.to(device)
        if dtype is not None:
            network = network.for_inference(_device(network), dtype)
        self.network = network
        self.train_encoder = train_encoder
        self.crop = network.crop
        self.extra_spaces: Mapping[str, gym.Space] = self._spaces()
        self._templates: Tensor | None = None
        self._tokens: TokenState | None = None
        self._num_rows = 0

    def bind(self, num_rows: int) -> NetworkProposer:
        """A proposer with state of its own for ``num_rows`` rows, and the same network."""
        bound = copy.copy(self)
        bound._num_rows = num_rows
        bound._templates, bound._tokens = None, None
        return bound

    @torch.no_grad()
    def reset(self, rows: np.ndarray, templates: np.ndarray, template_boxes: np.ndarray) -> None:
        """Start episodes: encode the templates and forget the tokens.

        Args:
            rows: int ``(n,)``.
            templates: uint8 ``(n, K, 3, Hz, Wz)``.
            template_boxes: ``(n, K, 4)`` xywh as fractions of each crop.
        """
        self.network.eval()
        cache = self.network.encode_templates(
            normalize_crops(self._tensor(templates)), self._tensor(template_boxes).float()
        ).rows
        if self._templates is None:
            self._allocate(cache)
        self._templates[rows] = cache
        if self._tokens is not None:
            self._tokens.valid[rows] = False

    @torch.no_grad()
    def propose(
        self,
        rows: np.ndarray,
        searches: np.ndarray,
        previous_boxes: np.ndarray,
        target_boxes: np.ndarray | None = None,
    ) -> Proposals:
        """Candidates of the next frame of ``rows``, see `BoxProposer.propose`."""
        assert self._templates is not None, "reset comes first"
        before = self._tokens and TokenState(self._tokens.rows[rows], self._tokens.valid[rows])
        features, after = self.network.encode(
            TemplateCache(self._templates[rows]),
            None,
            normalize_crops(self._tensor(searches)),
            before,
        )
        if after is not None:
            self._tokens.rows[rows], self._tokens.valid[rows] = after.rows, True
        candidates = self.network.heads(features, only=("boxes",)).candidates
        return Proposals(candidates.double().cpu().numpy(), self._extras(features, before))

    def _spaces(self) -> dict[str, gym.Space]:
        box = gym.spaces.Box
        if not self.train_encoder:
            shape = (self.network.width, *self.crop.grid)
            return {"features": box(-np.inf, np.inf, shape, np.float16)}
        if not self.network.token_size:
            return {}
        return {
            "tokens": box(-np.inf, np.inf, (self.network.token_size,), np.float32),
            "tokens_valid": box(0, 1, (1,), np.float32),
        }

    def _extras(self, features: Tensor, tokens: TokenState | None) -> dict[str, np.ndarray]:
        if not self.train_encoder:
            return {"features": features.half().cpu().numpy()}
        if tokens is None:
            return {}
        return {
            "tokens": self.network.pack_tokens(tokens).float().cpu().numpy(),
            "tokens_valid": tokens.valid[:, None].float().cpu().numpy(),
        }

    def _allocate(self, cache: Tensor) -> None:
        """Room for every row's state, which is what the network makes of one row."""
        self._templates = cache.new_zeros((self._num_rows, *cache.shape[1:]))
        nothing = cache.new_zeros((self._num_rows, self.network.token_size))
        self._tokens = self.network.unpack_tokens(nothing, torch.zeros_like(nothing[:, 0]))

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(_device(self.network))


def make_network_proposer(
    network: str, device: str | None = None, dtype: str | None = None, train_encoder: bool = False
) -> NetworkProposer:
    """A `NetworkProposer` from plain values, for ``proposer="agents.proposer:make_network_proposer"``.

    Args:
        network: a preset or a checkpoint's path.
        device: see `NetworkProposer`.
        dtype: name of a torch type, such as ``"bfloat16"``.
        train_encoder: see `NetworkProposer`.
    """
    return NetworkProposer(
        find_network(network),
        device=device,
        dtype=None if dtype is None else getattr(torch, dtype),
        train_encoder=train_encoder,
    )


def find_network(network: str | Path | RELONetwork) -> RELONetwork:
    """The network that a preset's name or a checkpoint's path names; a module is used as it is."""
    if isinstance(network, RELONetwork):
        return network
    if network in presets() or str(network).startswith("timm:"):
        return RELONetwork.from_preset(str(network))
    raise NotImplementedError(network)


def _device(network: RELONetwork) -> torch.device:
    return next(network.parameters()).device
