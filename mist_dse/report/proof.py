"""What a search says of itself, in lines for people: what its certificate proves, what was simulated, how right the screen was."""

from collections.abc import Iterator, Mapping
from typing import Any


def proof_lines(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Titles and texts from a run's manifest; what it does not say is left out.

    >>> proof_lines({"certificate": "exact", "certificate_reason": "all was simulated", "simulated": 12, "designs_in_space": 12,
    ...              "share_simulated": 1.0})
    [('certificate', 'exact: all was simulated'), ('simulated', '12 of 12 designs, 100%')]
    """
    lines = (("certificate", _certificate(manifest)), ("simulated", ", ".join(_simulated(manifest))), ("by bound", _excluded(manifest)),
             ("screen", "; ".join(_screen(manifest))))  # fmt: skip
    return [(title, text) for title, text in lines if text]


def _certificate(manifest: Mapping[str, Any]) -> str:
    found, reason = manifest.get("certificate"), manifest.get("certificate_reason")
    if not found and manifest.get("status") == "done":
        return "none: the search ended before its bounds were taken; mist-dse sweep resume=RUN takes them"
    return f"{found}: {reason}" if found and reason else str(found or "")


def _simulated(manifest: Mapping[str, Any]) -> Iterator[str]:
    count, designs, share = (_number(manifest, name) for name in ("simulated", "designs_in_space", "share_simulated"))
    if count is None:
        return
    yield f"{count:,} of {designs:,.0f} designs" if designs else f"{count:,} designs"
    if share is not None:
        yield f"{100 * share:.3g}%"
    for name, text in (("copied_from_class", "{:,} of the same outcome copied"), ("short_runs", "{:,} short runs"),
                       ("discarded_by_short_runs", "{:,} discarded by them"), ("set_aside", "{:,} set aside")):  # fmt: skip
        if number := _number(manifest, name):
            yield text.format(number)


def _excluded(manifest: Mapping[str, Any]) -> str:
    left, excluded = _number(manifest, "left_unsimulated"), manifest.get("excluded_by_bound")
    counts = {name: number for name in excluded if (number := _number(excluded, name)) is not None} if isinstance(excluded, Mapping) else {}
    if not left or not counts:
        return ""
    return f"of the {left:,} designs left " + " and ".join(f"{count:,} are excluded at epsilon {name}" for name, count in counts.items())


def _screen(manifest: Mapping[str, Any]) -> Iterator[str]:
    errors = manifest.get("rank_error")
    for metric, error in errors.items() if isinstance(errors, Mapping) else ():
        ends = {name: _number(error, name) for name in ("spearman", "median_error")} if isinstance(error, Mapping) else {}
        texts = {"spearman": "rank correlation {:.3f}", "median_error": "median error {:.1%}"}
        if parts := [texts[name].format(value) for name, value in ends.items() if value is not None]:
            yield f"{metric} {', '.join(parts)}"
    if refits := _number(manifest, "refits"):
        yield f"{refits} refit{'s' if refits > 1 else ''} of the order"
    if hits := _number(manifest, "random_hits_on_front"):
        yield f"{hits} random draws ended on the front: more than the odd one says that the screen is wrong"


def _number(values: Mapping[str, Any], name: str) -> int | float | None:
    """The number of that name; None for what is none."""
    value = values.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
