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

from agents.backends import NAMES, Backend, make_backend
from agents.network import RELONetwork, TemplateCache, normalize_crops
from agents.network.checkpoints import SUFFIX, find_checkpoint
from agents.network.inference import find_dtype
from relo_env.errors import CheckpointError, ConfigError, unknown
from relo_env.proposers import Proposals


class NetworkProposer:
    """Candidate boxes of a network, and what its policy needs to decide between them.

    With ``train_encoder=False`` the observation gets ``features`` float16 ``(C, H, W)``, so that no
    crop is encoded twice. With ``train_encoder=True`` the policy encodes the crops itself, with
    gradients, and gets what a crop cannot tell: the temporal tokens of the frame before, ``tokens``
    float32 ``(token_size,)`` and ``tokens_valid`` ``(1,)``, 0 at an episode's first frame.

    The network runs in evaluation mode and without gradients. Where the policy trains all of the
    same module, candidates follow the training and tokens are one update old; where it trains heads
    only, a faster copy of encoder and box regression runs.

    Args:
        network: source of the boxes; set to evaluation mode.
        device: the network is moved there, in place; None leaves it where it is.
        dtype: run a copy of the network in this type; None keeps it.
        train_encoder: the policy encodes the crops itself.
        backend: of the copy that runs, see `agents.backends`. Numbers of different backends differ
            by rounding: name one where a run must repeat to the bit in another process.
        features_on_device: leave the features where the network runs. Gymnasium's observation,
            which is numpy, then has none; `RELOVecEnv` adds them to its own as a tensor, and
            `RELORolloutBuffer` keeps them as one.

    Attributes:
        trainable: the network as it was given, whose heads a policy trains.
        device_spaces: spaces that `RELOVecEnv` adds to the observation.
        features: float16 ``(num_rows, C, H, W)`` of each row's current frame, where they stay.

    Raises:
        ConfigError: a name instead of a network, or ``train_encoder`` together with ``dtype`` or
            with ``features_on_device``.
    """

    crops_only = True

    def __init__(
        self,
        network: RELONetwork,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        train_encoder: bool = False,
        features_on_device: bool = False,
        backend: str = "auto",
    ) -> None:
        if isinstance(network, str | Path):
            raise ConfigError(
                f"network is {str(network)!r}; expected a RELONetwork: "
                "RELONetwork.from_pretrained(name or path)."
            )
        if train_encoder and features_on_device:
            raise ConfigError(
                "features_on_device keeps features, and with train_encoder there are none. "
                "Leave one of the two out."
            )
        if dtype is not None and train_encoder:
            raise ConfigError(
                f"dtype={dtype} runs a copy of the network, which training would not reach. "
                "Leave dtype out and use policy_kwargs=dict(amp=True)."
            )
        if device is not None:
            network = network.to(device)
        self.trainable = network
        if dtype is not None:
            network = network.for_inference(_device(network), dtype)
        self.network = network
        self.train_encoder = train_encoder
        self.backend = backend
        if backend not in NAMES:
            raise ConfigError(unknown("backend", str(backend), NAMES))
        self._as_it_is = train_encoder or dtype is not None
        self._faster: dict[tuple[tuple[int, int], ...], Backend] = {}  # bound ones share it
        self.crop = network.crop
        spaces = self._spaces()
        self.extra_spaces: Mapping[str, gym.Space] = {} if features_on_device else spaces
        self.device_spaces: Mapping[str, gym.Space] = spaces if features_on_device else {}
        self.features = torch.empty(0)
        self._num_rows = 0
        self._templates = self._tokens = self._valid = torch.empty(0)

    def bind(self, num_rows: int) -> NetworkProposer:
        """A proposer with state of its own for ``num_rows`` rows, and the same network."""
        bound = copy.copy(self)
        bound._faster = self._faster
        bound._num_rows = num_rows
        bound._templates = torch.empty(0)  # the first reset knows the length of a row
        bound._tokens = torch.zeros(num_rows, self.network.token_size)
        bound._valid = torch.zeros(num_rows)
        for space in self.device_spaces.values():
            shape = (num_rows, *(space.shape or ()))
            bound.features = torch.zeros(shape, dtype=torch.float16, device=_device(self.network))
        return bound

    def __deepcopy__(self, memo: dict[int, Any]) -> NetworkProposer:
        """A proposer with a copy of the rows' state, and the same network."""
        copied = copy.copy(self)
        copied._faster = self._faster
        for name in ("features", "_templates", "_tokens", "_valid"):
            setattr(copied, name, getattr(self, name).clone())
        return copied

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_faster": {}}  # made again where it is needed

    @torch.no_grad()
    def reset(self, rows: np.ndarray, templates: np.ndarray, template_boxes: np.ndarray) -> None:
        """Start episodes: encode the templates and forget the tokens.

        Args:
            rows: int ``(n,)``.
            templates: uint8 ``(n, K, 3, Hz, Wz)``.
            template_boxes: ``(n, K, 4)`` xywh as fractions of each crop.
        """
        self.network.eval()
        cache = (
            self._running()
            .encode_templates(
                normalize_crops(self._tensor(templates)), self._tensor(template_boxes).float()
            )
            .rows
        )
        if not len(self._templates):
            self._templates = cache.new_zeros((self._num_rows, *cache.shape[1:]))
            self._tokens = self._tokens.to(cache.device)
            self._valid = self._valid.to(cache.device)
        self._templates[rows] = cache
        self._valid[rows] = 0

    @torch.no_grad()
    def renew(self, rows: np.ndarray, templates: np.ndarray, boxes: np.ndarray) -> None:
        """Replace the last template of ``rows``; the others are not encoded again.

        Args:
            rows: int ``(n,)``.
            templates: uint8 ``(n, 3, Hz, Wz)``.
            boxes: ``(n, 4)`` xywh as fractions of each crop.
        """
        crops, xywh01 = self._tensor(templates[:, None]), self._tensor(boxes[:, None]).float()
        cache = self._running().encode_templates(normalize_crops(crops), xywh01).rows
        self._templates[rows, -cache.shape[1] :] = cache

    @torch.no_grad()
    def propose(
        self,
        rows: np.ndarray,
        searches: np.ndarray,
        previous_boxes: np.ndarray,
        target_boxes: np.ndarray | None = None,
    ) -> Proposals:
        """Candidates of the next frame of ``rows``, see `BoxProposer.propose`."""
        flat, valid = self._tokens[rows], self._valid[rows]
        features, candidates, tokens = self._running().encode(
            TemplateCache(self._templates[rows]),
            normalize_crops(self._tensor(searches)),
            self.network.unpack_tokens(flat, valid),
        )
        if tokens is not None:
            self._tokens[rows], self._valid[rows] = self.network.pack_tokens(tokens).float(), 1
        if self.device_spaces:
            self.features[rows] = features.half()
        known = {"features": features, "tokens": flat, "tokens_valid": valid[:, None]}
        extras = {
            name: known[name].float().cpu().numpy().astype(space.dtype)
            for name, space in self.extra_spaces.items()
        }
        return Proposals(candidates.cpu().double().numpy(), extras)

    def _running(self) -> Backend:
        """Backend of the network; of a faster copy, as the tracker's, where the encoder is frozen.

        The same arithmetic gives the same boxes. The copy is made anew when weights have changed,
        then in torch: other backends take a second to build.
        """
        if self._as_it_is:
            return Backend(self.network)
        heads = self.network.heads
        parts = (self.network.encoder, heads.size, heads.offset)
        weights = [weight for part in parts for weight in part.parameters()]
        state = tuple((weight.data_ptr(), weight._version) for weight in weights)
        if state not in self._faster:
            name = "torch" if self._faster else self.backend
            self._faster.clear()
            self._faster[state] = make_backend(self.network, name, device=_device(self.network))
        return self._faster[state]

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

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(_device(self.network))


