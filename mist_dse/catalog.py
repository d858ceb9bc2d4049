"""The catalogue: plain YAML files, one thing per file, read on demand into specs.

`Catalog` looks a name up in a search path of folders (a user's own first), follows aliases, and caches what it has read.
`build_design` and `build_workload` turn plain dictionaries into specs, for files and command lines alike. A mistake is one
`CatalogError` line with the nearest names. No Hydra: a notebook reads the same files.
"""

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml

from mist_dse import catalog_schema as schema
from mist_dse.catalog_design import DesignEntry, IndexEntry, PipelineEntry, PoolEntry, design_of, pipeline_of
from mist_dse.catalog_errors import CatalogError, closest, keys_of, located, nearest, validated
from mist_dse.catalog_operators import LAYERS, collectives_of, operators_of, tables_of
from mist_dse.catalog_workload import ArrivalsEntry, WorkloadEntry, slo_of, workload_of
from mist_dse.specs.design import Design
from mist_dse.specs.engine import EngineProfile
from mist_dse.specs.hardware import Accelerator, Host, Link, MemoryTier, OperatorFit, Peaks, Price, PriceBook, Topology, TopologyTier
from mist_dse.specs.model import ModelSpec
from mist_dse.specs.pipeline import Pipeline
from mist_dse.specs.retrieval import Index
from mist_dse.specs.workload import Slo, Workload

__all__ = ["GROUPS", "Catalog", "CatalogError", "build_design", "build_workload", "conf_dir", "load_design", "with_changes"]

GROUPS = ("accelerator", "host", "link", "tier", "topology", "model", "engine", "index", "pipeline", "price", "workload", "design",
          "slo")  # fmt: skip
"""Folders of the catalogue that this module turns into specs."""

OTHER_ITEMS = ("vcpu", "cpu_machine")
"""What a price book may list besides accelerators and hosts: one virtual CPU, one CPU machine."""

T = TypeVar("T")


