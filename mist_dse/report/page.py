"""The words of a report's page: title, notices, what was searched and how; all text escaped, all numbers from the stored run."""

import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from mist_dse.report.proof import proof_lines
from mist_dse.report.run import Run
from mist_dse.report.shown import DOMINATED, FRONT, INFEASIBLE, SCREENED
from mist_dse.report.stays import outdated
from mist_dse.report.text import number_text, value_text

if TYPE_CHECKING:
    import pandas as pd

FACTS: tuple[tuple[str, str, str], ...] = (
    ("workload", "workload", ""),
    ("designs in the space", "designs_in_space", ""),
    ("screened", "screened", ""),
    ("feasible", "feasible", ""),
    ("excluded by bound at epsilon", "excluded_by_bound", ""),
    ("wall time", "wall_s", "s"),
    ("search", "search", ""),
    ("seed", "seed", ""),
    ("started", "started", ""),
)
"""Title of a fact, its key in the manifest, its unit."""

HEAD = ("asked for", "workload", "designs in the space", "simulated", "on the front")
"""Titles of the facts that stand at the top; the others are folded away."""

LONGEST = 60_000
"""Characters of one appendix (manifest, configuration) that a page carries."""


def title(run: Run) -> str:
    """What the page is called: the run folder's name."""
    return f"Run {run.path.resolve().name}"


CERTIFICATES: dict[str, str] = {
    "exact": "Certified exact: every design that was not simulated is excluded by a bound, so no better front exists in the space.",
    "epsilon": "Certified within 2%: no design left is more than 2% better than some member of the front in every objective.",
    "none": "Not certified: some designs are left on the word of the screen alone.",
    "not certifiable": "Not certifiable: an objective has no bound, so no amount of bounding proves the front.",
}
"""What a run's certificate means, by its name."""


def certificate_words(run: Run) -> str:
    """What is proved of the front, in words; empty where the run does not say."""
    found = str(run.manifest.get("certificate") or "")
    if not found or not len(run.front):
        return ""
    lines = dict(proof_lines(run.manifest))
    reason = str(run.manifest.get("certificate_reason") or "")
    parts = [
        CERTIFICATES.get(found, f"Certificate: {found}."),
        reason and f"{reason[:1].upper()}{reason[1:]}.",
        f"Simulated: {lines['simulated']}." if "simulated" in lines else "",
    ]
    return " ".join(part for part in parts if part)


def facts(run: Run, rows: "pd.DataFrame") -> list[tuple[str, str]]:
    """What was searched: sizes, certificate, wall time per phase, seed, versions; what the manifest does not say is left out."""
    found = [(name, text) for name, key, unit in FACTS if (text := _fact_text(run.manifest.get(key), unit))]
    goals = "; ".join([*(str(item) for item in run.objectives), *(limit.text for limit in run.limits if not limit.each)])
    promised = "; ".join(limit.text for limit in run.limits if limit.each)
    stored = f"{_count(len(run.results), 'row')}, {_count(run.results['design_id'].nunique(), 'design')}"
    versions = run.manifest.get("versions")
    told = {name: versions[name] for name in ("mist_dse", "python") if name in versions} if isinstance(versions, Mapping) else versions
    tail = [("versions", text)] if (text := _fact_text(told, "")) else []
    return [
        ("asked for", goals),
        *([("promised, counted by slo_attainment, no constraint", promised)] if promised else []),
        ("on the front", f"{_count(len(run.front), 'design')}, {run.fidelity}"),
        ("stored", stored),
        *(line for line in proof_lines(run.manifest) if line[0] != "by bound"),
        *found,
        *tail,
    ]


def notices(run: Run, rows: "pd.DataFrame") -> list[str]:
    """What a reader must know before the numbers: unfinished, nothing feasible, something left out."""
    counts = rows["kind"].value_counts().to_dict() if "kind" in rows.columns else {}
    told = []
    if not run.complete:
        told.append(
            "This run is still being written: the front is that of the results stored so far, and can still move. "
            f"If it was killed, mist-dse sweep resume={run.path.resolve().name} goes on."
        )
    elif run.manifest.get("status") == "interrupted":
        told.append("This search was interrupted: the front is that of the results stored until then.")
    if counts.get(INFEASIBLE):
        told.append(f"No feasible design was found. Shown are the {counts[INFEASIBLE]:,} nearest misses, with what they violate.")
    if not len(rows):
        told.append("No stored design has a value for every objective, so there is nothing to draw.")
    if outdated(run):
        told.append(f"The shares of robustness are older than the results: 'mist-dse robustness {run.path}' draws them anew.")
    if len(run.front) > counts.get(FRONT, 0):
        told.append(
            f"The front has {len(run.front):,} designs; the best {counts.get(FRONT, 0):,} are shown here and front.csv holds all of them."
        )
    return told


def caption(run: Run, rows: "pd.DataFrame", *, stays: bool = False) -> str:
    """How to read the plot: what is behind the front and how much of it; ``stays``: the run stored how often members stay on it."""
    counts = rows["kind"].value_counts().to_dict() if "kind" in rows.columns else {}
    behind = [f"{counts[kind]:,} {words}" for kind, words in ((DOMINATED, "dominated"), (SCREENED, "only screened")) if counts.get(kind)]
    feasible = int(run.results["feasible"].astype(bool).sum())
    sample = f" Behind the front: {' and '.join(behind)}, of {feasible:,} feasible rows stored." if behind else ""
    line = " The line encloses what the front attains in this plane." if counts.get(FRONT) else ""
    faint = " Fainter members leave the front more often as prices, predictions, load or seed change." if stays else ""
    return f"Hover for the design, click to choose it, shift-click to compare.{sample}{line}{faint}"


def facts_html(items: Iterable[tuple[str, str]]) -> str:
    """Facts as a definition list."""
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in items)


def notices_html(items: Iterable[str]) -> str:
    """Notices as paragraphs that assistive technology announces."""
    return "".join(f'<p class="notice" role="status">{escape(text)}</p>' for text in items)


def appendix_html(name: str, data: Mapping[str, Any]) -> str:
    """A mapping as folded text, cut at `LONGEST` characters; nothing for an empty one."""
    if not data:
        return ""
    text = json.dumps(data, indent=1, default=str, ensure_ascii=False)
    text = text if len(text) <= LONGEST else text[:LONGEST] + "\n..."
    return f"<details><summary>{escape(name)}</summary><pre>{escape(text)}</pre></details>"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _fact_text(value: Any, unit: str) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {text}" for key, item in value.items() if (text := _fact_text(item, unit)))
    if isinstance(value, list | tuple):
        return ", ".join(_fact_text(item, unit) for item in value)
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return value_text(float(value), unit) if unit else f"{value:,}"
    if isinstance(value, float):
        return value_text(value, unit) if unit else number_text(value)
    return str(value)
