"""A workload: all that is asked of a design. Arrivals, lengths, classes, and what each request is promised."""

from dataclasses import dataclass, replace

from mist_dse.specs._check import SpecError, at_most, fraction, not_negative, one_of, positive

ARRIVAL_KINDS = ("poisson", "gamma", "uniform", "trace", "closed", "batch", "onoff", "diurnal", "sessions")
LENGTH_KINDS = ("fixed", "uniform", "lognormal", "geometric", "gamma", "pareto", "empirical")
TURN_LAWS = ("geometric", "fixed")
DEFAULT_REQUESTS = 10_000
"""Requests of generated arrivals where nothing is said: p90 TTFT then varies by 4% between seeds at 60% load."""

_NEEDS = {"poisson": ("rate",), "gamma": ("rate",), "uniform": ("rate",), "closed": ("clients",), "trace": ("path",),
          "onoff": ("rate", "on_time", "off_time"), "diurnal": ("rate",), "sessions": ("rate", "turns")}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """When requests come.

    ``poisson``: independent at ``rate`` 1/s. ``gamma``: renewal with coefficient of variation ``cv``. ``uniform``: evenly
    spaced. ``batch``: all at time 0. ``closed``: ``clients`` that each send the next request when one completes (``think``
    s later). ``trace``: the times of the file ``path``, sped up by ``scale`` (2 = twice the rate).
    ``onoff``: bursts, Poisson while on and nothing while off, for exponential times of mean ``on_time`` and ``off_time``.
    ``diurnal``: Poisson whose rate follows ``profile`` (relative rates in equal parts of ``period``, repeated) or, without one, a
    sinusoid that starts at its mean, rising, with ``peak_to_mean`` up to 2.
    ``sessions``: conversations that start as a Poisson process, each of so many turns (``turns_law`` of mean ``turns``); after an
    answer the next turn comes in an exponential time of mean ``think``, or of ``tool_time`` with probability ``tool_share``. A
    prompt is the ``shared_prefix`` (a system prompt, the same for all), the conversation so far and the turn's input tokens.

    ``rate`` is always that of requests in the long run; sessions start at ``rate / turns``. ``requests`` = how many (None: all of a
    trace, else 10,000). The content of sessions is named in blocks of ``hash_tokens``.
    """

    kind: str
    rate: float | None = None
    requests: int | None = None
    cv: float = 1.0
    clients: int | None = None
    think: float = 0.0
    path: str | None = None
    scale: float = 1.0
    on_time: float | None = None
    off_time: float | None = None
    period: float = 86_400.0
    peak_to_mean: float | None = None
    profile: tuple[float, ...] = ()
    turns: float | None = None
    turns_law: str = "geometric"
    tool_time: float = 0.0
    tool_share: float = 0.0
    shared_prefix: int = 0
    hash_tokens: int = 16

    def __post_init__(self) -> None:
        one_of(self, ARRIVAL_KINDS, kind=self.kind)
        one_of(self, TURN_LAWS, turns_law=self.turns_law)
        positive(self, rate=self.rate, requests=self.requests, cv=self.cv, clients=self.clients, scale=self.scale, on_time=self.on_time,
                 off_time=self.off_time, period=self.period, hash_tokens=self.hash_tokens)  # fmt: skip
        at_most(self, 10**8, requests=self.requests, clients=self.clients)
        at_most(self, 1e12, rate=self.rate)
        at_most(self, 1e6, cv=self.cv, turns=self.turns)
        if self.kind == "gamma" and self.cv < 1e-6:
            raise SpecError(f"Arrivals.cv is {self.cv!r}: must be >= 1e-6 for gamma arrivals; even spacing is of kind uniform")
        at_most(self, 2**31, shared_prefix=self.shared_prefix, hash_tokens=self.hash_tokens)
        at_most(self, 1e9, on_time=self.on_time, off_time=self.off_time, period=self.period, think=self.think, tool_time=self.tool_time)
        not_negative(self, think=self.think, tool_time=self.tool_time, shared_prefix=self.shared_prefix)
        fraction(self, tool_share=self.tool_share)
        for needed in _NEEDS.get(self.kind, ()):
            if getattr(self, needed) is None:
                raise SpecError(f"Arrivals.{needed} is missing: {self.kind} arrivals need it")
        object.__setattr__(self, "profile", tuple(self.profile))
        _check_swing(self)
        _check_turns(self)
        if self.requests is None and self.kind != "trace":
            object.__setattr__(self, "requests", DEFAULT_REQUESTS)


def _check_swing(arrivals: Arrivals) -> None:
    """A diurnal rate needs a profile or the peak of a sinusoid."""
    if arrivals.profile:
        for part in arrivals.profile:
            not_negative(arrivals, profile=part)
        positive(arrivals, profile=sum(arrivals.profile))
    elif arrivals.kind == "diurnal" and arrivals.peak_to_mean is None:
        raise SpecError("Arrivals.peak_to_mean is missing: diurnal arrivals need it, or a profile")
    if arrivals.peak_to_mean is not None and not 1 <= arrivals.peak_to_mean <= 2:
        raise SpecError(f"Arrivals.peak_to_mean is {arrivals.peak_to_mean!r}: must lie between 1 and 2; a sharper peak needs a profile")


