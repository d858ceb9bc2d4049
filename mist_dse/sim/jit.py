"""The one door to numba: compiled functions are cached on disk under a key that covers every source file of this room.

numba's own cache does not notice a change in an imported jitted function, so the folder is named by a hash of the sources,
numba's version and the interpreter. ``NUMBA_DISABLE_JIT=1`` runs the same source as plain Python.
"""

import gc
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from mist_dse.sim.linking import Part, Whole

Function = TypeVar("Function", bound=Callable[..., Any])


def cache_folder() -> Path:
    """Where compiled kernels of exactly these sources live, inside the user's cache folder (``XDG_CACHE_HOME``)."""
    import numba

    digest = hashlib.blake2b(f"{numba.__version__} {sys.version}".encode(), digest_size=8)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    name = Path("mist_dse") / "numba" / digest.hexdigest()
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a home that cannot be written to, as in some containers
        return Path(tempfile.gettempdir()) / name
    return folder


def _configured() -> Any:
    import numba

    if "NUMBA_CACHE_DIR" not in os.environ:
        numba.config.CACHE_DIR = str(cache_folder())  # type: ignore[attr-defined]
    return numba


_numba = _configured()


@contextmanager
def lightly_optimised() -> Iterator[None]:
    """Compile at LLVM's -O1: the kernel has no loops for the vectorisers, and what should be copied into its callers is marked so.
    What numba compiles for others keeps its own level. Nothing is searched for garbage meanwhile: compiling makes millions of objects that
    live to its end, and looking through them takes a sixth of its time.
    """
    config = _numba.config
    before, collects = config.OPT, gc.isenabled()
    config.OPT = type(before)("1")
    gc.disable()
    try:
        yield
    finally:
        config.OPT = before
        if collects:
            gc.enable()


def jit(function: Function) -> Function:
    """``function`` compiled for calls from compiled code only: a part of what calls it (`sim.linking`)."""
    return _part(function)


def inlined(function: Function) -> Function:
    """As `jit`, but never compiled by itself: its source becomes part of its caller. For functions that are called from one place.

    A call passes every array of the state, 16 of seven words each, which costs more than most functions do.
    """
    return _part(function, inline="always")


def folded(function: Function) -> Function:
    """As `jit`, with its machine code copied into its callers (`inlined` would infer its types once per call). For functions of a few
    lines that are called from several places.
    """
    return _part(function, forceinline=True)


def entry(function: Function) -> Function:
    """``function`` compiled for calls from Python, and cached."""
    return _compiled(function, cache=True, pipeline_class=Whole)


def _part(function: Function, **options: Any) -> Function:
    return _compiled(function, no_cpython_wrapper=True, pipeline_class=Part, **options)


def _compiled(function: Function, **options: Any) -> Function:
    """Without the interpreter, in IEEE arithmetic (no fast-math: skipping must equal stepping).

    ``_nrt=False``: no reference counting. The kernel allocates nothing, and counting its arguments at every call costs tenfold.
    """
    compiled: Function = _numba.njit(nogil=True, error_model="numpy", _nrt=False, no_cfunc_wrapper=True, **options)(function)
    return compiled
