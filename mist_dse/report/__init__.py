"""Pictures and tables of a finished or growing sweep, and the timeline of a run, drawn from results only; nothing is evaluated again.

``write_report`` turns a run folder into one offline page; ``front_table`` is the same front for a terminal;
``figures`` holds the plots as functions of a `Run` for notebooks. ``write_timeline`` writes the records of one run for Perfetto.
"""

from mist_dse.report.html import write_report
from mist_dse.report.run import ReportError, Run, read_run
from mist_dse.report.table import Table, front_table
from mist_dse.report.timeline import Replay, write_timeline

__all__ = ["Replay", "ReportError", "Run", "Table", "front_table", "read_run", "write_report", "write_timeline"]
