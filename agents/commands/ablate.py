"""Run an ablation: the same training with one thing changed at a time, several seeds each.

All rows of a table are trained from the same frozen network on equally many frames, and judged on
the same held-back clips in the closed loop. What is finished is kept: the same command goes on
where it was, and with more --seeds adds to it. OUT gets table.md, table.csv, table.json, curves.png
and, in OUT/runs, TensorBoard logs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from agents.ablations import TABLES, HeldBack, Study, run_study, write_report
from agents.commands import arguments
from relo_env.datasets.base import Dataset
from relo_env.datasets.registry import make_dataset
from relo_env.errors import ConfigError

EXAMPLES = """\
examples:
  relo ablate algorithms --out runs/ablate
  relo ablate algorithms --rows grpo prior --seeds 3 --frames 1024 --out runs/ablate-small
  relo ablate tokens --backbone vits14.safetensors --warmup-steps 1000 --out runs/tokens
  relo ablate reward --dataset LaSOT --test-split test --workers 4 --out runs/reward
tables and their rows:
"""
EXAMPLES += "\n".join(
    f"  {name:<14}{table.title}\n"
    + arguments.names_after(16 * " ", (row.name for row in table.rows))
    for name, table in TABLES.items()
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``relo ablate``."""
    positive = arguments.positive
    default = Study("algorithms")
    parser.add_argument("table", choices=list(TABLES), metavar="TABLE", help="see below")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="of the study")
    parser.add_argument(
        "--preset", metavar="P", default=default.preset, help="network (default: %(default)s)"
    )
    parser.add_argument(
        "--network", metavar="FILE", help="frozen checkpoint (default: what ships with the preset)"
    )
    parser.add_argument(
        "--random-weights", action="store_true", help="of the preset, instead of a checkpoint"
    )
    parser.add_argument(
        "--rows", nargs="+", metavar="ROW", default=[], help="these only, see below"
    )
    parser.add_argument(
        "--seeds", type=positive, metavar="N", default=default.seeds, help="(default: %(default)s)"
    )
    parser.add_argument(
        "--frames",
        type=positive,
        metavar="N",
        default=default.frames,
        help="that every policy learns from (default: %(default)s)",
    )
    parser.add_argument(
        "--clips",
        type=positive,
        metavar="N",
        default=default.held_back.clips,
        help="held-back clips (default: %(default)s)",
    )
    parser.add_argument(
        "--length",
        type=positive,
        metavar="N",
        default=default.held_back.length,
        help="search frames of each (default: %(default)s)",
    )
    arguments.add_dataset(parser, required=False)
    parser.add_argument("--test-split", default="test", help="held back (default: %(default)s)")
    parser.add_argument(
        "--warmup-steps",
        type=positive,
        metavar="N",
        default=default.warmup_steps,
        help="of rows that have a warm-up of their own (default: %(default)s)",
    )
    parser.add_argument(
        "--backbone", metavar="FILE", help="pretrained ViT that those start from (default: random)"
    )
    parser.add_argument(
        "--half", action="store_true", help="bfloat16: faster, features differ in the third digit"
    )
    parser.add_argument(
        "--workers", type=positive, default=1, metavar="N", help="processes (default: 1)"
    )
    arguments.add_device(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run what is left of the study and print its table."""
    study = Study(
        table=options.table,
        network=None if options.random_weights else options.network or options.preset,
        preset=options.preset,
        frames=options.frames,
        seeds=options.seeds,
        rows=tuple(options.rows),
        held_back=HeldBack(options.clips, options.length),
        warmup_steps=options.warmup_steps,
        backbone=options.backbone,
        half=options.half,
        device=options.device,
    )
    train = arguments.dataset_from(options)
    held_back = held_back_from(options, train)
    run_study(study, train=train, held_back=held_back, out=options.out, workers=options.workers)
    print(write_report(study, options.out))
    print(f"table, curves and TensorBoard logs: {options.out}")
    return 0


def held_back_from(options: argparse.Namespace, train: Dataset) -> Dataset:
    """The same data set's split that is held back.

    Raises:
        ConfigError: it is the one that is trained on.
    """
    held_back = make_dataset(
        options.dataset,
        root=options.root,
        split=options.test_split,
        **dict(options.dataset_option),
    )
    if held_back.split == train.split:
        raise ConfigError(
            f"Training and evaluation would both use split {train.split!r} of {train.name}; give "
            "another --test-split."
        )
    return held_back
