"""Tables of the study: who is best at which rate, where that departs from bare links, and published figures beside ours."""

import numpy as np
import pandas as pd
from architectures import HERMES, MIST, World, hit_rate, link_load

BARE, QUEUES = World(False, False), World(True, False)
WORLDS = {"bare links": BARE, "contention": QUEUES, "capacity": World(False, True), "both": World(True, True)}
TIE = 0.02
"""Differences of p90 below this, relative, are within what seeds do: the names stand side by side."""
LATE = 10.0
"""Seconds of p90 from which on an architecture counts as one that does not keep up."""

REFERENCE = [
    *(("HERMES", 4_096, 240, "bare links", name, p90) for name, p90 in (("A", 0.54), ("B", 0.40), ("C", 1.03), ("recompute", 12.1))),
    *(("HERMES", 4_096, 240, "contention", name, p90) for name, p90 in (("A", 0.54), ("B", 0.41), ("C", 2177.0))),
    *(("HERMES", 24_576, 240, "bare links", name, p90) for name, p90 in (("A", 0.79), ("B", 0.75), ("C", 4.52), ("recompute", 332.0))),
    *(("HERMES", 24_576, 240, "contention", name, p90) for name, p90 in (("A", 0.79), ("B", 50.3), ("C", 13338.0))),
    *(("HERMES", 24_576, rate, "contention", "B", p90) for rate, p90 in ((60, 0.96), (120, 4.0))),
    ("HERMES", 4_096, 120, "bare links", "recompute", 0.91), ("HERMES", 24_576, 20, "bare links", "recompute", 4.0),
    ("MIST", 4_096, 240, "contention", "B", 0.61),
    *(("MIST", 24_576, 240, "contention", name, p90) for name, p90 in (("A", 0.79), ("B", 155.0), ("C", 3294.0))),
]  # fmt: skip
"""p90 of the time to first token, s, from a discrete-event simulation of the same set-up written apart from this package, with other
random numbers. Figures beyond 10 s are backlogs: they grow with the length of the run, here 15,000 requests."""

LINKS = {"HERMES": HERMES, "MIST": MIST}


def best(found: pd.DataFrame) -> str:
    """The architecture of least p90, with those within `TIE` of it."""
    least = found["p90_s"].min()
    if least > LATE:
        return "none"
    return " = ".join(found.loc[found["p90_s"] <= least * (1 + TIE), "architecture"])


def verdicts(results: pd.DataFrame) -> pd.DataFrame:
    """The best architecture of every rate: one row per links, context and world."""
    keys = ["links", "context", "world"]
    named = [(*key, rate, best(each)) for (*key, rate), each in results.groupby([*keys, "rate"], sort=False)]
    table = pd.DataFrame(named, columns=[*keys, "rate", "best"]).pivot(index=keys, columns="rate", values="best")
    order = list(dict.fromkeys(results[keys].itertuples(index=False, name=None)))
    return table.reindex(pd.MultiIndex.from_tuples(order, names=keys)).reset_index()


def flips(results: pd.DataFrame) -> pd.DataFrame:
    """Of each world the first rate at which what bare links call best is worse than the best by more than `TIE`, and by how much there
    and at the highest rate."""
    keys = ["links", "context"]
    lines = []
    for (links, context, world), mine in results[results["world"] != "bare links"].groupby([*keys, "world"], sort=False):
        bare = results[(results["links"] == links) & (results["context"] == context) & (results["world"] == "bare links")]
        losses = {}
        for rate in mine["rate"].unique().tolist():
            each = mine[mine["rate"] == rate]
            called = bare[bare["rate"] == rate].sort_values("p90_s").iloc[0]["architecture"]
            losses[rate] = (called, each.set_index("architecture")["p90_s"][called] / each["p90_s"].min())
        wrong = [rate for rate, (_, loss) in losses.items() if loss > 1 + TIE]
        first = wrong[0] if wrong else np.nan
        last = max(losses)
        lines.append((links, context, world, first, losses[first][0] if wrong else "", losses[first][1] if wrong else np.nan,
                      *losses[last]))  # fmt: skip
    return pd.DataFrame(
        lines, columns=["links", "context", "world", "flips at", "bare says", "worse by", "bare says at 240", "worse at 240"]
    )


def comparison(results: pd.DataFrame) -> pd.DataFrame:
    """Reference figures and ours."""
    keys = ["links", "context", "rate", "world", "architecture"]
    table = pd.DataFrame(REFERENCE, columns=[*keys, "reference"]).merge(results[[*keys, "p90_s"]], on=keys, how="left")
    return table.assign(error=100 * (table["p90_s"] / table["reference"] - 1)).rename(columns={"p90_s": "ours", "error": "error %"})


def loads() -> pd.DataFrame:
    """Of every link the share of time it is busy at 240 requests/s where all is found, the most requests/s, and what fits."""
    lines = []
    for links, stores in LINKS.items():
        for name, store in stores.items():
            for context in (4_096, 24_576) if store.clients else ():
                rho = link_load(store, context, 240.0, capacity=False)
                lines.append((links, context, name, rho, 240.0 / rho, hit_rate(store, context, capacity=True)))
    return pd.DataFrame(lines, columns=["links", "context", "architecture", "busy at 240/s", "most requests/s", "found, Zipf 1"])


def markdown(table: pd.DataFrame) -> str:
    """As Markdown, three digits."""
    rows = [[_text(value) for value in row] for row in table.itertuples(index=False, name=None)]
    lines = [" | ".join(row) for row in [[str(name) for name in table.columns], ["---"] * table.shape[1], *rows]]
    return "\n".join(f"| {line} |" for line in lines)


def _text(value: object) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
