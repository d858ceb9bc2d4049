"""Requests: a workload realised as a table of arrivals and token counts, drawn before any run or read from a trace."""

from mist_dse.requests.joint import JOINTS, JointTable, joint_table
from mist_dse.requests.pace import paced
from mist_dse.requests.realise import realise
from mist_dse.requests.streams import PURPOSES, streams
from mist_dse.requests.trace import TRACE_FORMATS, TraceArrays, TraceError, read_trace

__all__ = [
    "JOINTS",
    "PURPOSES",
    "TRACE_FORMATS",
    "JointTable",
    "TraceArrays",
    "TraceError",
    "joint_table",
    "paced",
    "read_trace",
    "realise",
    "streams",
]
