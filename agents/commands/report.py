"""Compare results that are on disk: a table, and one HTML page with plots, failures and clips.

RESULTS are folders of box files, one for each tracker, as `relo evaluate` writes them or as others
publish them. The page needs no other file and no network.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from agents.commands import arguments
from relo_env.benchmark.evaluation import evaluate, summary_table
from relo_env.benchmark.report import write_report
from relo_env.datasets.base import Dataset
from relo_env.datasets.disk import subfolders
from relo_env.datasets.registry import find_dataset, list_datasets
from relo_env.errors import DataError

EXAMPLES = """\
examples:
  relo report results/*/LaSOT --split test --out report
  relo report results/*/LaSOT published/raw_results --dataset LaSOT --split test --out report
  relo report results/*/Synthetic --split test --allow-missing --out report"""
FOLDER = "the name of the first folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``relo report``."""
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS", help="see above")
    arguments.add_dataset(parser, required=False, default=FOLDER)
    arguments.add_protocol(parser)
    arguments.add_subset(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="of the page")
    parser.add_argument(
        "--allow-missing", action="store_true", help="compare what is there, however little"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Evaluate each folder and write the page."""
    if options.dataset == FOLDER:
        options.dataset = _dataset_of(options.results[0])
    dataset = arguments.dataset_from(options)
    # Videos that are made and not stored have no end: nobody has results for all of them.
    if find_dataset(options.dataset).needs_root or options.sequences or options.max_sequences:
        sequences = arguments.subset_from(options, dataset)
    else:
        sequences = _names_in(options.results, dataset) or [dataset.names[0]]
    evaluations = [
        evaluate(
            folder,
            dataset,
            protocol=options.protocol,
            sequences=sequences,
            allow_missing=options.allow_missing,
        )
        for folder in options.results
    ]
    print(summary_table(evaluations))
    print(f"wrote {write_report(evaluations, dataset, options.out)}")
    return 0


def _names_in(folders: list[Path], dataset: Dataset) -> list[str]:
    """Sequences that some folder has boxes of, in the data set's order."""
    stems = {file.stem for folder in folders for file in folder.glob("*.txt")}
    return sorted((stem for stem in stems if stem in dataset.names), key=dataset.names.index)


def _dataset_of(folder: Path) -> str:
    """The data set that a folder of results is called after.

    Raises:
        DataError: there is no such folder, or it is the one around such folders.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; expected one of results.")
    known = {spec.name for spec in list_datasets()}
    inside = [str(child) for child in subfolders(folder) if child.name in known]
    if inside and folder.resolve().name not in known:
        raise DataError(f"{folder} holds no results itself; did you mean {' or '.join(inside)}?")
    return folder.resolve().name
