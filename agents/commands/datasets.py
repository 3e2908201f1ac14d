"""List the known data sets, or verify that a data set on disk is complete and well formed."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tqdm import tqdm

from agents.commands.arguments import add_place
from relo_env.datasets.disk import ROOT_VARIABLE, find_folder
from relo_env.datasets.registry import find_dataset, list_datasets
from relo_env.datasets.verify import verify
from relo_env.errors import ConfigError
from relo_env.registration import env_id

EXAMPLES = f"""\
examples:
  relo datasets list
  relo datasets verify LaSOT --root /data/LaSOT --split test
  {ROOT_VARIABLE}=/data relo datasets verify GOT10k --split val --decode
exit status of verify: 1 when a sequence is missing or malformed"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``relo datasets``."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="names, splits, and which are found on this machine")
    listing.set_defaults(run=run_list)
    check = actions.add_parser("verify", help="read every annotation and report all faults")
    check.add_argument("name", help="see `relo datasets list`")
    add_place(check)
    check.add_argument("--decode", action="store_true", help="also decode every frame (slow)")
    check.set_defaults(run=run_verify)


def run_list(options: argparse.Namespace) -> int:
    """Print the table of data sets."""
    rows = [("name", "environment", "splits (default first)", "on this machine")]
    for spec in list_datasets():
        place = where(spec.name) if spec.needs_root else "nothing to download"
        rows.append((spec.name, env_id(spec.name), ", ".join(spec.splits), place))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())
    base = os.environ.get(ROOT_VARIABLE, "")
    if not Path(base or "nowhere").is_dir():
        found = f" (it is {base!r}, which is no folder)" if base else ""
        print(f"Set {ROOT_VARIABLE} to the folder that holds the data sets{found}, or give --root.")
    return 0


def where(name: str) -> str:
    """Folder of a data set on this machine; "-" if there is none."""
    base = os.environ.get(ROOT_VARIABLE)
    folder = find_folder(Path(base), find_dataset(name).folders) if base else None
    return str(folder) if folder is not None and folder.is_dir() else "-"


def run_verify(options: argparse.Namespace) -> int:
    """Print the report on a data set; return 1 if it has a fault."""
    if not find_dataset(options.name).needs_root:
        raise ConfigError(f"Data set {options.name!r} is made on the fly; nothing to verify.")
    # No bar above an error that comes at once.
    with tqdm(desc=options.name, unit="sequence", delay=0.5) as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        report = verify(
            options.name,
            root=options.root,
            split=options.split,
            decode=options.decode,
            progress=advance,
            **dict(options.dataset_option),
        )
    print(report.table)
    return 0 if report.ok else 1
