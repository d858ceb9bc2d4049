"""Ways to predict the same rows: operator layers with and without engine profiles and load generators, and constants from elsewhere."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pandas as pd
import yaml
from joblib import Parallel, delayed

from mist_dse.catalog import Catalog, conf_dir
from mist_dse.catalog_schema import ENGINE_SECONDS
from mist_dse.specs.engine import EngineProfile
from mist_dse.validate.fit import FUSING
from mist_dse.validate.run import Setup, predictions

PLAIN = {"arrivals": "closed", "length_ratio": 1.0, "prompts_per_client": 3, "statistic": "mean", "max_num_seqs": "concurrency"}
"""A load generator that knows nothing of the benchmark: lengths as stated, three prompts per client, no launch flags."""

CATALOG = Catalog()
PROFILES = {name: CATALOG.engine(name) for name in CATALOG.names("engine")}


class Way(NamedTuple):
    """Where operators, profiles (by name; empty: the catalogue's) and the load come from."""

    name: str
    operators: str = "coefficients"
    profiles: tuple[EngineProfile, ...] = ()
    plain: bool = False


def neutral() -> tuple[EngineProfile, ...]:
    """Every profile with no times and no factors."""
    zero = {field.name: field.default for field in fields(EngineProfile) if field.name in ENGINE_SECONDS or field.name.endswith("_factor")}
    return tuple(replace(profile, graph_sizes=(), **zero) for profile in PROFILES.values())


def everywhere(name: str) -> tuple[EngineProfile, ...]:
    """The constants of profile ``name`` in place of every other's.

    Which engines fuse the quantisation of a product's input is no constant: it stays theirs, at the cost of the fit's prior.
    """
    kept = ("name", "family", "built", "accelerators", "models")
    one, prior = PROFILES[name], next(constant.prior for constant in FUSING if constant.field == "quantise_saving")
    found = []
    for profile in PROFILES.values():
        own = {field: getattr(profile, field) for field in kept}
        found.append(replace(one, quantise_saving=prior if profile.quantise_saving > 0 else 0.0, **own))
    return tuple(found)


def pooled() -> tuple[EngineProfile, ...]:
    """Profiles that stand for no accelerator in particular: every row falls to the one that bears its engine's name."""
    return tuple(replace(profile, accelerators=()) for profile in PROFILES.values())


def exchanged() -> tuple[EngineProfile, ...]:
    """Every profile of one architecture in place of the other's: Hopper rows are predicted by what was fitted on Blackwell, and back."""
    hopper, blackwell = ({name for profile in PROFILES.values() if one in profile.accelerators for name in profile.accelerators}
                         for one in ("h100_sxm", "b200"))  # fmt: skip
    swap = {True: tuple(sorted(blackwell)), False: tuple(sorted(hopper))}
    return tuple(replace(profile, accelerators=swap["h100_sxm" in profile.accelerators] if profile.accelerators else ())
                 for profile in PROFILES.values())  # fmt: skip


def predicted(rows: pd.DataFrame, way: Way) -> pd.DataFrame:
    """``rows`` predicted in one way, on two cores."""
    with _folders(way) as folders:
        return predictions(rows, Setup(folders, profiles=way.profiles, operators=way.operators), run=_spread)


@contextmanager
def _folders(way: Way) -> Iterator[tuple[Path, ...]]:
    """Folders of the catalogue; for a plain load with every recipe replaced, less the engine build that it names."""
    with TemporaryDirectory() as made:
        target = Path(made) / "benchmark"
        target.mkdir()
        for path in (conf_dir() / "benchmark").glob("*.yaml") if way.plain else ():
            data = yaml.safe_load(path.read_text())
            builds = [rule for rule in data.get("rules", ()) if "profile" in rule["set"]]
            data["rules"] = [{"when": rule["when"], "set": {"profile": rule["set"]["profile"]}} for rule in builds]
            (target / path.name).write_text(yaml.safe_dump(data | {"set": PLAIN}))
        yield (Path(made), conf_dir())


def _spread(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    return list(Parallel(n_jobs=2)(delayed(function)(item) for item in items))
