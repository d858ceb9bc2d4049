"""What each layer of the model is worth on held-out measurements, and how far constants carry: see README.md.

Usage: ``MIST_DSE_DATA=/path/to/data python studies/fidelity/run.py``; three minutes on two cores. Reads measured/, prints the tables
and writes tables.md, ablation.csv and transfer.csv beside this file.
"""

import os
from pathlib import Path

import pandas as pd
from layers import CATALOG, predicted
from tables import by_kind, claims, markdown, missing, removed, transfer
from ways import CHAIN, FULL, WITHOUT, ablation, moves

from mist_dse.validate.measurements import measurements
from mist_dse.validate.quality import judged

HERE = Path(__file__).parent


def held_out() -> pd.DataFrame:
    """Closed-loop rows of one pool that no constant was fitted on, copies and quarantined rows left out."""
    rows = judged(measurements(Path(os.environ["MIST_DSE_DATA"]) / "measured" / "e2e.csv.gz", catalog=CATALOG), CATALOG)
    known = rows[(rows["part"] == "test") & ~rows["duplicate"] & (rows["quarantine"] == "") & (rows["reason"] == "")]
    return known[(known["use_mode"] == "agg") & known["concurrency"].notna() & known["regime"].eq("closed_loop_concurrency")]


if __name__ == "__main__":
    rows = held_out()
    found = {way.name: predicted(rows, way) for way in ablation()}
    table = by_kind(found)
    dense = rows[found[FULL]["kind"] == "dense"]
    moved = transfer({way.name: predicted(dense, way) for way in moves()})
    parts = {
        "Errors by layer, %": markdown(table),
        "Points of MdAPE that each layer removes, one after the other": markdown(removed(table, CHAIN)),
        "Points of MdAPE that come back where one layer is left out": markdown(missing(table, FULL, WITHOUT)),
        "Transfer, dense rows, %": markdown(moved),
        "Claims": markdown(claims(found[FULL], moved), 3),
    }
    text = "\n\n".join(f"## {title}\n\n{part}" for title, part in parts.items())
    print(text)
    (HERE / "tables.md").write_text(f"# Tables of `python studies/fidelity/run.py`\n\n{text}\n")
    table.round(2).to_csv(HERE / "ablation.csv", index=False)
    moved.round(2).to_csv(HERE / "transfer.csv", index=False)
