"""A pipeline: the stages that a request visits, as a directed acyclic graph with choices, loops and parallel copies."""

from dataclasses import dataclass

from mist_dse.specs._check import SpecError, fraction, one_of, positive

JOINS = ("all", "first", "majority")
"""What a stage waits for where parallel copies lead to it; those it did not wait for are cancelled."""

MODES = ("loop", "parallel")
COUNT_LAWS = ("fixed", "geometric")
MOST_COPIES = 64
"""Copies of one stage in one request: each is a visit of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """A choice: the requests whose draw named ``draw`` (uniform in [0, 1), one per request) lies in [``above``, ``below``).

    Stages that name the same draw choose together: ``below: 0.2`` here and ``above: 0.2`` there are two ways, taken by 20% and 80%.
    With ``way`` instead, the stages of one way name it, and how many requests take it follows from the load (`stages.balance`).
    """

    draw: str
    above: float = 0.0
    below: float = 1.0
    way: str = ""

    def __post_init__(self) -> None:
        fraction(self, above=self.above, below=self.below)
        if self.above > self.below:
            raise SpecError(f"When.above is {self.above}, more than below, {self.below}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage: ``kind`` names a file of `mist_dse.stages`, ``after`` the stages that feed it.

    ``options``: what its kind wants to know, (key, value) pairs checked there. ``when``: which requests take it (None: all), ``classes``:
    of which classes of the workload (none named: all); who does not take it goes on to what follows. ``join``: see `JOINS`.
    """

    name: str
    kind: str
    after: tuple[str, ...] = ()
    when: When | None = None
    classes: tuple[str, ...] = ()
    join: str = "all"
    options: tuple[tuple[str, object], ...] = ()

    def __post_init__(self) -> None:
        one_of(self, JOINS, join=self.join)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """``stages`` are visited several times by a request: one after another (``loop``) or side by side (``parallel``).

    How often is drawn for each request before the run: ``count`` times (``fixed``), or 1 + a geometric number with that mean
    (``geometric``), at most ``most`` times.
    """

    name: str
    stages: tuple[str, ...]
    mode: str
    count: float
    law: str = "fixed"
    most: int | None = None

    def __post_init__(self) -> None:
        one_of(self, MODES, mode=self.mode)
        one_of(self, COUNT_LAWS, law=self.law)
        positive(self, count=self.count, most=self.most)
        if not self.stages:
            raise SpecError(f"Repeat {self.name} names no stages")
        if self.count < 1:
            raise SpecError(f"Repeat.count of {self.name} is {self.count}: must be at least 1; `when` makes a stage optional")
        if self.law == "fixed" and not float(self.count).is_integer():
            raise SpecError(f"Repeat.count of {self.name} is {self.count}: must be whole, or have law geometric")
        if self.law == "geometric" and self.most is None:
            raise SpecError(
                f"Repeat.most of {self.name} is missing: a loop of drawn length needs an exit; say how often it goes round at most"
            )
        if self.copies > MOST_COPIES:
            raise SpecError(f"Repeat {self.name} makes {self.copies} copies: must be at most {MOST_COPIES}")

    @property
    def copies(self) -> int:
        """Most visits of one request."""
        whole = int(min(self.count, 2**31)) if self.law == "fixed" else 2**31
        return whole if self.most is None else min(whole, self.most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """Stages in topological order; names are unique and every ``after`` names an earlier stage."""

    name: str
    stages: tuple[Stage, ...]
    repeats: tuple[Repeat, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        if not self.stages:
            raise SpecError(f"Pipeline {self.name} has no stages")
        names = [stage.name for stage in self.stages]
        seen: set[str] = set()
        for stage in self.stages:
            if stage.name in ("", "handoff"):
                raise SpecError(
                    f"Pipeline {self.name}: a stage is named {stage.name!r}; hand-offs are called handoff, and no stage is called nothing"
                )
            if stage.name in seen:
                raise SpecError(f"Pipeline {self.name} has two stages named {stage.name!r}")
            for before in stage.after:
                if before in seen:
                    continue
                if before not in names:
                    raise SpecError(f"Pipeline {self.name}: stage {stage.name!r} comes after {before!r}, which is not an earlier stage")
                why = "a cycle has no exit: write what comes back as one of `repeats`, with a count"
                raise SpecError(f"Pipeline {self.name}: stage {stage.name!r} comes after {before!r}, which is not an earlier stage; {why}")
            seen.add(stage.name)
        self._check_repeats(names)

    def _check_repeats(self, names: list[str]) -> None:
        if len({repeat.name for repeat in self.repeats}) < len(self.repeats):
            raise SpecError(f"Pipeline {self.name} has two repeats of one name")
        taken: dict[str, Repeat] = {}
        for repeat in self.repeats:
            for name in repeat.stages:
                if name not in names:
                    raise SpecError(f"Pipeline {self.name}: repeats {repeat.name} names {name!r}, which is none of its stages")
                if name in taken:
                    raise SpecError(f"Pipeline {self.name}: stage {name!r} is in repeats {taken[name].name} and {repeat.name}")
                taken[name] = repeat
        for stage in self.stages:
            before = [taken.get(name) for name in stage.after]
            copies = all(repeat is not None and repeat.mode == "parallel" and stage.name not in repeat.stages for repeat in before)
            if stage.join != "all" and not (before and copies):
                text = f"stage {stage.name!r} joins the {stage.join}, so it must come after parallel repeats alone"
                raise SpecError(f"Pipeline {self.name}: {text}")

    def stage(self, name: str) -> Stage:
        """The stage of that name; ``SpecError`` if there is none."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise SpecError(f"Pipeline {self.name} has no stage {name!r}: it has {', '.join(stage.name for stage in self.stages)}")

    def repeat_of(self, stage: str) -> Repeat | None:
        """The repeat that ``stage`` is part of."""
        return next((repeat for repeat in self.repeats if stage in repeat.stages), None)
