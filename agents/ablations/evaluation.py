"""Evaluation of decision rules on held-back clips: one network, closed loop, greedy, no window."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import nn

from agents.network import RELONetwork
from agents.proposer import NetworkProposer
from relo_env.benchmark.metrics import OVERLAP_THRESHOLDS
from relo_env.datasets.base import Dataset
from relo_env.datasets.fingerprint import digest
from relo_env.episode import Episode
from relo_env.proposers import BoxProposer, Proposals
from relo_env.rewards import clip_auc
from relo_env.vector_env import TrackingVectorEnv

AT_ONCE = 8
"""Clips played side by side; the choice of clips depends on it."""


@dataclass(frozen=True)
class HeldBack:
    """Clips of an evaluation.

    Attributes:
        clips: number of clips.
        length: search frames of each.
        seed: of the clips, which are the same for every rule.
    """

    clips: int = 32
    length: int = 16
    seed: int = 10_000


@dataclass(frozen=True)
class Frame:
    """Current frame of some rows of an environment.

    Attributes:
        env: the environment.
        rows: its rows that a rule decides for.
        observation: of these rows, as tensors.
    """

    env: TrackingVectorEnv
    rows: Sequence[int]
    observation: Mapping[str, torch.Tensor]

    @property
    def features(self) -> torch.Tensor:
        """Features ``(n, C, H, W)`` of the network."""
        return self.observation["features"].float()

    @property
    def episodes(self) -> list[Episode]:
        """Episodes of the rows."""
        episodes = self.env.get_attr("episode")
        return [episodes[row] for row in self.rows]

    def overlaps(self) -> np.ndarray:
        """Overlap of every position's box with the truth ``(n, A)``; 0 where it is absent."""
        return np.stack(self.env.get_attr("candidate_ious"))[list(self.rows)]


Rule = Callable[[Frame], np.ndarray]
"""Actions of a frame's rows: positions ``(n,)``, without zoom and renewal; or whole actions."""


def policy_rule(head: nn.Module) -> Rule:
    """Rule that takes the most probable position of a policy head, or of a prior's."""

    def rule(frame: Frame) -> np.ndarray:
        return head(frame.features).flatten(1).argmax(1).cpu().numpy()

    return rule


def random_rule(positions: int, seed: int) -> Rule:
    """Rule that takes any position."""
    rng = np.random.default_rng(seed)

    def rule(frame: Frame) -> np.ndarray:
        return rng.integers(positions, size=len(frame.rows))

    return rule


def oracle_rule(frame: Frame) -> np.ndarray:
    """Position whose box overlaps the truth most: the best choice on this frame."""
    return frame.overlaps().argmax(1)


