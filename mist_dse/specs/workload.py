"""A workload: all that is asked of a design. Arrivals, lengths, and what each request is promised."""

from dataclasses import dataclass, replace

from mist_dse.specs._check import SpecError, fraction, not_negative, one_of, positive

ARRIVAL_KINDS = ("poisson", "gamma", "uniform", "trace", "closed", "batch")
LENGTH_KINDS = ("fixed", "uniform", "lognormal")
DEFAULT_REQUESTS = 10_000
"""Requests of generated arrivals where nothing is said: p90 TTFT then varies by 4% between seeds at 60% load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """When requests come.

    ``poisson``: independent at ``rate`` 1/s. ``gamma``: renewal with coefficient of variation ``cv``. ``uniform``: evenly
    spaced. ``batch``: all at time 0. ``closed``: ``clients`` that each send the next request when one completes (``think``
    s later). ``trace``: the times of the file ``path``, sped up by ``scale`` (2 = twice the rate). ``requests`` = how many
    (None: all of a trace, else 10,000).
    """

    kind: str
    rate: float | None = None
    requests: int | None = None
    cv: float = 1.0
    clients: int | None = None
    think: float = 0.0
    path: str | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        one_of(self, ARRIVAL_KINDS, kind=self.kind)
        positive(self, rate=self.rate, requests=self.requests, cv=self.cv, clients=self.clients, scale=self.scale)
        not_negative(self, think=self.think)
        needs = {"poisson": "rate", "gamma": "rate", "uniform": "rate", "closed": "clients", "trace": "path"}.get(self.kind)
        if needs and getattr(self, needs) is None:
            raise SpecError(f"Arrivals.{needs} is missing: {self.kind} arrivals need it")
        if self.requests is None and self.kind != "trace":
            object.__setattr__(self, "requests", DEFAULT_REQUESTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Token counts of one side: ``fixed`` (mean), ``uniform`` over [low, high], ``lognormal`` of ``mean`` and ``cv``."""

    kind: str
    mean: float | None = None
    cv: float = 0.0
    low: int | None = None
    high: int | None = None

    def __post_init__(self) -> None:
        one_of(self, LENGTH_KINDS, kind=self.kind)
        positive(self, mean=self.mean, low=self.low, high=self.high)
        not_negative(self, cv=self.cv)
        if self.kind == "uniform" and (self.low is None or self.high is None or self.low > self.high):
            raise SpecError(f"Lengths of kind uniform need low <= high, not {self.low} and {self.high}")
        if self.kind != "uniform" and self.mean is None:
            raise SpecError(f"Lengths.mean is missing: {self.kind} lengths need it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """Service-level objective. ``per_request``: (metric, limit in s) that each request is held to, of ttft, tpot, e2e;
    ``limits``: requirements on aggregate metrics, such as ``"ttft_p90 <= 1 s"``."""

    per_request: tuple[tuple[str, float], ...] = ()
    limits: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, limit in self.per_request:
            one_of(self, ("ttft", "tpot", "e2e"), per_request=name)
            positive(self, per_request=limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Arrivals and lengths with a seed; every random choice of a request is drawn from it before a run.

    Lengths come from ``joint`` (the name of a packaged input-by-output histogram), or from the trace of ``arrivals``, or
    from ``input_tokens`` and ``output_tokens``. ``cached_prompt_fraction`` of each prompt is found in the prefix cache.
    ``warmup`` is the share of first arrivals that metrics leave out. ``nominal_rate`` rescales generated arrivals so that
    the realised rate is the nominal one (less seed noise).
    """

    name: str
    arrivals: Arrivals
    input_tokens: Lengths | None = None
    output_tokens: Lengths | None = None
    joint: str | None = None
    cached_prompt_fraction: float = 0.0
    warmup: float = 0.0
    nominal_rate: bool = True
    slo: Slo | None = None
    seed: int = 0
    source: str = ""

    def __post_init__(self) -> None:
        fraction(self, cached_prompt_fraction=self.cached_prompt_fraction, warmup=self.warmup)
        not_negative(self, seed=self.seed)
        if self.warmup == 1:
            raise SpecError("Workload.warmup is 1: must be below 1, or no request is counted")
        if self.joint is None and self.arrivals.kind != "trace" and (self.input_tokens is None or self.output_tokens is None):
            raise SpecError(f"Workload {self.name} has no lengths: give joint, or input_tokens and output_tokens, or a trace")

    @classmethod
    def poisson(cls, *, rate: float, input_tokens: float | Lengths, output_tokens: float | Lengths, requests: int = 10_000, seed: int = 0,
                slo: Slo | None = None) -> "Workload":  # fmt: skip
        """Poisson arrivals at ``rate`` 1/s; a plain number of tokens is a fixed length."""
        return cls(name="poisson", arrivals=Arrivals(kind="poisson", rate=rate, requests=requests), seed=seed, slo=slo,
                   input_tokens=_lengths(input_tokens), output_tokens=_lengths(output_tokens))  # fmt: skip

    def with_seed(self, seed: int) -> "Workload":
        """The same workload drawn from another seed."""
        return replace(self, seed=seed)


def _lengths(value: float | Lengths) -> Lengths:
    return value if isinstance(value, Lengths) else Lengths(kind="fixed", mean=value)
