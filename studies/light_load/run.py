"""How far bound, steady and simulated lie apart at light load, pipeline by pipeline: `python studies/light_load/run.py`.

Requests of 512 and 128 tokens, Poisson (the KV pipeline: packaged sessions), at two loads: rate x E2E = 0.05, where requests hardly
meet, and the rate at which the busiest server's demand is 0.05, where decode batches already hold several.
"""

import csv
import sys
from pathlib import Path

import mist_dse as md
from mist_dse.analytic import demand
from mist_dse.catalog import Catalog
from mist_dse.requests import realise
from mist_dse.stages import Lowered, lower

HERE = Path(__file__).parent
CATALOG = Catalog()


def workload(pipeline: str, rate: float) -> md.Workload:
    """500 requests."""
    if pipeline == "kv_retrieval_chat":
        return CATALOG.workload("sessions", rate=rate, requests=500)
    return md.Workload.poisson(rate=rate, input_tokens=512, output_tokens=128, requests=500, seed=1)


def rates(name: str, design: md.Design) -> dict[str, float]:
    """The two rates, 1/s."""
    asked = realise(workload(name, 0.01))
    rows = lower(design, asked)
    assert isinstance(rows, Lowered), rows
    most = max(value for row in demand(rows.servers, rows.jobs, asked).values() for value in row.values())
    alone = md.evaluate(design, workload(name, 1e-4), fidelity="bound").metrics["e2e_mean"]
    return {"rate x E2E 0.05": 0.05 / float(alone or 1.0), "demand 0.05": 0.01 * 0.05 / most}


def main() -> None:
    """A row for each pipeline and load, also in ``results.csv``."""
    table = []
    for name in CATALOG.names("pipeline"):
        design = CATALOG.design("tp4_colocated", model="llama-3.1-70b") if name == "chat" else CATALOG.design(name)
        for load, rate in rates(name, design).items():
            found = {each: md.evaluate(design, workload(name, rate), fidelity=each).metrics for each in ("bound", "steady", "simulated")}
            row: dict[str, object] = {"pipeline": name, "load": load, "rate": f"{rate:.4f}"}
            for metric in ("ttft_mean", "e2e_mean"):
                for each in ("bound", "steady"):
                    row[f"{each} {metric} %"] = f"{100 * (found[each][metric] / found['simulated'][metric] - 1):+.1f}"
            table.append(row)
            sys.stdout.write(", ".join(f"{key} {value}" for key, value in row.items()) + "\n")
    with (HERE / "results.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


if __name__ == "__main__":
    main()
