"""Ablations: the paper's and ours as data, run in parallel and resumed, with tables and curves.

`tables` holds rows and studies, `runner` runs them, `evaluation` judges them on held-back clips,
with the rules in `controls`; `report` writes tables and curves. ``relo ablate`` does all of it.
"""

from agents.ablations.evaluation import HeldBack
from agents.ablations.report import Summary, summarize, write_report
from agents.ablations.runner import run_study
from agents.ablations.tables import TABLES, Row, Study, Table, WarmStart

__all__ = [
    "TABLES",
    "HeldBack",
    "Row",
    "Study",
    "Summary",
    "Table",
    "WarmStart",
    "run_study",
    "summarize",
    "write_report",
]
