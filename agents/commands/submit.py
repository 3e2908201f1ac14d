"""Pack results for the evaluation server of GOT-10k or TrackingNet, and check the zip.

RESULTS is a folder of box files from `relo evaluate`. All files are checked before the zip is
written: no sequence is missing, every frame has a box, and results for GOT-10k have times.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from agents.commands import arguments
from relo_env.benchmark.submissions import SERVERS, pack
from relo_env.datasets.registry import find_dataset, list_datasets
from relo_env.errors import ConfigError

EXAMPLES = """\
examples:
  relo submit results/nano/GOT10k --out nano-got10k.zip
  relo submit results/nano/TrackingNet --root /data/TrackingNet --out nano-trackingnet.zip
  relo submit my-boxes --dataset GOT10k --out mine.zip"""
FOLDER = "the name of the folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``relo submit``."""
    parser.add_argument("results", type=Path, metavar="RESULTS", help="see above")
    arguments.add_dataset(parser, required=False, default=FOLDER, evaluated=True)
    parser.add_argument("--out", type=Path, required=True, metavar="ZIP", help="the file to write")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Pack the folder."""
    given = options.dataset != FOLDER
    name = options.dataset if given else arguments.dataset_of(options.results)
    server = _server_of(name)
    dataset = arguments.dataset_from(options, name=name)
    path = pack(server, options.results, dataset, options.out)
    print(f"wrote {path}: {len(dataset.names)} sequences of {dataset.name}")
    return 0


def _server_of(dataset: str) -> str:
    """Name of the evaluation server of a data set.

    Raises:
        ConfigError: there is no such data set, or it has no server.
    """
    name = find_dataset(dataset).name
    if name.lower() not in SERVERS:
        served = [spec.name for spec in list_datasets() if spec.name.lower() in SERVERS]
        raise ConfigError(
            f"{name} has no evaluation server; expected results on {' or '.join(served)}. "
            "`relo report` gives the figures of the others."
        )
    return name.lower()
