"""Requests through servers in simulated time: event loop, batching, routing, stores, stations. Rows in, records out.

The contract is `docs/semantics.md`; nothing here knows stage kinds, prices or percentiles.
"""

from mist_dse.sim.check import RowError
from mist_dse.sim.simulate import LivelockError, simulate, simulate_steps

__all__ = ["LivelockError", "RowError", "simulate", "simulate_steps"]
