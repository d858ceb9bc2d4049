"""The run folder: parts while a search runs, results, front, manifest and journal at its end (the promise of the interface).

``parts/ID.parquet`` holds one finished chunk; it is written beside its name and renamed, so a reader sees whole parts only.
Resuming reads all parts; what they hold is not run again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mist_dse.explore.errors import StoreError
from mist_dse.explore.record import Row, chunk_id

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run folder on disk."""

    path: Path

    @classmethod
    def new(cls, path: str | Path) -> "RunFolder":
        """An empty run folder at ``path``; ``StoreError`` if a run stands there already or it cannot be written."""
        folder = cls(Path(path))
        if folder.manifest_path.exists() or any(folder.parts.glob("*.parquet")):
            raise StoreError(f"{path}: holds a run already: choose another folder, or go on with it by resume={path}")
        try:
            folder.parts.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{path}: cannot be written ({error.strerror})") from None
        return folder

    @classmethod
    def existing(cls, path: str | Path, identity: Mapping[str, str]) -> "RunFolder":
        """The folder of an earlier run of the same search; ``StoreError`` naming the part that differs."""
        folder = cls(Path(path))
        if not folder.manifest_path.exists():
            raise StoreError(f"{path}: is not a run folder (it has no manifest.json): give the folder of an earlier sweep")
        try:
            before = json.loads(folder.manifest_path.read_text(encoding="utf-8")).get("identity", {})
        except json.JSONDecodeError as error:
            raise StoreError(f"{folder.manifest_path}: is not JSON ({error})") from None
        changed = [name for name, value in identity.items() if before.get(name) != value]
        if changed:
            raise StoreError(f"{path}: was run with another {', '.join(changed)}: resume with the same, or start a new folder")
        folder.parts.mkdir(exist_ok=True)
        return folder

    @property
    def parts(self) -> Path:
        """The folder of finished chunks."""
        return self.path / "parts"

    @property
    def manifest_path(self) -> Path:
        """The manifest."""
        return self.path / "manifest.json"

    def write_part(self, table: "pd.DataFrame") -> Path:
        """One finished chunk, whole or not at all: the columns of the results."""
        path = self.parts / f"{chunk_id(list(table['design_id']))}.parquet"
        _write_parquet(table, path)
        return path

    def rows(self) -> dict[str, Row]:
        """Every row of every part, by design id; ``StoreError`` names a part that cannot be read."""
        import pandas as pd

        found: dict[str, Row] = {}
        for path in sorted(self.parts.glob("*.parquet")):
            try:
                data = pd.read_parquet(path)
            except Exception as error:
                raise StoreError(f"{path}: cannot be read ({str(error).splitlines()[0]}): delete it, its designs are run again") from None
            for record in data.to_dict("records"):
                found[record["design_id"]] = {str(key): None if _missing(value) else value for key, value in record.items()}
        return found

    def write_tables(self, results: "pd.DataFrame", front: "pd.DataFrame") -> None:
        """``results.parquet`` and ``front.parquet``."""
        _write_parquet(results, self.path / "results.parquet")
        _write_parquet(front, self.path / "front.parquet")

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """``manifest.json``."""
        _replace(self.manifest_path, (json.dumps(manifest, indent=2, default=str) + "\n").encode())

    def write_resolved(self, resolved: Mapping[str, Any]) -> None:
        """``resolved.yaml``: everything that the search was asked."""
        import yaml

        _replace(self.path / "resolved.yaml", yaml.safe_dump(dict(resolved), sort_keys=False, allow_unicode=True, width=120).encode())

    def write_journal(self, study: Any) -> None:
        """``journal.log``: every trial of an Optuna study, written at once; opens in optuna-dashboard."""
        import optuna
        from optuna.storages import JournalStorage

        from mist_dse.explore.journal import Collected

        backend = Collected()
        copy = optuna.create_study(study_name=study.study_name, storage=JournalStorage(backend), directions=study.directions)
        for name, value in study.user_attrs.items():
            copy.set_user_attr(name, value)
        copy.add_trials(study.get_trials(deepcopy=False))
        _replace(self.path / "journal.log", backend.content())


def frame(rows: Sequence[Row]) -> "pd.DataFrame":
    """Rows as a table: every column that any row has, in the order of first appearance; absent numbers nan."""
    import pandas as pd

    data = pd.DataFrame.from_records(list(rows))
    for column in data.columns:
        if data[column].dtype == object and data[column].isna().any() and all(isinstance(v, int | float) for v in data[column].dropna()):
            data[column] = pd.to_numeric(data[column])
    return data


def _write_parquet(data: "pd.DataFrame", path: Path) -> None:
    partial = path.with_name(f".{path.name}.tmp")
    data.to_parquet(partial, index=False)
    partial.replace(path)


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.tmp")
    partial.write_bytes(content)
    partial.replace(path)


def _missing(value: Any) -> bool:
    import pandas as pd

    return value is None or value is pd.NA or (isinstance(value, float) and value != value)
