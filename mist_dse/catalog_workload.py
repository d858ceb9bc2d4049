"""What a workload may say in a file, and the spec that it becomes: arrivals, lengths, classes, promises."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StrictBool, StrictInt, StrictStr

from mist_dse.catalog_errors import located, validated
from mist_dse.catalog_schema import Amount, PerSecond, Seconds, SloEntry, SloFile, Strict, Tokens, one_of
from mist_dse.specs.workload import ARRIVAL_KINDS, LENGTH_KINDS, TURN_LAWS, Arrivals, Lengths, Slo, Workload, WorkloadClass


class ArrivalsEntry(Strict):
    """When requests come."""

    kind: Annotated[str, one_of(ARRIVAL_KINDS)]
    rate: PerSecond | None = None
    requests: StrictInt | None = None
    cv: Amount = 1.0
    clients: StrictInt | None = None
    think: Seconds = 0.0
    path: StrictStr | None = None
    scale: Amount = 1.0
    on_time: Seconds | None = None
    off_time: Seconds | None = None
    period: Seconds = 86_400.0
    peak_to_mean: Amount | None = None
    profile: tuple[Amount, ...] = ()
    turns: Amount | None = None
    turns_law: Annotated[str, one_of(TURN_LAWS)] = "geometric"
    tool_time: Seconds = 0.0
    tool_share: Amount = 0.0
    shared_prefix: StrictInt = 0
    hash_tokens: StrictInt = 16


class LengthsEntry(Strict):
    """Token counts of one side."""

    kind: Annotated[str, one_of(LENGTH_KINDS)]
    mean: Tokens | None = None
    cv: Amount = 0.0
    low: StrictInt | None = None
    high: StrictInt | None = None
    shape: Amount | None = None
    values: tuple[StrictInt, ...] = ()
    weights: tuple[Amount, ...] = ()
    path: StrictStr | None = None
    column: StrictStr | None = None


LengthsOrNumber = Annotated[LengthsEntry, BeforeValidator(lambda v: v if isinstance(v, Mapping) else {"kind": "fixed", "mean": v})]


class ClassEntry(Strict):
    """One class of a workload: what it does not say is as in the workload."""

    share: Amount
    input_tokens: LengthsOrNumber | None = None
    output_tokens: LengthsOrNumber | None = None
    priority: StrictInt = 0
    slo: SloEntry | None = None
    cached_prompt_fraction: Amount | None = None


class WorkloadEntry(Strict):
    """conf/workload/NAME.yaml."""

    arrivals: ArrivalsEntry
    input_tokens: LengthsOrNumber | None = None
    output_tokens: LengthsOrNumber | None = None
    joint: StrictStr | None = None
    cached_prompt_fraction: Amount = 0.0
    warmup: Amount = 0.0
    nominal_rate: StrictBool = True
    slo: SloEntry | None = None
    classes: dict[str, ClassEntry] = Field(default_factory=dict)
    seed: StrictInt = 0
    name: StrictStr = ""
    source: StrictStr = ""
    note: StrictStr = ""


def workload_of(data: Mapping[str, Any], where: str, *, named_slo: Callable[[str, str], dict[str, Any]]) -> Workload:
    """A workload from plain data; ``where`` begins the line of a `CatalogError`.

    ``named_slo``: the plain data of the SLO of that name, asked for at that place.
    """
    data = _with_slo(data, f"{where}: ", named_slo)
    if isinstance(data, Mapping) and isinstance(data.get("classes"), Mapping):
        each = data["classes"].items()
        data = {**data, "classes": {name: _with_slo(own, f"{where}: classes.{name}.", named_slo) for name, own in each}}
    entry = validated(WorkloadEntry, data, where)
    with located(where, "arrivals"):
        arrivals = Arrivals(**entry.arrivals.model_dump())
    classes = []
    for name, own in entry.classes.items():
        values = _asked(own, where, f"classes.{name}.")
        with located(where, f"classes.{name}"):
            classes.append(WorkloadClass(name=name, **values))
    values = _asked(entry, where, "") | {"name": entry.name or "workload", "arrivals": arrivals, "classes": tuple(classes)}
    with located(where, ""):
        return Workload(**values)


def slo_of(entry: SloFile, where: str, path: str) -> Slo:
    """The SLO that ``entry`` states at the key ``path``."""
    with located(where, path):
        return Slo(per_request=tuple(entry.per_request.items()), limits=tuple(entry.limits))


def _with_slo(data: Any, where: str, named_slo: Callable[[str, str], dict[str, Any]]) -> Any:
    """``data`` with the SLO that it names by a word written out."""
    name = data.get("slo") if isinstance(data, Mapping) else None
    return {**data, "slo": named_slo(name, f"{where}slo: ")} if isinstance(name, str) else data


def _asked(entry: WorkloadEntry | ClassEntry, where: str, path: str) -> dict[str, Any]:
    """What a workload and a class of one say alike, as specs, and the plain rest."""
    sides = ("input_tokens", "output_tokens")
    found = entry.model_dump(exclude={"arrivals", "classes", "slo", "note", *sides})
    found["slo"] = None if entry.slo is None else slo_of(entry.slo, where, f"{path}slo")
    for side in sides:
        said = getattr(entry, side)
        with located(where, path + side):
            found[side] = None if said is None else Lengths(**said.model_dump())
    return found
