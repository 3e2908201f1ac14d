"""Ablations as data: a row changes the warm-up of a network or the training of a policy.

Other settings are those of `BASE`: actor-critic, open loop, 8 clips of 8 frames an update. A
`Study` is a table at some scale, with the folders of its runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from agents.ablations.evaluation import HeldBack
from agents.network import preset
from agents.network.vit import ViTConfig
from agents.policy_config import PolicyConfig
from relo_env.checks import PositiveInt, check_fields
from relo_env.errors import CheckpointError, ConfigError, nearest, unknown

CURVE = (0.0, 1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1.0)
"""Shares of a training after which its policy is kept and played."""

BASE = PolicyConfig(num_envs=8, group_size=4, clip_length=8, search_window="jittered")
"""Settings that rows change; 64 frames an update."""

LONG = {"search_window": "tracked", "clip_length": 64, "max_stride": 1}
"""Settings of rows in which decisions have late consequences; 512 frames an update."""


@dataclass(frozen=True)
class WarmStart:
    """Warm-up of a row's own; rows with equal ones share it.

    Attributes:
        settings: changes of `agents.warmup.WarmupConfig`; None: no warm-up at all.
        network: changes of the preset, e.g. ``{"temporal": "none"}``.
    """

    settings: Mapping[str, Any] | None = field(default_factory=dict)
    network: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of its folder, equal for equal warm-ups."""
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
        rule: chooses the actions: a trained ``policy``, or without training the ``prior``, a
            ``random`` position, the ``oracle``, the best position of each frame; or, in the
            network's own positions, ``untrained``, ``hand-made`` or ``control-oracle``, see
            `agents.ablations.controls`.
        warm: a warm-up of its own; None: the study's network as it is.
    """

    name: str
    label: str
    policy: Mapping[str, Any] = field(default_factory=dict)
    rule: str = "policy"
    warm: WarmStart | None = None

    @property
    def by_chance(self) -> bool:
        """True if results depend on the seed."""
        return self.rule in ("policy", "random") or self.warm is not None

    def config(self, frames: int, seed: int) -> PolicyConfig:
        """Settings of the row's policy training."""
        config = replace(BASE, steps=frames, seed=seed, checkpoint_every=8, picture_every=10_000)
        return replace(config, **self.policy)


@dataclass(frozen=True)
class Table:
    """An ablation.

    Attributes:
        title: the question it asks.
        rows: its lines; differences are taken from the one called ``baseline``.
        baseline: name of that row.
        scale: defaults of the command: ``frames``, ``seeds``, ``clips``, ``length``.
        synthetic: options of `relo_env.datasets.synthetic.Synthetic` by default.
        play: options of the environment that all rows are judged in.
        num_templates: templates of the network; None: its own number.
        curve: shares of a training after which its policy is kept and played.
    """

    title: str
    rows: tuple[Row, ...]
    baseline: str
    scale: Mapping[str, int] = field(default_factory=dict)
    synthetic: Mapping[str, Any] = field(default_factory=dict)
    play: Mapping[str, Any] = field(default_factory=dict)
    num_templates: int | None = None
    curve: tuple[float, ...] = CURVE


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
CONTROLLED = {
    "zoom": ("zoom", ("zoom",)),
    "renew": ("renewal", ("renew",)),
    "both": ("zoom and renewal", ("zoom", "renew")),
}
"""Label and controls of the rows of "controls", by the end of their names."""


def _algorithm(name: str, label: str, **options: Any) -> Row:
    return Row(name, label, {"algorithm": name, **options})


def _both(name: str, label: str, warm: WarmStart) -> tuple[Row, Row]:
    """The policy and, beside it, the prior on the same warm-up."""
    return (
        Row(f"policy-{name}", f"policy, {label}", warm=warm),
        Row(f"prior-{name}", f"prior, {label}", rule="prior", warm=warm),
    )


def _of_length(length: int) -> Row:
    """Row of a clip length, with equally many frames an update."""
    shape = {"clip_length": length, "num_envs": BASE.num_envs * BASE.clip_length // length}
    return Row(f"T-{length}", f"T = {length}", shape)


def _controlled(algorithm: str, label: str, **options: Any) -> tuple[Row, ...]:
    """Heads of the controls trained alone; PPO needs the value too.

    A head begins at 90 % for "no" (`agents.network.controls.START`). At the learning rate of the
    other rows its most probable choice would not change within a study's few dozen updates.
    """
    scales = {"controls": 10.0} | ({"heads.value": 1.0} if algorithm == "ppo" else {})
    settings = {**LONG, "algorithm": algorithm, "lr_scales": scales, "algorithm_options": options}
    return tuple(
        Row(f"{algorithm}-{name}", f"{label}, {shown}", {**settings, "controls": controls})
        for name, (shown, controls) in CONTROLLED.items()
    )


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
        "Supervision of boxes in the warm-up; localisation by policy or prior",
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
        "Reward of a frame and of a clip",
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
        "Temporal tokens; each row has its own warm-up",
        (
            *_both("none", "no tokens", WarmStart({}, {"temporal": "none"})),
            *_both("deep", "deep to shallow", WarmStart({}, {"temporal": "deep_to_shallow"})),
            *_both("layer", "layer-aligned (paper)", WarmStart({}, {"temporal": "layer_aligned"})),
        ),
        "policy-layer",
    ),
    "clip-length": Table(
        "Frames of a clip, with equally many frames an update",
        (*(_of_length(length) for length in (1, 2, 4, 8, 16)), *REFERENCES),
        "T-8",
    ),
    "loop": Table(
        "Windows around the truth (paper) or around the last chosen box",
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
    "controls": Table(
        "Decisions beside the position: zoom of the next window, renewal of a template",
        (
            Row("none", "none", LONG, rule="untrained"),
            Row("hand-made", "hand-made rules", LONG, rule="hand-made"),
            *_controlled("ppo", "PPO", gamma=0.98, gae_lambda=0.95, n_epochs=4, ent_coef=0.003),
            *_controlled("grpo", "GRPO", ent_coef=0.003),
            *(
                Row(
                    f"oracle-{name}",
                    f"oracle, {shown}",
                    {**LONG, "controls": controls},
                    rule="control-oracle",
                )
                for name, (shown, controls) in CONTROLLED.items()
            ),
        ),
        "none",
        scale={"frames": 16_384, "seeds": 3, "length": 64},
        synthetic={"difficulty": "long"},
        play={"max_stride": 1},
        num_templates=2,
        curve=(0.0, 0.5, 1.0),
    ),
}
"""By the name that ``relo ablate`` takes."""

