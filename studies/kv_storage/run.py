"""Which place for KV cache is best at which rate: prints the tables, writes results.csv and figure.svg and renews README.md (2 minutes)."""

import re
from pathlib import Path

import pandas as pd
from architectures import HERMES, link_load, p90
from figure import figure
from tables import LINKS, WORLDS, comparison, flips, loads, markdown, verdicts

HERE = Path(__file__).parent
RATES = (5, 10, 20, 40, 60, 80, 120, 180, 240)
"""Requests/s of all 128 clients."""


def results() -> pd.DataFrame:
    """p90 of the time to first token of every architecture, and how busy its links are; with T4's links contention alone is asked for."""
    lines = []
    for links, stores in LINKS.items():
        for context in (4_096, 24_576):
            for world, parts in WORLDS.items() if stores is HERMES else [(name, WORLDS[name]) for name in ("bare links", "contention")]:
                for rate in RATES:
                    for name, store in stores.items():
                        busy = link_load(store, context, rate, capacity=parts.capacity) if store.clients else 0.0
                        lines.append((links, context, world, rate, name, p90(store, context, rate, parts), busy))
    return pd.DataFrame(lines, columns=["links", "context", "world", "rate", "architecture", "p90_s", "link_busy"])


if __name__ == "__main__":
    found = results()
    four = found[found["architecture"] != "C+DCN"]
    tables = {"verdicts": verdicts(found), "verdicts of four": verdicts(four), "flips": flips(found), "flips of four": flips(four),
              "comparison": comparison(found), "loads": loads()}  # fmt: skip
    text = (HERE / "README.md").read_text("utf-8")
    for name, table in tables.items():
        shown = markdown(table)
        print(f"{name}\n{shown}\n")
        text = re.sub(rf"(?<=<!-- {name} -->\n).*?(?=\n<!-- end -->)", shown, text, flags=re.DOTALL)
    (HERE / "README.md").write_text(text, encoding="utf-8")
    found.round(4).to_csv(HERE / "results.csv", index=False)
    (HERE / "figure.svg").write_text(figure(found), encoding="utf-8")
