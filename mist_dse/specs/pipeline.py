"""A pipeline: the stages that a request visits, as a directed acyclic graph."""

from dataclasses import dataclass

from mist_dse.specs._check import SpecError


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage: ``kind`` names a file of `mist_dse.stages`, ``after`` the stages that feed it."""

    name: str
    kind: str
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """Stages in topological order; names are unique and every ``after`` names an earlier stage."""

    name: str
    stages: tuple[Stage, ...]
    source: str = ""

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for stage in self.stages:
            if stage.name in seen:
                raise SpecError(f"Pipeline {self.name} has two stages named {stage.name!r}")
            unknown = [name for name in stage.after if name not in seen]
            if unknown:
                raise SpecError(f"Pipeline {self.name}: stage {stage.name!r} comes after {unknown[0]!r}, which is not an earlier stage")
            seen.add(stage.name)
        if not self.stages:
            raise SpecError(f"Pipeline {self.name} has no stages")

    def stage(self, name: str) -> Stage:
        """The stage of that name; ``SpecError`` if there is none."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise SpecError(f"Pipeline {self.name} has no stage {name!r}: it has {', '.join(stage.name for stage in self.stages)}")
