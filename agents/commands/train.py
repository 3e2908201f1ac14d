"""Train a network in RELO's two stages.

Stage 1, `warmup`, trains encoder and box regression with supervision. Stage 2, `policy`, trains
policy and value by reinforcement. The folder OUT gets the checkpoint, the state to resume from and
TensorBoard logs. Ctrl-C saves the run; --resume continues it to the same numbers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from agents.commands import arguments
from agents.network import RELONetwork
from agents.policy_config import ALGORITHMS, PolicyConfig, options_of
from agents.training import train_policy
from agents.warmup import WarmupConfig, warmup

EXAMPLES = """\
examples:
  relo train warmup --dataset LaSOT --network t256 --random-weights --out runs/warmup
  relo train policy --network runs/warmup/warmup.safetensors --out runs/policy --steps 100000
  relo train policy --algorithm grpo --algorithm-options kl_coef=0.01 --out runs/grpo
  relo train policy --out runs/policy --resume     continue an interrupted run
  tensorboard --logdir runs"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``relo train``."""
    stages = parser.add_subparsers(metavar="STAGE", required=True)
    for name, config_class, train, line in (
        ("warmup", WarmupConfig, warmup, "stage 1: encoder and box regression, supervised"),
        ("policy", PolicyConfig, train_policy, "stage 2: policy and value, by reinforcement"),
    ):
        stage = stages.add_parser(name, help=line, description=f"{line.capitalize()}.")
        _add_common(stage)
        arguments.add_config(stage, config_class)
        stage.set_defaults(run=run, config_class=config_class, train=train)
    stages.choices["policy"].epilog = _algorithm_options()
    stages.choices["policy"].formatter_class = argparse.RawDescriptionHelpFormatter


def _algorithm_options() -> str:
    """Names for ``--algorithm-options``: those of all algorithms, then those of each."""
    of_each = {name: set(options_of(algorithm)) for name, algorithm in ALGORITHMS.items()}
    of_all = set.intersection(*of_each.values())
    listed = {"all": of_all, **{name: options - of_all for name, options in of_each.items()}}
    lines = [arguments.names_after(f"  {n:<19}", sorted(names)) for n, names in listed.items()]
    return "\n".join(["options of the algorithms:", *lines])


def _add_common(parser: argparse.ArgumentParser) -> None:
    arguments.add_dataset(parser, required=False)
    parser.add_argument(
        "--network",
        metavar="N",
        default="nano",
        help="checkpoint, or preset with shipped weights (default: %(default)s)",
    )
    parser.add_argument(
        "--random-weights", action="store_true", help="random weights; --network is a preset"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")
    arguments.add_device(parser)


def run(options: argparse.Namespace) -> int:
    """Train a stage to its end."""
    config = arguments.config_from(options, options.config_class)
    if options.random_weights:
        network = RELONetwork.from_preset(options.network, seed=config.seed)
    else:
        network = RELONetwork.from_pretrained(options.network)
    checkpoint = options.train(
        config,
        network=network,
        dataset=arguments.dataset_from(options),
        out=options.out,
        resume=options.resume,
        device=options.device,
    )
    print(f"wrote {checkpoint}")
    return 0
