"""How fast searches find the fronts of spaces that were simulated whole: `python studies/search_quality/run.py [SAMPLER ...]`."""

import sys

import numpy as np
from quality import SHARES, SMALL, Case, curve, scene, simulated
from spaces import SPACES, TRACES, TRUTH, truth

SAMPLERS = ("screen", "screen without refit", "nsga2 from the screen's front", "nsga2", "tpe", "random")
TARGETS = {  # hypervolume and share of members wanted at a share of the simulations
    ("large", 2): {0.0025: (0.999, 0), 0.01: (0, 1)},
    ("large", 3): {0.005: (0.995, 0), 0.01: (0.999, 0), 0.02: (0, 0.9), 0.05: (0, 1)},
    ("small", 2): {0.02: (0.995, 0), 0.05: (1, 0)},
    ("small", 3): {0.02: (0.995, 0), 0.05: (1, 0)},
}
SHORT = 0.1


def cases(name: str, objectives: int) -> list[Case]:
    """The cases of a space whose truth is there, and has a front."""
    there = [trace for trace in TRACES if (TRUTH / f"{name}_{trace}.parquet").exists()]
    return [Case(name, trace, objectives) for trace in there if truth(name, trace)["feasible"].any()]


def table(size: str, objectives: int, samplers: list[str]) -> bool:
    """Print the quality of every sampler at every share; whether ours meets its targets on every space."""
    print(f"\n{size} spaces, {objectives} objectives: hypervolume/members, medians of the traces (worst hypervolume)")
    met = True
    for name in SPACES:
        found = cases(name, objectives)
        if not found or (len(scene(found[0])[0].table) <= SMALL) != (size == "small"):
            continue
        print(f"{name}: members of the front: {', '.join(f'{case.trace} {scene(case)[2].members}' for case in found)}")
        print(f"  {'simulated':30}" + "".join(f"{share:>21.2%}" for share in SHARES[size]))
        for sampler in samplers:
            values = np.array([curve(case, sampler) for case in found])
            middle, worst = np.median(values, axis=0), values[:, :, 0].min(axis=0)
            cells = ("-" if np.isnan(w) else f"{m[0]:.4f}/{m[1]:.2f} ({w:.4f})" for m, w in zip(middle, worst, strict=True))
            print(f"  {sampler:30}" + "".join(f"{cell:>21}" for cell in cells), flush=True)
            if sampler == "screen":
                at = dict(zip(SHARES[size], middle, strict=True))
                met &= all((np.round(at[share], 4) >= wanted).all() for share, wanted in TARGETS[size, objectives].items())
    return met


def short_runs(case: Case, most: int = 160) -> None:
    """Print what short runs first are worth: quality at equal cost, short runs counted by their share of the requests."""
    for short in (None, SHORT):
        found, loop = simulated(case, "screen", most, short=short)
        volume, members = scene(case)[2].of(found)
        whole = sum(not row.get("same_as") for row in loop.rows.values())
        print(f"{case.trace}, short {short}: {whole} whole runs, {loop.seen.spent:.0f} in all: {volume:.4f}/{members:.2f}")


def main(samplers: list[str]) -> None:
    """Every table; where ours is among the samplers, whether it meets its targets, and what short runs are worth."""
    results = {key: table(*key, samplers) for key in TARGETS}
    if "screen" not in samplers:
        return
    print("\n" + "\n".join(f"targets, {size}, {count} objectives: {'met' if met else 'MISSED'}" for (size, count), met in results.items()))
    for small in (case for name in SPACES for case in cases(name, 3) if len(scene(case)[0].table) <= SMALL):
        short_runs(small)


if __name__ == "__main__":
    main(sys.argv[1:] or list(SAMPLERS))