STUDY, RESULT = "study.json", "result.json"


@dataclass(frozen=True)
class Study:
    """A table at some scale.

    Attributes:
        table: a name of `TABLES`.
        network: the frozen network that policies start from: a preset that ships, or a checkpoint;
            None: one with random weights.
        preset: preset of the frozen network, and of networks that rows warm up themselves.
        frames: frames that every policy learns from.
        seeds: runs of every row; more may be added later.
        rows: names of the rows to run; empty: all.
        held_back: clips that everything is judged on.
        warmup_steps: gradient steps of a row's own warm-up.
        backbone: file with a pretrained ViT that warm-ups start from; None: random weights.
        half: compute features in bfloat16: faster; they differ in the third digit.
        cache_bytes: features that each process may keep.
        device: device of the networks.
    """

    table: str
    network: str | None = "nano"
    preset: str = "nano"
    frames: PositiveInt = 2048
    seeds: PositiveInt = 5
    rows: tuple[str, ...] = ()
    held_back: HeldBack = field(default_factory=HeldBack)
    warmup_steps: PositiveInt = 300
    backbone: str | None = None
    half: bool = False
    cache_bytes: int = 2**30
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_fields(self)
        if self.table not in TABLES:
            raise ConfigError(unknown("table", self.table, TABLES))
        for name in self.rows:
            names = [row.name for row in TABLES[self.table].rows]
            if name not in names:
                advice = nearest(name, names)
                raise ConfigError(f"Table {self.table!r} has no row {name!r}. {advice}")
        encoder = preset(self.preset).encoder
        if self.backbone is not None and not isinstance(encoder, ViTConfig):
            raise ConfigError(
                f"backbone is {self.backbone!r}, the weights of a plain ViT, and preset "
                f"{self.preset!r} has another encoder; leave it out, or choose nano."
            )
        for row in self.selected:
            config = row.config(self.frames, 0)
            update = config.num_envs * config.clip_length
            if self.frames % update:
                raise ConfigError(
                    f"frames is {self.frames}; expected a multiple of the {update} frames of an "
                    f"update (row {row.name!r})."
                )

    @property
    def selected(self) -> tuple[Row, ...]:
        """Rows that are run."""
        return tuple(row for row in self.definition.rows if not self.rows or row.name in self.rows)

    @property
    def definition(self) -> Table:
        """The table."""
        return TABLES[self.table]

    def runs(self) -> list[tuple[Row, int]]:
        """Every row with its seeds; rows of a seed follow each other, as they share clips."""
        return [
            (row, seed)
            for seed in range(self.seeds)
            for row in self.selected
            if seed == 0 or row.by_chance
        ]

    def points(self, row: Row) -> tuple[int, ...]:
        """Frames at which a row's policy is kept: whole updates near the table's shares."""
        config = row.config(self.frames, 0)
        update = config.num_envs * config.clip_length
        shares = self.definition.curve
        return tuple(sorted({round(share * self.frames / update) * update for share in shares}))

    def warm_starts(self) -> dict[str, tuple[WarmStart, int]]:
        """Warm-ups that rows need, by their folder."""
        return {
            warm_folder(row.warm, seed): (row.warm, seed)
            for row, seed in self.runs()
            if row.warm is not None and row.warm.settings is not None
        }


def warm_folder(warm: WarmStart, seed: int) -> str:
    """Folder of a warm-up in a study's."""
    return f"warmups/{warm.name}/seed-{seed}"


def run_folder(row: Row, seed: int) -> str:
    """Folder of a run in a study's."""
    return f"runs/{row.name}/seed-{seed}"


def read_result(path: Path) -> dict[str, Any]:
    """Result of a finished run: its frames, seconds, and figures as arrays ``(frames, clips)``.

    Raises:
        CheckpointError: the file is not one.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        frames, seconds = list(result["frames"]), dict(result["seconds"])
        figures = {n: np.array(v, dtype=float) for n, v in result["figures"].items()}
        shape = len(frames), figures["iou"].shape[1]
        if any(values.shape != shape for values in figures.values()):
            raise ValueError("its figures do not belong to its frames")
        return {**result, "frames": frames, "seconds": seconds, "figures": figures}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is not the result of a run: {error}. Remove it to run it again."
        ) from error
