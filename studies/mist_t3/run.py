"""MIST's T3 simulated whole: its designs and ours counted, the seconds that takes, and what is best by its own criterion.

Usage: ``python studies/mist_t3/run.py [RATE]``; both workloads at RATE (100) requests/s on two workers, some ten seconds.
"""

import sys
import time

import pandas as pd
import t3

VENDOR = {"h200": "NVIDIA", "b200": "NVIDIA", "gb300": "NVIDIA", "etched": "Etched", "mi350x": "AMD", "mi355x": "AMD"}
WORKERS = 2


def described(table: t3.DesignTable) -> pd.DataFrame:
    """Accelerators of every design, and its vendor in MIST's words: mixed where its two kinds differ at all."""
    found = table.columns(["pools.prefill.accelerator", "pools.decode.accelerator"], 0, len(table))
    first = pd.Series(found["pools.prefill.accelerator"])
    second = pd.Series(found["pools.decode.accelerator"]).where(lambda value: value.notna(), first)
    vendor = first.map(VENDOR).fillna("Google").where(first == second, "mixed")
    return pd.DataFrame({"kinds": first.where(first == second, first + " + " + second), "vendor": vendor})


def best(rows: pd.DataFrame) -> pd.DataFrame:
    """The design of each vendor with the most tokens/s per USD/h."""
    rows = rows.assign(worth=rows["output_tokens_per_s"] / rows["usd_per_hour"])
    return rows.loc[rows.groupby("vendor")["worth"].idxmax(), ["vendor", "kinds", "worth", "ttft_p99", "usd_per_hour"]]


def main(rate: float = t3.RATE) -> None:
    """Print counts, times and answers."""
    catalog = t3.catalog()
    prices, spent, busy, whole = catalog.prices("mist_t3"), 0.0, 0.0, 0
    table = t3.space_of(catalog).table(prices)
    t3.warm_up(t3.Evaluator(workload=(asked := t3.requests_of("chat"))[0], requests=asked[1], prices=prices), table.design(0))
    for use, slo in t3.SLO.items():
        workload, requests = t3.requests_of(use, rate)
        evaluator = t3.Evaluator(workload=workload, requests=requests, prices=prices, constraints=(slo,))
        started = time.perf_counter()
        rows, processor = t3.simulated(table, evaluator, workers=WORKERS)
        seconds = time.perf_counter() - started
        rows = pd.concat([described(table), rows], axis=1)
        fits = rows[rows["completed"] > 0]
        met = fits[fits["ttft_p99"] <= t3.limit(slo)]
        stable = met[~met["violations"].str.contains("saturated")]
        spent, busy, whole = spent + seconds, busy + processor, whole + len(fits)
        print(f"{use}: {len(rows):,} designs, {len(fits):,} fit and were simulated in {seconds:.1f} s; "
              f"{len(met):,} keep {slo}, {len(stable):,} of them also sustain the rate")  # fmt: skip
        print(best(met).round(3).to_string(index=False) if len(met) else "  none")
    print(f"T3: {whole:,} simulations in {spent:.1f} s by {WORKERS} workers, {busy:.1f} s of a processor (MIST: 24 to 48 h)")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
