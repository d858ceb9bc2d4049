"""The run folder: parts while a search runs, results, front, manifest and journal at its end (the promise of the interface).

``parts/ID.parquet`` holds finished designs; it is written beside its name, synced and renamed, so a reader sees whole parts only.
Resuming reads all parts; what they hold is not run again. A part that cannot be read is set aside and its designs run again. A lock
that ends with its process keeps two searches from writing one folder.
"""

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING, Any

from mist_dse.explore.errors import StoreError
from mist_dse.explore.runs.record import Row, chunk_id, is_aside

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run folder on disk; `new` and `existing` lock it for this process."""

    path: Path
    _lock: Any = field(default=None, repr=False, compare=False)

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
        return cls(folder.path, _locked(folder.path))

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
        lock = _locked(folder.path)
        folder.parts.mkdir(exist_ok=True)
        for left in (*folder.path.glob(".*.tmp"), *folder.parts.glob(".*.tmp")):  # of a writer that was killed
            left.unlink(missing_ok=True)
        return cls(folder.path, lock)

    @property
    def parts(self) -> Path:
        """The folder of finished chunks."""
        return self.path / "parts"

    @property
    def manifest_path(self) -> Path:
        """The manifest."""
        return self.path / "manifest.json"

    def write_part(self, rows: Sequence[Row]) -> Path:
        """Finished designs, all of them or none: the columns of the results. Equal designs make an equal name."""
        import pyarrow.parquet as pq

        path, table = self.parts / f"{chunk_id([row['design_id'] for row in rows])}.parquet", _arrow(rows)
        _replaced(path, partial(pq.write_table, table, use_dictionary=False, write_statistics=False))
        return path

    def rows(self, *, retry: bool = False) -> dict[str, Row]:
        """Every row of every part, by design id; ``retry`` leaves out designs that were set aside, so that they are run again.

        A part that cannot be read, as a torn one, is renamed to ``ID.parquet.torn``, with a line in the log.
        """
        import pyarrow.parquet as pq

        found: dict[str, Row] = {}
        for path in sorted(self.parts.glob("*.parquet")):
            try:
                records = pq.read_table(path).to_pylist()
            except Exception as error:
                aside = path.with_name(f"{path.name}.torn")
                path.replace(aside)
                _LOG.warning("%s: cannot be read (%s): now %s, its designs are run again", path, str(error).split("\n")[0], aside.name)
                continue
            for record in records:
                if not is_aside(record) or (not retry and record["design_id"] not in found):
                    found[record["design_id"]] = {name: value for name, value in record.items() if value is not None or not _own(name)}
        return found

    def write_tables(self, results: "pd.DataFrame", front: "pd.DataFrame") -> None:
        """``results.parquet`` and ``front.parquet``."""
        for name, table in (("results", results), ("front", front)):
            _replaced(self.path / f"{name}.parquet", partial(table.to_parquet, index=False))

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """``manifest.json``."""
        _write(self.manifest_path, (json.dumps(manifest, indent=2, default=str) + "\n").encode())

    def write_resolved(self, resolved: Mapping[str, Any]) -> None:
        """``resolved.yaml``: everything that the search was asked."""
        import yaml

        _write(self.path / "resolved.yaml", yaml.safe_dump(dict(resolved), sort_keys=False, allow_unicode=True, width=120).encode())

    def write_journal(self, study: Any) -> None:
        """``journal.log``: every trial of an Optuna study, written at once; opens in optuna-dashboard."""
        from mist_dse.explore.runs.journal import journal

        _write(self.path / "journal.log", journal(study))


def frame(rows: Sequence[Row]) -> "pd.DataFrame":
    """Rows as a table: every column that any row has, those that only some have last and sorted; absent numbers nan."""
    import pandas as pd

    data = pd.DataFrame.from_records(list(rows))
    for column in data.columns:
        if data[column].dtype == object and data[column].isna().any() and all(isinstance(v, int | float) for v in data[column].dropna()):
            data[column] = pd.to_numeric(data[column])
    shared = [name for name in data.columns if not _own(str(name))]
    return data[[*shared, *sorted(name for name in data.columns if _own(str(name)))]]


def _arrow(rows: Sequence[Row]) -> Any:
    """Rows as an Arrow table: every column that any row has; values keep their types, a mixed column becomes text."""
    import pyarrow as pa

    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            columns[name] = pa.array([None if value is None else str(value) for value in values])
    return pa.table(columns)


def _own(column: str) -> bool:
    """Whether a column is of single designs, as of a pool that others do not have."""
    return column.startswith(("breakdown/", "pool/"))


def _write(path: Path, content: bytes) -> None:
    _replaced(path, lambda beside: beside.write_bytes(content))


def _replaced(path: Path, write: Callable[[Path], object]) -> None:
    """``path`` as ``write`` writes it, whole and on the disk, or as it was; ``StoreError`` in one line where there is no room."""
    beside = path.with_name(f".{path.name}.tmp")
    try:
        write(beside)
        _synced(beside)
        beside.replace(path)
        _synced(path.parent)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        why = os.strerror(error.errno) if error.errno else " ".join(str(error).split())
        raise StoreError(f"{path}: cannot be written ({why}): what is finished is kept; make room and go on with resume=") from None


def _synced(path: Path) -> None:
    """Wait until the disk has it; folders cannot be synced everywhere."""
    try:
        number = os.open(path, os.O_RDONLY)
    except OSError:
        if path.is_dir():
            return
        raise
    try:
        os.fsync(number)
    except OSError:
        if not path.is_dir():
            raise
    finally:
        os.close(number)


def _locked(folder: Path) -> Any:
    """The folder's lock, held until the process ends or nobody refers to it; None where a file system has no locks.

    A POSIX record lock: it leaves with its process however that ends, so that none goes stale, and holds across hosts on NFS.
    """
    try:
        import fcntl
    except ImportError:
        return None
    path = folder / ".lock"
    try:
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from None
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        raise StoreError(f"{folder}: {holder} is writing to it: wait for it, end it, or choose another folder") from None
    except OSError:
        return file
    with suppress(OSError):
        file.truncate(0)
        file.write(f"process {os.getpid()} on {gethostname()}\n")
        file.flush()
    return file


_LOG = logging.getLogger(__name__)
