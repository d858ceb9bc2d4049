"""Errors of the search: each one line that names the place, the value and what would be valid."""


class SpaceError(ValueError):
    """A space or a search asks for something that cannot be."""


class EmptySpaceError(SpaceError):
    """No design of a space can satisfy what is required: which requirement removes all of them, and by how much."""


class LargeSpaceError(SpaceError):
    """A space has too many designs to enumerate: search it without a screen."""


class UnscreenableError(SpaceError):
    """Designs of this space cannot be screened, though they can be searched without a screen; ``why`` alone says what stands against it."""

    def __init__(self, why: str) -> None:
        super().__init__(f"{why}: search it with nsga2, tpe or random")
        self.why = why


class StoreError(ValueError):
    """A run folder cannot be used."""


class ExecutorError(ValueError):
    """Workers that were asked for cannot be had, or are gone."""