def conf_dir() -> Path:
    """The packaged ``conf`` folder: inside an installed package, or at the root of a source checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "conf", package.parent / "conf"):
        if folder.is_dir():
            return folder
    raise CatalogError(f"no conf folder beside {package}: reinstall mist_dse, or name your own folders")


class Catalog:
    """Entries by group and name, from ``directories`` in order: the first folder that has a name wins.

    ``operators``: where operator times come from: ``coefficients`` fitted on measured kernels, ``tables`` of them where there
    are any, ``class`` defaults alone, or the speed of ``light`` of the datasheet. ``kernels``: with the fits of single kernels
    and library versions, which only a comparison with measurements asks for.
    """

    def __init__(self, directories: Sequence[Path | str] | None = None, *, operators: str = "coefficients", kernels: bool = False) -> None:
        if operators not in LAYERS:
            raise CatalogError(f"operators={operators!r} is unknown; {nearest(operators, LAYERS)} valid: {', '.join(LAYERS)}")
        self.operators, self.kernels = operators, kernels
        self.directories = tuple(Path(folder) for folder in directories) if directories else (conf_dir(),)
        self._files: dict[str, dict[str, Path]] = {}
        self._aliases: dict[str, dict[str, str]] = {}
        self._data: dict[Path, dict[str, Any]] = {}
        self._specs: dict[tuple[str, str], Any] = {}

    def names(self, group: str) -> list[str]:
        """Names of a group's entries, sorted; ``CatalogError`` for a group that does not exist."""
        return sorted(self._group(group))

    def path(self, group: str, name: str, *, where: str = "") -> Path:
        """The file of an entry, by name or alias; ``CatalogError`` with the nearest names if there is none (``where`` begins its line)."""
        files = self._group(group)
        if name in files:
            return files[name]
        aliases = self._alias_table(group)
        found = aliases.get(_folded(name))
        if found is None:
            close = list(dict.fromkeys(aliases[alias] for alias in closest(_folded(name), aliases, count=12)))[:3]
            raise CatalogError(f"{where}{group} {name!r} is not in the catalogue; {nearest(name, files, close)}")
        return files[found]

    def data(self, group: str, name: str, *, where: str = "") -> dict[str, Any]:
        """An entry's plain data, as written; a copy that may be changed."""
        return copy.deepcopy(self._read(self.path(group, name, where=where)))

    def accelerator(self, name: str, *, where: str = "") -> Accelerator:
        """An accelerator with its scale-up link and fitted operators."""
        return self._spec("accelerator", name, where, self._accelerator)

    def host(self, name: str, *, where: str = "") -> Host:
        """A host CPU socket."""
        return self._spec("host", name, where, lambda name, path: _plain(Host, schema.HostEntry, name, self._read(path), path))

    def link(self, name: str, *, where: str = "") -> Link:
        """A link technology."""
        return self._spec("link", name, where, lambda name, path: _plain(Link, schema.LinkEntry, name, self._read(path), path))

    def tier(self, name: str, *, where: str = "") -> MemoryTier:
        """A memory or storage tier."""
        return self._spec("tier", name, where, lambda name, path: _plain(MemoryTier, schema.TierEntry, name, self._read(path), path))

    def model(self, name: str, *, where: str = "") -> ModelSpec:
        """A model's shape."""
        return self._spec("model", name, where, lambda name, path: _plain(ModelSpec, schema.ModelEntry, name, self._read(path), path))

    def engine(self, name: str, *, where: str = "") -> EngineProfile:
        """An engine profile."""
        return self._spec("engine", name, where, lambda name, path: _plain(EngineProfile, schema.EngineEntry, name, self._read(path), path))

    def topology(self, name: str, *, where: str = "") -> Topology:
        """A topology with its links and host."""
        return self._spec("topology", name, where, self._topology)

    def index(self, name: str, *, where: str = "") -> Index:
        """A vector index."""
        return self._spec("index", name, where, lambda name, path: _plain(Index, IndexEntry, name, self._read(path), path))

    def pipeline(self, name: str, *, where: str = "") -> Pipeline:
        """A pipeline of stages."""
        return self._spec("pipeline", name, where, self._pipeline)

    def prices(self, name: str, *, where: str = "") -> PriceBook:
        """A price book."""
        return self._spec("price", name, where, self._prices)

    def slo(self, name: str, *, where: str = "") -> Slo:
        """A service-level objective."""
        return self._spec("slo", name, where, self._slo)

    def workload(self, name: str, **overrides: Any) -> Workload:
        """A workload; an override is a key of the file, a key of its arrivals (``rate=2``) or a dotted path."""
        path = self.path("workload", name)
        data = with_changes("workload", self._read(path), overrides, where=str(path))
        return build_workload({"name": path.stem} | data, where=str(path), catalog=self)

    def design(self, name: str, **overrides: Any) -> Design:
        """A design; an override is a key of the file, a key of a pool (set in every pool) or a dotted path."""
        path = self.path("design", name)
        data = with_changes("design", self._read(path), overrides, where=str(path))
        return build_design({"name": path.stem} | data, self, where=str(path))

    def _group(self, group: str) -> dict[str, Path]:
        if group not in self._files:
            folders = [folder / group for folder in self.directories if (folder / group).is_dir()]
            if not folders and group not in GROUPS:
                raise CatalogError(f"there is no group {group!r} in the catalogue; {nearest(group, GROUPS)}")
            self._files[group] = {path.stem: path for folder in reversed(folders) for path in folder.glob("*.yaml")}
        return self._files[group]

    def _alias_table(self, group: str) -> dict[str, str]:
        if group not in self._aliases:
            table: dict[str, str] = {}
            for name, path in self._group(group).items():
                data = self._read(path)
                extra = data.get("aliases")
                for alias in (name, data.get("hf_id"), *(extra if isinstance(extra, list) else ())):
                    if isinstance(alias, str) and alias:
                        table.setdefault(_folded(alias), name)
            self._aliases[group] = table
        return self._aliases[group]

    def _read(self, path: Path) -> dict[str, Any]:
        if path not in self._data:
            self._data[path] = _yaml(path)
        return self._data[path]

    def _spec(self, group: str, name: str, where: str, build: Callable[[str, Path], T]) -> T:
        path = self.path(group, name, where=where)
        key = (group, path.stem)
        if key not in self._specs:
            self._specs[key] = build(path.stem, path)
        found: T = self._specs[key]
        return found

    def _accelerator(self, name: str, path: Path) -> Accelerator:
        values = validated(schema.AcceleratorEntry, self._read(path), str(path)).values()
        scale_up = values.pop("scale_up")
        with located(str(path), "operators"):
            operators = tuple(OperatorFit(**fit) for fit in values.pop("operators"))
        with located(str(path), "peaks"):
            peaks = Peaks(**values.pop("peaks"))
        link = self.link(scale_up["link"], where=f"{path}: scale_up.link: ")
        with located(str(path), ""):
            plain = Accelerator(name=name, peaks=peaks, operators=operators, scale_up=link, scale_up_domain=scale_up["domain"], **values)
        fits = operators_of(plain, self.operators, every=self.kernels)
        links = collectives_of(plain, self.operators, every=self.kernels)
        return replace(plain, operators=fits, collectives=links, tables=tables_of(plain, self.operators))

    def _topology(self, name: str, path: Path) -> Topology:
        entry = validated(schema.TopologyEntry, self._read(path), str(path))
        host = self.host(entry.host, where=f"{path}: host: ") if entry.host else None
        tiers = []
        for index, tier in enumerate(entry.tiers):
            link = self.link(tier.link, where=f"{path}: tiers.{index}.link: ") if tier.link else None
            with located(str(path), f"tiers.{index}"):
                tiers.append(TopologyTier(name=tier.name, size=tier.size, link=link, oversubscription=tier.oversubscription))
        with located(str(path), ""):
            return Topology(name=name, tiers=tuple(tiers), host=host, hosts_per_node=entry.hosts_per_node, source=entry.source["default"])

    def _pipeline(self, name: str, path: Path) -> Pipeline:
        entry = validated(PipelineEntry, self._read(path), str(path))
        return pipeline_of(entry, name, str(path))

    def _prices(self, name: str, path: Path) -> PriceBook:
        entry = validated(schema.PriceBookEntry, self._read(path), str(path))
        known = (*self.names("accelerator"), *self.names("host"), *OTHER_ITEMS)
        prices = []
        for item, price in entry.prices.items():
            if item not in known:
                raise CatalogError(f"{path}: prices: {item!r} is neither an accelerator nor a host; {nearest(item, known)}")
            facts = price.model_dump(exclude={"price"})
            with located(str(path), f"prices.{item}"):
                prices.append(Price(item=item, usd_per_hour=price.price, **facts))
        return PriceBook(name=name, prices=tuple(prices), billing=entry.billing, date=entry.date, source=entry.source["default"])

    def _slo(self, name: str, path: Path) -> Slo:
        entry = validated(schema.SloFile, self._read(path), str(path))
        return slo_of(entry, str(path), "")


