"""Run an ablation: trainings that differ in one setting, with several seeds each.

All rows of a table are trained from the same frozen network on equally many frames, and evaluated
on the same held-back clips in the closed loop. The same command continues an interrupted ablation;
more --seeds extend it. OUT gets table.md, table.csv, table.json, curves.png and, in OUT/runs,
TensorBoard logs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from agents.ablations import TABLES, HeldBack, Study, run_study, write_report
from agents.commands import arguments
from relo_env.datasets.registry import find_dataset
from relo_env.errors import ConfigError

EXAMPLES = """\
examples:
  relo ablate algorithms --out runs/ablate
  relo ablate algorithms --rows grpo prior --seeds 3 --frames 1024 --out runs/ablate-small
  relo ablate tokens --backbone vits14.safetensors --warmup-steps 1000 --out runs/tokens
  relo ablate controls --workers 2 --out runs/controls
  relo ablate reward --dataset LaSOT --test-split test --workers 4 --out runs/reward
tables and their rows:
"""
EXAMPLES += "\n".join(
    f"  {name:<14}{table.title}\n"
    + arguments.names_after(16 * " ", (row.name for row in table.rows))
    for name, table in TABLES.items()
)


SCALE = {
    "seeds": Study("algorithms").seeds,
    "frames": Study("algorithms").frames,
    "clips": HeldBack().clips,
    "length": HeldBack().length,
}
"""Scale of a study whose table has none of its own."""


def _defaults(name: str) -> str:
    own = [f"; {table}: {t.scale[name]}" for table, t in TABLES.items() if name in t.scale]
    return f"default: {SCALE[name]}{''.join(own)}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``relo ablate``."""
    parser.add_argument("table", choices=list(TABLES), metavar="TABLE", help="see below")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of the study"
    )
    parser.add_argument(
        "--network", metavar="FILE", help="frozen checkpoint (default: what ships with the preset)"
    )
    parser.add_argument(
        "--random-weights", action="store_true", help="start from random weights of the preset"
    )
    arguments.add_config(
        parser,
        Study,
        leave_out=("table", "network", "held_back", "cache_bytes", "device", "frames", "seeds"),
    )
    for name, line in (
        ("seeds", "runs of each row; may be raised later"),
        ("frames", "frames that every policy learns from"),
        ("clips", "held-back clips"),
        ("length", "search frames of each held-back clip"),
    ):
        shown = f"{line} ({_defaults(name)})"
        parser.add_argument(f"--{name}", type=arguments.positive, metavar="N", help=shown)
    arguments.add_dataset(parser, required=False)
    parser.add_argument(
        "--test-split", default="test", help="split of the held-back clips (default: %(default)s)"
    )
    parser.add_argument(
        "--workers", type=arguments.positive, default=1, metavar="N", help="processes (default: 1)"
    )
    arguments.add_device(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run what is left of the study and print its table."""
    table = TABLES[options.table]
    scale = {name: getattr(options, name) or table.scale.get(name, SCALE[name]) for name in SCALE}
    if find_dataset(options.dataset).name == "Synthetic":
        options.dataset_option = [*table.synthetic.items(), *options.dataset_option]
    study = arguments.config_from(
        options,
        Study,
        network=None if options.random_weights else options.network or options.preset,
        frames=scale["frames"],
        seeds=scale["seeds"],
        held_back=HeldBack(scale["clips"], scale["length"]),
    )
    train = arguments.dataset_from(options)
    held_back = arguments.dataset_from(options, split=options.test_split)
    if held_back.split == train.split:
        raise ConfigError(
            f"Training and evaluation would both use split {train.split!r} of {train.name}; give "
            "another --test-split."
        )
    run_study(study, train=train, held_back=held_back, out=options.out, workers=options.workers)
    print(write_report(study, options.out))
    print(f"table, curves and TensorBoard logs: {options.out}")
    return 0