@torch.no_grad()
def play(
    rules: Sequence[Rule],
    network: RELONetwork,
    dataset: Dataset,
    held_back: HeldBack,
    *,
    proposer: BoxProposer | None = None,
    tick: Callable[[int], None] = lambda frames: None,
    **options: Any,
) -> dict[str, np.ndarray]:
    """Play the same clips with every rule, all in one environment.

    Args:
        rules: choose the actions.
        network: the rules read its features.
        dataset: held-back videos.
        held_back: clips to play.
        proposer: for the same network, such as one with a cache.
        tick: called with the number of frames played.
        **options: of the environment, such as ``controls``.

    Returns:
        Figures by name, each ``(len(rules), clips)``, see `figures`.
    """
    groups, count = min(AT_ONCE, held_back.clips), len(rules)
    env = TrackingVectorEnv(
        groups * count,
        dataset,
        group_size=count,
        autoreset_mode=AutoresetMode.DISABLED,
        proposer=proposer or NetworkProposer(network, backend="torch"),
        clip_length=held_back.length,
        search_window="tracked",
        augment=False,
        **options,
    )
    device = next(network.parameters()).device
    seed: int | None = held_back.seed
    ious, visible = [], []
    with closing(env):
        for _ in range(-(-held_back.clips // groups)):
            observation, _ = env.reset(seed=seed)
            seed = None  # the next clips follow from the first ones' generators
            for _ in range(held_back.length):
                seen = {name: torch.from_numpy(v).to(device) for name, v in observation.items()}
                observation, _, _, _, info = env.step(_chosen(rules, env, seen))
                ious.append(info["iou"])
                visible.append(info["visible"])
                tick(env.num_envs)
    played, shown = (
        np.reshape(values, (-1, held_back.length, groups, count))
        .transpose(3, 0, 2, 1)
        .reshape(count, -1, held_back.length)[:, : held_back.clips]
        for values in (ious, visible)
    )
    return figures(played, shown[0])


def _chosen(
    rules: Sequence[Rule], env: TrackingVectorEnv, observation: Mapping[str, torch.Tensor]
) -> np.ndarray:
    """Actions of all rows; in each group, row i is played by rule i."""
    actions = np.zeros_like(env.action_space.sample())
    for i, rule in enumerate(rules):
        own = slice(i, None, len(rules))
        rows = range(env.num_envs)[own]
        chosen = rule(Frame(env, rows, {name: v[own] for name, v in observation.items()}))
        positions_only = actions.ndim > chosen.ndim
        (actions[own, 0] if positions_only else actions[own])[:] = chosen
    return actions


def figures(ious: np.ndarray, visible: np.ndarray) -> dict[str, np.ndarray]:
    """Figures of each clip, over the frames that show the target.

    Args:
        ious: ``(R, C, T)`` of R rules on C clips of T frames.
        visible: ``(C, T)``.

    Returns:
        ``(R, C)`` each: ``success_auc`` (mean of 21 success rates, strict >), ``clip_auc`` (the
        reward's) and ``iou``; clips that never show the target are left out.
    """
    seen = np.flatnonzero(visible.any(1))
    of_clip: Mapping[str, Callable[[np.ndarray], float]] = {
        "success_auc": lambda values: float((values[:, None] > OVERLAP_THRESHOLDS).mean()),
        "clip_auc": clip_auc,
        "iou": lambda values: float(values.mean()),
    }
    return {
        name: np.array([[figure(rule[c][visible[c]]) for c in seen] for rule in ious])
        for name, figure in of_clip.items()
    }


class _Encoded(NamedTuple):
    boxes: np.ndarray
    extras: dict[str, np.ndarray]
    tokens: torch.Tensor
    size: int


class CachedProposer(NetworkProposer):
    """Proposer of a frozen network that encodes the same crops of a clip once.

    Rows and runs that saw the same crops since their episode began share one encoding: several
    algorithms on the same open-loop clips, several policies that chose the same positions. The
    proposers that ``bind`` returns share the cache. On a CPU crops are encoded one by one: a
    batch of another size rounds otherwise, and a run's numbers must not follow what others left in
    the cache. A GPU encodes them in the batch in which they came first.

    Args:
        network: must not be trained while this is in use.
        cache_bytes: limit of the cache; the entry unused for longest is dropped first.
        dtype: see `NetworkProposer`.
    """

    def __init__(
        self,
        network: RELONetwork,
        *,
        cache_bytes: int = 2**30,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(network, dtype=dtype, backend="torch")
        self._cache: OrderedDict[str, _Encoded] = OrderedDict()
        self._cache_bytes = cache_bytes
        self._history: list[str] = []

    def bind(self, num_rows: int) -> CachedProposer:
        """See `NetworkProposer.bind`."""
        bound = super().bind(num_rows)
        assert isinstance(bound, CachedProposer)
        bound._history = [""] * num_rows
        return bound

    def reset(self, rows: np.ndarray, templates: np.ndarray, template_boxes: np.ndarray) -> None:
        """See `NetworkProposer.reset`."""
        for part in self._parts(len(rows)):
            super().reset(rows[part], templates[part], template_boxes[part])
        for row, crops, boxes in zip(rows, templates, template_boxes, strict=True):
            self._history[row] = digest(crops.tobytes(), boxes.tobytes())

    def renew(self, rows: np.ndarray, templates: np.ndarray, boxes: np.ndarray) -> None:
        """See `NetworkProposer.renew`."""
        for part in self._parts(len(rows)):
            super().renew(rows[part], templates[part], boxes[part])
        for row, crop, box in zip(rows, templates, boxes, strict=True):
            self._history[row] = digest(self._history[row], "renew", crop.tobytes(), box.tobytes())

    def propose(
        self,
        rows: np.ndarray,
        searches: np.ndarray,
        previous_boxes: np.ndarray,
        target_boxes: np.ndarray | None = None,
    ) -> Proposals:
        """See `NetworkProposer.propose`."""
        for row, search in zip(rows, searches, strict=True):
            self._history[row] = digest(self._history[row], search.tobytes())
        keys = [self._history[row] for row in rows]
        found = {key: self._cache[key] for key in keys if key in self._cache}
        index_of = {key: i for i, key in enumerate(keys) if key not in found}
        new = np.array(list(index_of.values()), dtype=int)
        for part in self._parts(len(new)):
            batch = new[part]
            proposals = super().propose(rows[batch], searches[batch], previous_boxes[batch])
            for i, at in enumerate(batch):
                extras = {name: values[i] for name, values in proposals.extras.items()}
                found[keys[at]] = self._keep(keys[at], proposals.boxes[i], extras, rows[at])
        for key in found:
            self._cache.move_to_end(key)
        size = sum(one.size for one in self._cache.values())
        while size > self._cache_bytes:
            size -= self._cache.popitem(last=False)[1].size
        seen = [found[key] for key in keys]
        if self.network.token_size:
            self._tokens[rows] = torch.stack([one.tokens for one in seen])
            self._valid[rows] = 1
        return Proposals(
            np.stack([one.boxes for one in seen]),
            {name: np.stack([one.extras[name] for one in seen]) for name in self.extra_spaces},
        )

    def _parts(self, count: int) -> list[slice]:
        """Slices of ``count`` rows that go through the network together."""
        size = 1 if next(self.network.parameters()).device.type == "cpu" else max(count, 1)
        return [slice(start, start + size) for start in range(0, count, size)]

    def _keep(
        self, key: str, boxes: np.ndarray, extras: dict[str, np.ndarray], row: Any
    ) -> _Encoded:
        extras = {name: value.copy() for name, value in extras.items()}
        tokens = self._tokens[row].clone()
        size = boxes.nbytes + tokens.nbytes + sum(value.nbytes for value in extras.values())
        self._cache[key] = _Encoded(boxes.copy(), extras, tokens, size)
        return self._cache[key]