def load_design(name: str, *, model: str | None = None, accelerator: str | None = None, engine: str | None = None,
                topology: str | None = None, catalog: Catalog | None = None) -> Design:  # fmt: skip
    """The catalogued design ``name`` with the given entries in every pool.

    >>> load_design("tp4_colocated", accelerator="h200").pools[0].accelerator.name
    'h200'
    """
    given = {"model": model, "accelerator": accelerator, "engine": engine, "topology": topology}
    return (catalog or Catalog()).design(name, **{key: value for key, value in given.items() if value is not None})


def with_changes(group: str, data: Mapping[str, Any], changes: Mapping[str, Any], *, where: str = "") -> dict[str, Any]:
    """A copy of the plain data of a design or a workload (``group``) with each change made.

    A change names a key of the file, a key of a pool (set in every pool) or of the arrivals, or a dotted path (``*`` = every one).
    """
    if group == "design":
        part, top, short = "pools.*", keys_of(DesignEntry), keys_of(PoolEntry)
    else:
        part, top, short = "arrivals", keys_of(WorkloadEntry), keys_of(ArrivalsEntry)
    result = copy.deepcopy(dict(data))
    for key, value in changes.items():
        if key.split(".")[0] not in (*top, *short):
            raise CatalogError(f"{where or group}: unknown key {key!r} (value {value!r}); {nearest(key, (*top, *short))}")
        path = key if key.split(".")[0] in top else f"{part}.{key}"
        _put(result, path.split("."), value)
    return result


def _put(data: dict[str, Any], path: list[str], value: Any) -> None:
    head, *rest = path
    if head == "*":
        for name in data:
            _put(data, [name, *rest], value)
    elif not rest:
        data[head] = value
    else:
        inner = data.setdefault(head, {})
        if not isinstance(inner, dict):
            raise CatalogError(f"{'.'.join(path)}: {head!r} holds {inner!r}, which has no keys to set")
        _put(inner, rest, value)


def build_design(data: Mapping[str, Any], catalog: Catalog, where: str = "design") -> Design:
    """A design from plain data that names catalogue entries; ``where`` begins the line of a `CatalogError`."""
    entry = validated(DesignEntry, data, where)
    return design_of(entry, catalog, where)


def build_workload(data: Mapping[str, Any], where: str = "workload", *, catalog: Catalog | None = None) -> Workload:
    """A workload from plain data; an ``slo`` may be the name of a catalogued one. ``where`` begins the line of a `CatalogError`."""
    return workload_of(data, where, named_slo=lambda name, place: (catalog or Catalog()).data("slo", name, where=place))


def _plain(spec: Callable[..., T], entry: type[schema.Entry], name: str, data: Mapping[str, Any], path: Path) -> T:
    """The spec whose fields are the entry's keys."""
    checked = validated(entry, data, str(path))
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in checked.values().items()}
    kept = {field.name for field in fields(cast(Any, spec))}
    about = {"verified": checked.verified, "note": checked.note}
    with located(str(path), ""):
        return spec(**{key: value for key, value in ({"name": name} | values | about).items() if key in kept})


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]+", "-", name.strip().casefold())


class _Loader(yaml.SafeLoader):
    """The safe loader, less its silence about a key that is written twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is written twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _yaml(path: Path) -> dict[str, Any]:
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise CatalogError(f"{path}: {line}{error.problem or error.context}") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise CatalogError(f"{path}: {str(error).splitlines()[0]}") from None
    if not isinstance(data, dict):
        raise CatalogError(f"{path}: {data!r} is not a mapping of keys to values")
    return data
