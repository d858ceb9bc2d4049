"""Published vLLM runs replayed through the simulator: errors of distributions, and whose they are: see README.md.

Usage: ``MIST_DSE_DATA=/path/to/data python studies/serving_runs/run.py [engine]`` (default: vllm, for the coefficients); half a
minute. Reads serving_runs/ and profiles/llmservingsim/; writes errors.csv and curves.svg beside this file.
"""

import sys
from pathlib import Path

import pandas as pd
from catalogue import apex, rtx_pro_6000
from figure import figure
from profiled import TARGETS, ablations, case, cost_of, inferences, report

HERE, NAMES = Path(__file__).parent, ("Llama-3.1-8B", "Qwen3-32B")


def printed(title: str, table: pd.DataFrame) -> None:
    """A table with its title."""
    print(title, table.to_string(float_format="{:.3g}".format, na_rep=""), sep="\n", end="\n\n")


def judged(errors: pd.DataFrame) -> pd.DataFrame:
    """Targets beside what was measured."""
    wanted = TARGETS | {"running rms": 5, "waiting rms": 5}
    table = errors.pivot(index="statistic", columns="run", values="profile").loc[list(wanted)].assign(target=list(wanted.values()))
    return table.assign(met=(table[list(NAMES)].abs().max(axis=1) <= table["target"]).map({True: "yes", False: "NO"}))


def separations() -> pd.DataFrame:
    """How well the separable step cost stands for the profile, errors of step times in %, contexts and histories to 4,096."""
    table = {}
    for name in NAMES:
        found = cost_of(name)[1]
        error = 100 * found.loc[(found["history"] <= 4096) & (found["context"] <= 4096), "error"]
        table[name] = {"rows": len(error), "mean": error.mean(), "mean |.|": error.abs().mean(), "p95 |.|": error.abs().quantile(0.95)}
    return pd.DataFrame(table)


def main(engine: str) -> None:
    """Everything that the README states."""
    cases = [case(name) for name in NAMES]
    reports = [report(one) for one in cases]
    errors, curves = (pd.concat([found[part] for found in reports], ignore_index=True) for part in (0, 1))
    peers = rtx_pro_6000(engine).melt(["run", "by"], var_name="statistic").pivot(index=["run", "statistic"], columns="by", values="value")
    errors = errors.join(peers, on=["run", "statistic"])[["run", "statistic", "profile", "scheduler", "operators", *peers.columns]]
    errors.round(2).to_csv(HERE / "errors.csv", index=False)
    (HERE / "curves.svg").write_text(figure(curves))
    printed("Targets (%), operator profile of the machine", judged(errors))
    printed("Signed errors in %, and whose they are", errors)
    printed("Separable step cost against the profile, %", separations())
    printed("What if, errors in %", ablations(cases))
    printed("A constant per step inferred on one part, errors in % on all of both runs", inferences(cases))
    printed("8 x H100, vLLM 0.6.0", apex(engine).T)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "vllm")