def _check_turns(arrivals: Arrivals) -> None:
    if arrivals.turns is None:
        return
    positive(arrivals, turns=arrivals.turns)
    if arrivals.turns < 1:
        raise SpecError(f"Arrivals.turns is {arrivals.turns!r}: must be >= 1, a session has at least one turn")
    if arrivals.turns_law == "fixed" and not float(arrivals.turns).is_integer():
        raise SpecError(f"Arrivals.turns is {arrivals.turns!r}: must be whole where turns_law is fixed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Token counts of one side, at least 1.

    ``fixed`` (``mean``), ``uniform`` over [``low``, ``high``], ``lognormal`` and ``gamma`` of ``mean`` and ``cv``, ``geometric`` of
    ``mean``, ``pareto`` with tail index ``shape`` bounded to [``low``, ``high``], ``empirical``: one of ``values`` by ``weights``
    (none: evenly), or of the column ``column`` of the table ``path``.
    """

    kind: str
    mean: float | None = None
    cv: float = 0.0
    low: int | None = None
    high: int | None = None
    shape: float | None = None
    values: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()
    path: str | None = None
    column: str | None = None

    def __post_init__(self) -> None:
        one_of(self, LENGTH_KINDS, kind=self.kind)
        positive(self, mean=self.mean, low=self.low, high=self.high, shape=self.shape)
        at_most(self, 2**31, mean=self.mean, low=self.low, high=self.high)
        at_most(self, 1e6, cv=self.cv)
        not_negative(self, cv=self.cv)
        for name in ("values", "weights"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.kind in ("uniform", "pareto") and (self.low is None or self.high is None or self.low > self.high):
            raise SpecError(f"Lengths of kind {self.kind} need low <= high, not {self.low} and {self.high}")
        needs = {"uniform": None, "pareto": "shape", "empirical": None}.get(self.kind, "mean")
        if needs and getattr(self, needs) is None:
            raise SpecError(f"Lengths.{needs} is missing: {self.kind} lengths need it")
        if self.kind == "gamma" and self.cv < 1e-6:
            raise SpecError(f"Lengths.cv is {self.cv!r}: must be >= 1e-6 for gamma lengths; lengths that do not vary are of kind fixed")
        if self.kind == "geometric" and self.mean is not None and self.mean < 1:
            raise SpecError(f"Lengths.mean is {self.mean!r}: must be >= 1 for geometric lengths")
        if self.kind == "empirical":
            _check_values(self)


def _check_values(lengths: Lengths) -> None:
    """Empirical lengths name a list or a column, and weights for all of a list or for none."""
    if bool(lengths.values) == bool(lengths.path and lengths.column):
        raise SpecError("Lengths of kind empirical need values, or path and column")
    for value in lengths.values:
        if not (isinstance(value, int) and 1 <= value <= 2**31):
            raise SpecError(f"Lengths.values has {value!r}: must be whole numbers of tokens >= 1")
    if lengths.weights and len(lengths.weights) != len(lengths.values):
        raise SpecError(f"Lengths.weights has {len(lengths.weights)} entries: must have one for each of the {len(lengths.values)} values")
    for weight in lengths.weights:
        not_negative(lengths, weights=weight)
    if lengths.weights:
        positive(lengths, weights=sum(lengths.weights))


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
class WorkloadClass:
    """A kind of requests within a workload: ``share`` of them (relative to the sum over classes), drawn request by request, or
    session by session. ``priority``: lower goes first where an engine packs by priority. What is None is as in the workload."""

    name: str
    share: float
    input_tokens: Lengths | None = None
    output_tokens: Lengths | None = None
    priority: int = 0
    slo: Slo | None = None
    cached_prompt_fraction: float | None = None

    def __post_init__(self) -> None:
        positive(self, share=self.share)
        if self.cached_prompt_fraction is not None:
            fraction(self, cached_prompt_fraction=self.cached_prompt_fraction)
        if not self.name:
            raise SpecError("WorkloadClass.name is empty: a class needs a name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Arrivals and lengths with a seed; every random choice of a request is drawn from it before a run.

    Lengths come from ``joint`` (the name of a packaged input-by-output histogram), or from the trace of ``arrivals``, or
    from ``input_tokens`` and ``output_tokens``, or from the request's class. In sessions the input tokens are what a turn adds.
    ``cached_prompt_fraction`` of each prompt is found in the prefix cache.
    ``warmup`` is the share of first arrivals that metrics leave out. ``nominal_rate`` rescales generated arrivals so that
    the realised rate is the nominal one (less seed noise). Requests of a trace have the class that its column ``class`` names.
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
    classes: tuple[WorkloadClass, ...] = ()
    seed: int = 0
    source: str = ""

    def __post_init__(self) -> None:
        fraction(self, cached_prompt_fraction=self.cached_prompt_fraction, warmup=self.warmup)
        not_negative(self, seed=self.seed)
        if self.warmup == 1:
            raise SpecError("Workload.warmup is 1: must be below 1, or no request is counted")
        object.__setattr__(self, "classes", tuple(self.classes))
        names = [each.name for each in self.classes]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise SpecError(f"Workload.classes has {twice!r} twice: classes need names of their own")
        if self.joint is None and self.arrivals.kind != "trace" and not all(map(self._says, ("input_tokens", "output_tokens"))):
            raise SpecError(f"Workload {self.name} has no lengths: give joint, or input_tokens and output_tokens, or a trace")

    def _says(self, side: str) -> bool:
        """Whether the workload or every class of it has lengths of that side."""
        return getattr(self, side) is not None or (bool(self.classes) and all(getattr(each, side) is not None for each in self.classes))

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
