"""Pictures and tables of a finished or growing sweep, drawn from its stored results only; nothing is evaluated again.

``write_report`` turns a run folder into one offline page; ``front_table`` is the same front for a terminal;
``figures`` holds the plots as functions of a `Run` for notebooks.
"""

from mist_dse.report.html import write_report
from mist_dse.report.run import ReportError, Run, read_run
from mist_dse.report.table import Table, front_table

__all__ = ["ReportError", "Run", "Table", "front_table", "read_run", "write_report"]
