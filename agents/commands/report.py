"""Compare results on disk: a table, and one HTML page with plots, failures and clips.

RESULTS are folders of box files, one for each tracker, from `relo evaluate` or published by others.
The page, index.html, is one file and needs no network. table.csv has a line for each tracker,
sequences.csv one for each tracker and sequence, table.tex is the table in LaTeX.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from agents.commands import arguments
from relo_env.benchmark.evaluation import evaluate, summary_table
from relo_env.benchmark.report import write_report
from relo_env.benchmark.tables import write_tables
from relo_env.datasets.base import Dataset
from relo_env.datasets.registry import find_dataset

EXAMPLES = """\
examples:
  relo report results/*/LaSOT --split test --out report
  relo report results/*/LaSOT published/raw_results --dataset LaSOT --split test --out report
  relo report results/*/Synthetic --split test --allow-missing --out report"""
FOLDER = "the name of the first folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``relo report``."""
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS", help="see above")
    arguments.add_dataset(parser, required=False, default=FOLDER, evaluated=True)
    arguments.add_protocol(parser)
    arguments.add_subset(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="of the files")
    parser.add_argument(
        "--allow-missing", action="store_true", help="accept missing sequences and frames"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Evaluate each folder; write the page and the tables."""
    if options.dataset == FOLDER:
        options.dataset = arguments.dataset_of(options.results[0])
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
    page = write_report(evaluations, dataset, options.out)
    for path in (page, *write_tables(evaluations, options.out)):
        print(f"wrote {path}")
    return 0


def _names_in(folders: list[Path], dataset: Dataset) -> list[str]:
    """Sequences that some folder has boxes of, in the data set's order."""
    stems = {file.stem for folder in folders for file in folder.glob("*.txt")}
    return sorted((stem for stem in stems if stem in dataset.names), key=dataset.names.index)
