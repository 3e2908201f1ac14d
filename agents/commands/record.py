"""Play clips with a policy and write them as a Minari data set, for offline learning.

The finished data set is in OUT/ID/data, and OUT/ID/README.md describes it. Minari finds it by its
id if MINARI_DATASETS_PATH is OUT. --resume continues an interrupted recording, to the same data.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from agents.commands import arguments
from agents.recording import RecordConfig, record

EXAMPLES = """\
examples:
  relo record --out runs/offline
  relo record --dataset LaSOT --policy runs/policy/network.safetensors --observations crops \\
      --episodes 5000 --out /data/offline
  relo record --policy random --network nano --out runs/offline
  relo record --policy my_module:make_policy --env-options clip_length=16 --out runs/offline"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``relo record``."""
    arguments.add_dataset(parser, required=False)
    arguments.add_config(parser, RecordConfig)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of Minari data sets"
    )
    parser.add_argument("--resume", action="store_true", help="continue an interrupted recording")
    arguments.add_device(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Record a data set."""
    config = arguments.config_from(options, RecordConfig)
    dataset = arguments.dataset_from(options)
    data = record(
        config, dataset=dataset, out=options.out, resume=options.resume, device=options.device
    )
    print(f"wrote {data}; its page: {data.parent / 'README.md'}")
    return 0