NetworkSource = str | Path | Mapping[str, Any] | RELONetwork
"""A checkpoint's path, a preset, a preset with changes as ``{"name": ..., ...}``, or a module."""


def checkpoint_of(network: NetworkSource) -> Path | None:
    """File of a network's weights: the path, or the preset's shipped file; None without one."""
    if not isinstance(network, str | Path):
        return None
    try:
        return find_checkpoint(network)
    except CheckpointError:
        if Path(network).suffix == SUFFIX:
            raise
        return None


def find_network(network: NetworkSource) -> RELONetwork:
    """Network of a source: a module itself; a preset without shipped weights gets random ones.

    Raises:
        CheckpointError: the path's file is missing, truncated or not a RELO checkpoint.
        ConfigError: an unknown preset.
    """
    if isinstance(network, RELONetwork):
        return network
    if isinstance(network, Mapping):
        return RELONetwork.from_preset(**network)
    path = checkpoint_of(network)
    return RELONetwork.from_checkpoint(path) if path else RELONetwork.from_preset(str(network))


def make_network_proposer(
    network: str,
    device: str | None = None,
    dtype: str | None = None,
    train_encoder: bool = False,
    backend: str = "auto",
) -> NetworkProposer:
    """A `NetworkProposer` from plain values; the network is a preset or a checkpoint's path.

    As in ``proposer="agents.proposer:make_network_proposer", proposer_kwargs={"network": path}``.
    """
    return NetworkProposer(
        find_network(network),
        device=device,
        dtype=None if dtype is None else find_dtype(dtype),
        train_encoder=train_encoder,
        backend=backend,
    )


def _device(network: RELONetwork) -> torch.device:
    return next(network.parameters()).device
