"""A pool, a service or a pipeline with some of its fields set: from what a space chooses to the specs of a design."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mist_dse.explore.spaces.fields import DEGREES, DTYPES, SERVICE_FIELDS
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Pool, Speculation
from mist_dse.specs.pipeline import Pipeline, Stage
from mist_dse.specs.service import Service

_SERVICE_NAMES = {"sockets": "hosts"}
"""Fields of a service that its spec calls otherwise."""


def pool_with(pool: Pool, values: Mapping[str, Any]) -> Pool:
    """``pool`` with each field of ``values`` (`fields.POOL_FIELDS`) set to what it means: entries of the catalogue, None for none."""
    plain: dict[str, Any] = {name: values[name] for name in ("model", "accelerator", "engine", "router", "replicas") if name in values}
    for part in ("parallelism", "batching", "routing"):
        inner = {name.rpartition(".")[2]: value for name, value in values.items() if name.startswith(f"{part}.")}
        if part == "parallelism":
            inner = {name: values[name] for name in DEGREES if name in values}
        if inner:
            plain[part] = replace(getattr(pool, part), **inner)
    dtypes = {name.removeprefix("dtype."): value for name, value in values.items() if name.startswith("dtype.")}
    if dtypes or "dtype" in values:
        plain["dtypes"] = replace(DTYPES[values["dtype"]] if "dtype" in values else pool.dtypes, **dtypes)
    plain |= _node(values)
    if "beside" in values:
        plain["beside"] = values["beside"] or ""
    speculation = {name.rpartition(".")[2]: value for name, value in values.items() if name.startswith("speculation.")}
    if speculation:
        plain["speculation"] = _speculation(pool, speculation)
    return replace(pool, **plain)


def service_with(service: Service, values: Mapping[str, Any]) -> Service:
    """``service`` with each field of ``values`` set: those of `fields.SERVICE_FIELDS`, ``index.FIELD`` and ``tiers.TIER.FIELD``."""
    plain = {_SERVICE_NAMES.get(name, name): value for name, value in values.items() if name in SERVICE_FIELDS}
    plain |= _node(values)
    if "beside" in plain:
        plain["beside"] = plain["beside"] or ""
    inner = {name.removeprefix("index."): value for name, value in values.items() if name.startswith("index.")}
    index = plain.get("index", service.index)
    if inner and index is not None:
        plain["index"] = replace(index, **inner)
    tiers = []
    for tier in service.tiers:
        start = f"tiers.{tier.name}."
        tiers.append(replace(tier, **{name.removeprefix(start): value for name, value in values.items() if name.startswith(start)}))
    return replace(service, tiers=tuple(tiers), **plain)


def pipeline_with(pipeline: Pipeline, values: Mapping[str, Any]) -> Pipeline:
    """``pipeline`` with options of stages (``stages.NAME.OPTION``, ``stages.NAME.when.below``) and repeats (``repeats.NAME.count``) set."""
    if not values:
        return pipeline
    stages = tuple(_stage_with(stage, _below(values, f"stages.{stage.name}.")) for stage in pipeline.stages)
    repeats = tuple(replace(repeat, **_below(values, f"repeats.{repeat.name}.")) for repeat in pipeline.repeats)
    return replace(pipeline, stages=stages, repeats=repeats)


def _node(values: Mapping[str, Any]) -> dict[str, Any]:
    """The node that ``at.node`` or ``at.TIER`` means."""
    return next(({"node": value} for name, value in values.items() if name.startswith("at.")), {})


def _below(values: Mapping[str, Any], start: str) -> dict[str, Any]:
    return {path.removeprefix(start): value for path, value in values.items() if path.startswith(start)}


def _stage_with(stage: Stage, values: Mapping[str, Any]) -> Stage:
    when = {name.removeprefix("when."): value for name, value in values.items() if name.startswith("when.")}
    options = {name: value for name, value in values.items() if not name.startswith("when.")}
    if options:
        stage = replace(stage, options=tuple(sorted({**dict(stage.options), **options}.items())))
    return replace(stage, when=replace(stage.when, **when)) if when and stage.when is not None else stage


def _speculation(pool: Pool, values: Mapping[str, Any]) -> Speculation | None:
    """Speculation with some fields set; without draft tokens there is none."""
    known = pool.speculation
    tokens = values.get("draft_tokens", known.draft_tokens if known else 0)
    if not tokens:
        return None
    acceptance = values.get("acceptance", known.acceptance if known else None)
    if acceptance is None:
        raise SpecError(f"Pool {pool.name}: speculation.acceptance is missing: draft tokens need the share that is accepted")
    share = values.get("draft_share", known.draft_share if known else None)
    return Speculation(draft_tokens=tokens, acceptance=acceptance, draft_share=share)
