"""aiconfigurator's case: our screen over every rate, its front simulated, and both fronts at equal axes.

Usage: ``python studies/against_aiconfigurator/run.py``; half a minute.
"""

import time

import case
import pandas as pd

from mist_dse.catalog import Catalog
from mist_dse.evaluation import evaluate

LEVELS = (30, 40, 50, 60, 80, 100, 130, 160, 190)  # tokens/s of a user


class Clock:
    """Seconds of the wall and of the processor since it was made."""

    def __init__(self) -> None:
        self.started = time.perf_counter(), time.process_time()

    def __str__(self) -> str:
        return f"{time.perf_counter() - self.started[0]:.2f} s ({time.process_time() - self.started[1]:.2f} s of a processor)"


def main() -> None:
    """Print everything that README.md quotes."""
    prices = Catalog().prices("default")
    spaces = {mode: case.space(mode) for mode in case.MODES}
    evaluate(spaces["disaggregated"].table(prices).design(0), case.workload(4.0, 50), prices=prices)  # compile
    clock = Clock()
    tables = {mode: spaces[mode].table(prices) for mode in case.MODES}
    front = case.screened_front(spaces, tables, prices)
    print(f"{sum(map(len, tables.values())):,} designs at {len(case.RATES)} rates screened in {clock}")
    clock = Clock()
    front = case.simulated_front(front, tables, prices)
    print(f"front of {len(front)} simulated in {clock}")
    lacking = {mode: len(case.missing(mode, tables[mode])) for mode in case.MODES}
    print(f"listed by aiconfigurator and not in our space: {lacking}, workers {len(case.missing_workers(tables['disaggregated']))}")
    print(front.drop(columns="index").round(1).to_string(index=False))
    levels = pd.DataFrame({"user": LEVELS})
    for name, rows in (("theirs", case.front()), ("ours", front)):
        levels[name] = [rows.loc[rows["user"] >= level, "device"].max() for level in LEVELS]
    print(levels.round(0).to_string(index=False))
    columns = ["mode", "tp", "bs", "prefill_workers", "workers", "user", "our_user", "device", "our_device", "ttft_ms", "our_ttft_ms"]
    same = case.theirs_in_ours(prices)
    print(same[columns].round(1).to_string(index=False))
    ratio = (same["our_device"] / same["device"]).groupby(same["mode"]).describe()[["count", "min", "50%", "max"]]
    print(ratio.round(2).to_string())


if __name__ == "__main__":
    main()
