"""A measured row as something that can be simulated: a design, a workload, the statistic that is reported, or why there is none.

The recipe of the row's source gives the load and the launch flags, the profile of its engine's build the constants. Flags
override fields of the profile, so that a fit may replace the profile and leave the flags as they were launched.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from mist_dse.catalog import Catalog
from mist_dse.rows import Requests
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Batching, Datatypes, Design, Handoff, Parallelism, Pool, Speculation
from mist_dse.specs.engine import EngineProfile
from mist_dse.specs.hardware import Accelerator, Topology, TopologyTier
from mist_dse.specs.workload import Arrivals, Lengths, Workload
from mist_dse.validate.errors import MeasurementError
from mist_dse.validate.kinds import kind_of
from mist_dse.validate.layout import Layout, number
from mist_dse.validate.recipe import Recipe, amount, recipe_of

POLICIES = {"sglang": "prefill_first"}
"""Batching policy of a family of engines where no flag names one; all others are chunked."""

COMPUTE = {"bf16": "bf16", "fp8": "fp8", "int8": "int8", "int4": "bf16", "nvfp4": "fp4", "mxfp4": "fp8"}
"""What products compute in by how weights are stored: int4 is weight-only, MXFP4 weights meet MXFP8 activations."""

WIDENED = ("nvfp4", "mxfp4")
"""Weights that devices without fp4 units widen to bf16 (weight-only kernels)."""

SCALE_OUT = "infiniband_ndr"
"""The link between nodes where a row's engines span several: none of the sources records another."""

UNTOLD = ("ran with multi-token prediction, and how many drafted tokens were accepted is not given: "
          "give draft_tokens and acceptance or accepted_length")  # fmt: skip
"""Why a row that speculates cannot be run."""

