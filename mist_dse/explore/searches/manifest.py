"""What a run folder records beside its results: who asked for what, with which versions, and hashes that guard a resume."""

import hashlib
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from mist_dse.explore.searches.options import WHEN, Search
from mist_dse.explore.spaces.space import Space
from mist_dse.rows import Requests
from mist_dse.specs.hardware import PriceBook
from mist_dse.specs.workload import Workload


def identity(space: Space, workload: Workload, search: Search, book: PriceBook, requests: Requests) -> dict[str, str]:
    """Hashes of what decides the results, part by part: a run is resumed only if they agree.

    ``requests`` realise the workload: a trace that is named by its file may have been written anew.
    """
    return {
        "space": _hash((space.base.design_id, space.variables, space.where)),
        "workload": _hash((workload, _content(requests))),
        "objectives": _hash([str(goal) for goal in space.objectives]),
        "constraints": _hash(space.constraints),
        "prices": _hash(book),
        "search": _hash({**{key: value for key, value in search.tuning.items() if key not in WHEN}, "seed": search.seed}),
        "calibration": _calibration(),
        "version": _version(),
    }


def head(space: Space, workload: Workload, search: Search, hashes: Mapping[str, str]) -> dict[str, Any]:
    """The manifest's first part; ``hashes`` are those of `identity`."""
    return {
        "command": search.command or " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": _versions(),
        "seed": search.seed,
        "workload_seed": workload.seed,
        "space": space.name,
        "workload": workload.name,
        "search": search.tuning["name"],
        "objectives": [str(goal) for goal in space.objectives],
        "constraints": list(space.constraints),
        "identity": dict(hashes),
        "data_hashes": {name: hashes[name] for name in ("space", "workload", "prices")},
    }


def resolved(space: Space, workload: Workload, search: Search) -> dict[str, Any]:
    """What a library call was asked, as plain data."""
    vary = {item.path: item.plain for item in space.variables}
    return {
        "space": {
            "name": space.name,
            "base": space.base.name or space.base.design_id,
            "vary": vary,
            "where": [str(limit) for limit in space.where],
            "objectives": [str(goal) for goal in space.objectives],
            "constraints": list(space.constraints),
        },
        "workload": _plain(asdict(workload)),
        "search": {**search.tuning, "seed": search.seed, "evaluations": search.evaluations, "seconds": search.seconds},
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _content(requests: Requests) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for column in requests:
        digest.update(column.tobytes() if isinstance(column, np.ndarray) else repr(column).encode())
    return digest.hexdigest()


def _calibration() -> str:
    """Hash of the packaged fits, whose files may have been made anew."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(files("mist_dse").joinpath("data").iterdir(), key=lambda each: each.name):
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _hash(value: Any) -> str:
    return hashlib.blake2b(repr(value).encode(), digest_size=8).hexdigest()


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    ours = {"mist_dse": _version(), "python": sys.version.split()[0], "platform": f"{sys.platform}, {os.cpu_count()} cores"}
    return ours | {name: version(name) for name in ("numpy", "numba", "optuna", "moocore", "joblib", "pyarrow")}


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("mist_dse")
    except PackageNotFoundError:
        return "source tree"
