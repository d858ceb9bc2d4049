"""Stage kinds, one file each, and `lower`: from a design and its requests to the machine's rows."""

from mist_dse.stages.decode import context_lag, decode_steps
from mist_dse.stages.handoff import handoff_station
from mist_dse.stages.kinds import KINDS
from mist_dse.stages.lower import Lowered, handoffs, lower
from mist_dse.stages.pool import PoolRow, lower_pool

__all__ = ["KINDS", "Lowered", "PoolRow", "context_lag", "decode_steps", "handoff_station", "handoffs", "lower", "lower_pool"]
