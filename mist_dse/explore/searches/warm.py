"""A search that starts from another run: its designs come first, and its rows are taken over where they mean the same.

Rows are taken over if workload, prices, constraints and version of the other run are those of this one (the hashes of `manifest`), design
by design if the id is the same; they cost nothing and count as known. Otherwise the designs of its front are simulated first.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mist_dse.explore.errors import StoreError
from mist_dse.explore.runs.record import Row
from mist_dse.explore.spaces.space import Space
from mist_dse.specs._check import SpecError

if TYPE_CHECKING:
    import pandas as pd

AGREE = ("workload", "prices", "constraints", "calibration", "version")
"""Parts of a run's identity that decide what its rows say."""


class Warm(NamedTuple):
    """``first``: values of the designs to propose first; ``known``: rows by design id; ``reason`` why there are none."""

    first: tuple[dict[str, Any], ...] = ()
    known: Mapping[str, Row] = {}
    reason: str = ""

    def as_manifest(self, folder: str) -> dict[str, Any]:
        """The entry of the manifest."""
        return {"folder": folder, "designs": len(self.first), "rows": len(self.known), "reason": self.reason}


def warm_start(folder: str | Path, space: Space, identity: Mapping[str, str]) -> Warm:
    """What another run knows of ``space``; ``StoreError`` where its folder cannot be read."""
    manifest, results = _read(Path(folder))
    before = manifest.get("identity", {})
    other = [name for name in AGREE if before.get(name) != identity[name]]
    if other:
        names = set(_read_table(Path(folder) / "front.parquet")["design_id"])
        found = _designs(space, [row for row in results if row["design_id"] in names])
        return Warm(tuple(values for values, _, _ in found), {}, f"another {', '.join(other)}: the designs of its front come first")
    found = _designs(space, results)
    same = [(values, key, row) for values, key, row in found if key == row["design_id"]]
    known = {key: {name: value for name, value in row.items() if name not in space.paths} for _, key, row in same}
    return Warm(tuple(values for values, _, _ in same), known, "")


def _designs(space: Space, rows: Sequence[Row]) -> list[tuple[dict[str, Any], str, Row]]:
    """The values of those rows that are designs of the space, with their ids there."""
    found = []
    allowed = {variable.path: space.values_of(variable) for variable in space.variables}
    for row in rows:
        values: dict[str, Any] = {}
        for variable in space.variables:
            if space.active(variable, values) and row.get(variable.path) in allowed[variable.path]:
                values[variable.path] = row[variable.path]
        if all(variable.path in values or not space.active(variable, values) for variable in space.variables):
            try:
                found.append((values, space.design(values).design_id, row))
            except SpecError:
                continue
    return found


def _read(folder: Path) -> tuple[dict[str, Any], list[Row]]:
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        raise StoreError(
            f"search.warm_start={folder}: is not a run folder (no manifest.json to read): give the folder of a sweep"
        ) from None
    table = _read_table(folder / "results.parquet")
    records = table.astype(object).where(table.notna(), None).to_dict("records")
    return manifest, [{str(name): value for name, value in record.items()} for record in records]


def _read_table(path: Path) -> "pd.DataFrame":
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except Exception as error:
        raise StoreError(f"search.warm_start: {path} cannot be read ({str(error).splitlines()[0]}): finish that run first") from None
