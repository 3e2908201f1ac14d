"""The paper's ablations and ours as data, and what runs them, in parallel and resumable.

`tables` holds the rows, `study` the scale, `runner` does them, `worker` is what one process does,
`playing` the held-back evaluation, `report` makes tables and curves. ``relo ablate`` runs it all.
"""

from agents.ablations.report import Summary, summarize, write_report
from agents.ablations.runner import run_study
from agents.ablations.study import Study
from agents.ablations.tables import TABLES, Row, Table, WarmStart

__all__ = [
    "TABLES",
    "Row",
    "Study",
    "Summary",
    "Table",
    "WarmStart",
    "run_study",
    "summarize",
    "write_report",
]