_PROFILE = {field.name for field in fields(EngineProfile)}
_BATCHING = {field.name for field in fields(Batching)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row, ready to run: ``profile`` with ``flags`` on top is the engine of every pool; ``notes`` lists the defaults used.

    ``requests``: the realised requests where they are known (a log), in place of those that ``workload`` would draw.
    """

    design: Design
    workload: Workload
    statistic: str
    recipe: str
    profile: EngineProfile
    flags: tuple[tuple[str, Any], ...]
    notes: tuple[str, ...] = ()
    requests: Requests | None = None

    def with_profile(self, profile: EngineProfile) -> "Case":
        """The same case with another profile under the same flags."""
        return replace(self, design=self.design.with_pools(engine=replace(profile, **dict(self.flags))), profile=profile)

    def with_flags(self, **flags: Any) -> "Case":
        """The same case with further flags."""
        return replace(self, flags=(*self.flags, *flags.items())).with_profile(self.profile)


def case(row: Mapping[str, Any], *, catalog: Catalog, recipes: Sequence[Recipe], profiles: Mapping[str, EngineProfile],
         benchmark: Recipe | None = None) -> Case | str:  # fmt: skip
    """The case of a row of `measurements.normalised`, or the reason why it cannot be run.

    ``profiles`` maps names to profiles, so that a fit can change constants without files. ``benchmark`` is the recipe of all rows,
    whatever their source.
    """
    if row["reason"]:
        return str(row["reason"])
    facts = _facts(row)
    chosen = benchmark or recipe_of(facts, tuple(recipes))
    try:
        settings, guesses = chosen.settings(facts), speculation(row)
        if row.get("multi_token_prediction") == "yes" and guesses is None:
            return UNTOLD
        load = _load(row, settings)
        if isinstance(load, str):
            return load
        facts["concurrency"] = _most_at_once(load)
        profile = profile_of(str(settings.get("profile") or row["use_family"]), row, kind_of(catalog.model(row["use_model"])), profiles)
        flags = {name: amount(value, facts) for name, value in settings.items() if name in _PROFILE}
        design = _design(row, facts, settings, catalog=catalog, engine=replace(profile, **flags)).with_pools(speculation=guesses)
    except (MeasurementError, SpecError) as error:
        return str(error)
    return Case(design=design, workload=load, statistic=str(settings["statistic"]), recipe=chosen.name, profile=profile,
                flags=tuple(flags.items()), notes=_notes(row, chosen, settings))  # fmt: skip


def speculation(row: Mapping[str, Any]) -> Speculation | None:
    """What the optional columns ``draft_tokens`` and ``acceptance`` (of one guess) or ``accepted_length`` (mean tokens per step) say.

    None where a row gives no draft tokens, neither of the two, or ran without. Raises ``SpecError`` for values that cannot be.
    """
    tokens = number(row, "draft_tokens", 0.0)
    if not tokens or row.get("multi_token_prediction") == "no":
        return None
    share, length = number(row, "acceptance"), number(row, "accepted_length")
    if not math.isnan(length):
        return Speculation.of_length(int(tokens), length)
    return None if math.isnan(share) else Speculation(draft_tokens=int(tokens), acceptance=share)


def profile_of(wanted: str, row: Mapping[str, Any], kind: str, profiles: Mapping[str, EngineProfile]) -> EngineProfile:
    """The profile of family ``wanted`` for a row's accelerator, date of build and ``kind`` of model.

    Of the profiles that name the accelerator, those for this kind of model if there are any, the latest whose builds had begun by
    then, or the first of all if none had. Where none names the accelerator or the date is unknown: the profile that bears the
    family's name, else the generic one.
    """
    built, accelerator = str(row["use_built"]), str(row["use_accelerator"])
    named = [one for one in profiles.values() if one.family == wanted and accelerator in one.accelerators]
    best = sorted([one for one in named if one.models == kind] or named, key=lambda one: (one.built, one.name))
    if best and built:
        return next((one for one in reversed(best) if one.built <= built), best[0])
    return profiles.get(wanted, profiles["generic"])


def _facts(row: Mapping[str, Any]) -> dict[str, Any]:
    """What conditions of rules look at."""
    side = "decode_" if row["use_mode"] == "disagg" else ""
    return {
        "engine": row["use_family"], "model": row["use_model"], "accelerator": row["use_accelerator"], "weight": row["use_weight"],
        "isl": number(row, "isl"), "osl": number(row, "osl"), "tp": number(row, f"use_{side}tp"), "ep": number(row, f"use_{side}ep"),
        "attention_dp": number(row, f"use_{side}dp", 1.0) > 1, "mode": row["use_mode"], "built": row["use_built"],
        "concurrency": number(row, "concurrency"), "source": row.get("source"), "num_prompts": row.get("num_prompts"),
        "range_ratio": row.get("range_ratio"), "statistic": row.get("statistic"),
    }  # fmt: skip


def _load(row: Mapping[str, Any], settings: Mapping[str, Any]) -> Workload | str:
    """Arrivals and lengths of a row, or what is missing."""
    arrivals = _arrivals(row, settings)
    if isinstance(arrivals, str):
        return arrivals
    ratio = float(settings["length_ratio"])
    inputs, outputs = (_lengths(int(number(row, name)), ratio) for name in ("isl", "osl"))
    return Workload(name="measured", arrivals=arrivals, input_tokens=inputs, output_tokens=outputs,
                    cached_prompt_fraction=float(settings["cached_prompt_fraction"]))  # fmt: skip


def _arrivals(row: Mapping[str, Any], settings: Mapping[str, Any]) -> Arrivals | str:
    kind, requests = settings["arrivals"], settings.get("requests")
    clients, rate, batch = number(row, "concurrency"), number(row, "request_rate"), number(row, "batch")
    if kind == "static":
        return Arrivals(kind="batch", requests=int(batch)) if batch >= 1 else "no batch size"
    if kind == "burst" or rate == -1:
        return Arrivals(kind="batch", requests=int(requests or 1000))
    if rate > 0 and (kind == "open" or not clients >= 1):
        return Arrivals(kind="poisson", rate=rate, requests=int(requests or 500))
    if clients >= 1:
        each = int(requests or round(settings["prompts_per_client"] * clients))
        return Arrivals(kind="closed", clients=min(int(clients), each), requests=each)
    return "neither concurrency nor request_rate is given"


def _lengths(tokens: int, ratio: float) -> Lengths:
    if ratio >= 1:
        return Lengths(kind="fixed", mean=tokens)
    return Lengths(kind="uniform", low=max(int(tokens * ratio), 1), high=tokens)


def _most_at_once(load: Workload) -> int:
    return int(load.arrivals.clients or load.arrivals.requests or 1)


def _design(
    row: Mapping[str, Any], facts: Mapping[str, Any], settings: Mapping[str, Any], *, catalog: Catalog, engine: EngineProfile
) -> Design:
    accelerator, model = catalog.accelerator(row["use_accelerator"]), catalog.model(row["use_model"])
    dtypes = _datatypes(row, settings, accelerator)
    sides: dict[str, tuple[str, tuple[str, ...]]] = {"engine": ("", ("prefill", "decode"))}
    if row["use_mode"] == "disagg":
        sides = {"prefill": ("prefill_", ("prefill",)), "decode": ("decode_", ("decode",))}
    pools = []
    for name, (prefix, stages) in sides.items():
        found = Layout(*(int(row[f"use_{prefix}{field}"]) for field in Layout._fields))
        pools.append(Pool(name=name, stages=stages, model=model, accelerator=accelerator, engine=engine, replicas=found.replicas,
                          parallelism=Parallelism(tp=found.tp, pp=found.pp, dp=found.dp, ep=found.ep), dtypes=dtypes,
                          batching=_batching(row, facts, settings, found), router="jsq"))  # fmt: skip
    handoff = Handoff(source="prefill", target="decode", mode="whole") if len(pools) == 2 else None
    return Design(pipeline=catalog.pipeline("chat"), topology=_topology(accelerator, pools, catalog), pools=tuple(pools), handoff=handoff)


def _datatypes(row: Mapping[str, Any], settings: Mapping[str, Any], accelerator: Accelerator) -> Datatypes:
    weight = str(row["use_weight"])
    computed = "bf16" if weight in WIDENED and accelerator.peaks.fp4 is None else COMPUTE[weight]
    return Datatypes(weight=weight, kv=str(settings.get("kv", "bf16")), compute=str(settings.get("compute", computed)))


def _batching(row: Mapping[str, Any], facts: Mapping[str, Any], settings: Mapping[str, Any], found: Layout) -> Batching:
    """Limits of one rank. No rank ever holds more than its even share, since requests go to the rank with the fewest."""
    asked = {name: amount(settings[name], facts) for name in _BATCHING if name in settings}
    share = math.ceil(facts["concurrency"] / (found.replicas * found.dp))
    cap = int(asked.get("max_num_seqs", share))
    if found.slots:
        cap = max(math.ceil(found.slots / found.dp), 1)
    policy = str(asked.get("policy") or POLICIES.get(str(row["use_family"]), "chunked"))
    budget = int(asked.get("max_num_batched_tokens", Batching().max_num_batched_tokens))
    if policy == "static":
        budget = int(facts["concurrency"] * facts["isl"])
    cap = max(min(cap, share), 1)
    return Batching(policy=policy, max_num_seqs=cap, max_num_batched_tokens=max(budget, cap))


def _topology(accelerator: Accelerator, pools: Sequence[Pool], catalog: Catalog) -> Topology:
    """Nodes of eight, or of the whole scale-up domain where it is larger, as many as the pools can need."""
    node = max(8, accelerator.scale_up_domain)
    nodes = sum(_nodes(pool, node) for pool in pools)
    inner = TopologyTier(name="node", size=node)
    if nodes == 1:
        return Topology(name="measured", tiers=(inner,))
    return Topology(name="measured", tiers=(inner, TopologyTier(name="cluster", size=node * nodes, link=catalog.link(SCALE_OUT))))


def _nodes(pool: Pool, node: int) -> int:
    devices = pool.parallelism.devices
    return math.ceil(pool.replicas / (node // devices)) if devices <= node else pool.replicas * math.ceil(devices / node)


def _notes(row: Mapping[str, Any], chosen: Recipe, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The defaults that a row's prediction rests on."""
    found = [f"recipe {chosen.name}", f"{settings['statistic']} over requests"]
    if "requests" not in settings and settings["arrivals"] == "closed":
        found.append(f"{settings['prompts_per_client']} prompts per client")
    if row.get("multi_token_prediction") in ("ambiguous", "unknown") and speculation(row) is None:
        found.append("assumed to run without multi-token prediction")
    if not row["use_built"]:
        found.append("build date unknown")
    return tuple(found)
