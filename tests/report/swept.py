"""The run folder of a real small search, with the details of its front."""

from pathlib import Path

from mist_dse.explore import sweep
from tests.explore.spaces import space, workload


def swept(folder: Path) -> Path:
    """A finished run of 24 designs in ``folder``."""
    sweep(space(), workload(), folder=folder, executor="serial", evaluations=24)
    return folder
