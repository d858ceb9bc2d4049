"""How near `steady` is to simulations of 10,000 requests, by load: see README.md.

Usage: ``python studies/steady_accuracy/run.py [DESIGNS]`` (72 per family and trace; three minutes on two cores). Prints the
tables and writes tables.md beside this file.
"""

import sys
from pathlib import Path

import pandas as pd
import sample  # by name, as workers import it
from joblib import Parallel, delayed
from tables import by_load, ranks, stability

HERE = Path(__file__).parent
DESIGNS = 72
NAMES = ("tpot_mean", "tpot_p90", "e2e_mean", "ttft_mean", "ttft_p50", "ttft_p90")


def frame(traces: tuple[str, ...], count: int, router: str = "round_robin") -> pd.DataFrame:
    """The designs of every family under every trace."""
    asked = [(family, trace) for family in sample.FAMILIES for trace in traces]
    parts = Parallel(n_jobs=2)(delayed(sample.compared)(family, trace, count=count, router=router) for family, trace in asked)
    return pd.concat(parts, ignore_index=True)


def main(count: int = DESIGNS) -> None:
    """Every table."""
    found = frame(("s1", "s2", "az"), count)
    parts = {
        "All designs: median absolute error (target), median error, 90th percentile of the absolute error, %": by_load(found, NAMES),
        "Colocated": by_load(found[found["pools"] == 1], NAMES),
        "Disaggregated": by_load(found[found["pools"] == 2], NAMES),
        "Lengths that no formula was chosen on (s2, az)": by_load(found[found["trace"] != "s1"], NAMES),
        "Rank correlation below load 0.9 (target for ttft_p90: 0.99)": ranks(found),
        "Stability": stability(found),
        "Beside: join-shortest-queue (s1)": by_load(frame(("s1",), count, "jsq"), NAMES, gated=False),
        "Beside: bursts, gamma gaps of coefficient of variation 3": by_load(frame(("gamma",), count), NAMES, gated=False),
        "Beside: bursts, on for 20 mean gaps and off for 60": by_load(frame(("onoff",), count), NAMES, gated=False),
    }
    text = "\n\n".join(f"## {title}\n\n{part}" for title, part in parts.items())
    print(text)
    if count == DESIGNS:
        (HERE / "tables.md").write_text(f"# Tables of `python studies/steady_accuracy/run.py`\n\n{text}\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
