"""The ablations as data: a row is a change of how a network is warmed up or a policy trained.

What a row does not change is the study's: actor-critic, open loop, 8 clips of 8 frames an update.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agents.training import PolicyConfig

BASE = PolicyConfig(num_envs=8, group_size=4, clip_length=8, search_window="jittered")
"""What rows are changes of; 64 frames an update."""

RULES = ("policy", "prior", "random", "oracle")


@dataclass(frozen=True)
class WarmStart:
    """A stage 1 of a row's own; rows with equal ones share it.

    Attributes:
        settings: changes of `agents.warmup.WarmupConfig`; None: no warm-up at all.
        network: changes of the preset, e.g. ``{"temporal": "none"}``.
    """

    settings: Mapping[str, Any] | None = field(default_factory=dict)
    network: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """A folder's name, the same for equal ones."""
        if self.settings is None:
            return "none"
        changes = {**self.settings, **self.network}
        return "-".join(f"{key}={value}" for key, value in sorted(changes.items())) or "default"


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        name: of its folder and on the command line.
        label: in the table.
        policy: changes of `BASE`.
        rule: what chooses the position: a trained ``policy``; or without any training the
            ``prior``, a ``random`` position, or the ``oracle``, the best position of each frame.
        warm: a warm-up of its own; None: the study's network as it is.
    """

    name: str
    label: str
    policy: Mapping[str, Any] = field(default_factory=dict)
    rule: str = "policy"
    warm: WarmStart | None = None

    @property
    def by_chance(self) -> bool:
        """Whether seeds give different results."""
        return self.rule in ("policy", "random") or self.warm is not None

    def config(self, frames: int, seed: int) -> PolicyConfig:
        """How the row's policy is trained."""
        config = replace(BASE, steps=frames, seed=seed, checkpoint_every=8, picture_every=10_000)
        return replace(config, **self.policy)


@dataclass(frozen=True)
class Table:
    """An ablation.

    Attributes:
        title: what it asks.
        rows: its lines; differences are taken from the one called ``baseline``.
        baseline: name of that row.
    """

    title: str
    rows: tuple[Row, ...]
    baseline: str


PRIOR = Row("prior", "prior (heat map)", rule="prior")
REFERENCES = (
    PRIOR,
    Row("random", "random position", rule="random"),
    Row("oracle", "best position (oracle)", rule="oracle"),
)

CENTRE = WarmStart({"supervision": "centre"})
PEAK = WarmStart({"supervision": "peak", "shared_prior": True})
NEIGHBOURS = WarmStart({"supervision": "neighbours"})
NONE = WarmStart(None)


def _algorithm(name: str, label: str, **options: Any) -> Row:
    return Row(name, label, {"algorithm": name, **options})


def _both(name: str, label: str, warm: WarmStart) -> tuple[Row, Row]:
    """The policy and, beside it, the prior on the same warm-up."""
    return (
        Row(f"policy-{name}", f"policy, {label}", warm=warm),
        Row(f"prior-{name}", f"prior, {label}", rule="prior", warm=warm),
    )


def _of_length(length: int) -> Row:
    """As many frames an update whatever the clip's length."""
    shape = {"clip_length": length, "num_envs": BASE.num_envs * BASE.clip_length // length}
    return Row(f"T-{length}", f"T = {length}", shape)


def _entropy(name: str, label: str, ent_coef: float | list[float]) -> Row:
    return Row(name, label, {"algorithm_options": {"ent_coef": ent_coef}})


TABLES: Mapping[str, Table] = {
    "algorithms": Table(
        "Policy optimisation from one frozen network",
        (
            _algorithm("actor-critic", "actor-critic (paper)"),
            _algorithm("ppo", "PPO"),
            _algorithm("grpo", "GRPO"),
            _algorithm("self-critical", "self-critical"),
            _algorithm("expected-gradient", "expected gradient"),
            *REFERENCES,
        ),
        "prior",
    ),
    "localisation": Table(
        "Where boxes are supervised in the warm-up, and who localises",
        (
            *_both("centre", "warm-up at the centre (paper)", CENTRE),
            *_both("peak", "warm-up at the predicted peak (public code)", PEAK),
            *_both("neighbours", "warm-up at the centre and its neighbours", NEIGHBOURS),
            Row("policy-none", "policy, no warm-up", warm=NONE),
            Row("oracle-centre", "best position, centre", rule="oracle", warm=CENTRE),
            Row("oracle-peak", "best position, peak", rule="oracle", warm=PEAK),
        ),
        "policy-centre",
    ),
    "reward": Table(
        "What a frame and a clip pay",
        (
            Row("iou", "IoU only", {"auc_weight": 0.0}),
            Row("auc", "AUC only", {"iou_weight": 0.0}),
            Row("iou+auc", "IoU + AUC (paper)"),
            Row("lambda-0.3", "IoU + 0.3 AUC", {"auc_weight": 0.3}),
            Row("lambda-3", "IoU + 3 AUC", {"auc_weight": 3.0}),
            *REFERENCES,
        ),
        "iou+auc",
    ),
    "tokens": Table(
        "Temporal tokens, warmed up with the network each time",
        (
            *_both("none", "no tokens", WarmStart({}, {"temporal": "none"})),
            *_both("deep", "deep to shallow", WarmStart({}, {"temporal": "deep_to_shallow"})),
            *_both("layer", "layer-aligned (paper)", WarmStart({}, {"temporal": "layer_aligned"})),
        ),
        "policy-layer",
    ),
    "clip-length": Table(
        "Frames of a clip, with as many frames an update",
        (*(_of_length(length) for length in (1, 2, 4, 8, 16)), *REFERENCES),
        "T-8",
    ),
    "loop": Table(
        "Windows around the truth (paper) or around the box chosen last",
        (
            Row("open", "actor-critic, open loop (paper)"),
            Row("closed", "actor-critic, closed loop", {"search_window": "tracked"}),
            _algorithm("expected-gradient", "expected gradient, open loop"),
            Row(
                "expected-closed",
                "expected gradient, closed loop",
                {"algorithm": "expected-gradient", "search_window": "tracked"},
            ),
            *REFERENCES,
        ),
        "open",
    ),
    "entropy": Table(
        "Weight of the entropy bonus",
        (
            _entropy("none", "none (paper)", 0.0),
            _entropy("constant", "0.02", 0.02),
            _entropy("falling", "from 0.05 to 0", [0.05, 0.0]),
            *REFERENCES,
        ),
        "none",
    ),
    "encoder": Table(
        "Frozen or trained encoder",
        (
            Row("frozen", "frozen (paper)"),
            Row("trained", "trained, a tenth of the learning rate", {"encoder_scale": 0.1}),
            *REFERENCES,
        ),
        "frozen",
    ),
}
"""By the name that ``relo ablate`` takes."""
