"""Many compiled functions, one module of machine code.

numba makes machine code of every function it compiles, and with it of a copy of all that the function calls, so the innermost of a
chain of ten is optimised and assembled ten times. Here a *part* (a function called from compiled code only) stops at LLVM's
representation, and the *whole* (what Python calls) links all parts that it reaches once, optimises once and assembles once: a
quarter less for a cold compile, and the same machine code for the kernel.

numba has no option for this; its compiler pipelines may be replaced (`numba.core.compiler.CompilerBase`), and the libraries below
override three methods of `numba.core.codegen.CPUCodeLibrary`.
"""

from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder


class _WholeLibrary(JITCodeLibrary):
    """Links what its parts link as well, and is optimised at `config.OPT` alone (numba would do it at -O3 first, for its reference
    counts, of which the kernel has none)."""

    def add_linking_library(self, library: Any) -> None:
        super().add_linking_library(library)
        known = self._linking_libraries
        known.extend(other for other in library._linking_libraries if other not in known)

    def _optimize_final_module(self) -> None:
        manager, builder = self._codegen._module_pass_manager()
        manager.run(self._final_module, builder)


class _Nowhere:
    """Stands for the machine that a part is never loaded into."""

    def set_env(self, name: str, env: object) -> None:
        """A part raises nothing and boxes nothing: it needs no environment."""


class _PartLibrary(_WholeLibrary):
    """Code to link into others."""

    codegen = _Nowhere()

    def finalize(self) -> None:
        self._finalized = True


class _Pipeline(CompilerBase):
    library: type[_WholeLibrary]

    def define_pipelines(self) -> list[Any]:
        self.state.library = self.library(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        self.state.library.enable_object_caching()
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]


class Whole(_Pipeline):
    """Compiles a function for calls from Python, with all parts that it reaches."""

    library = _WholeLibrary


class Part(_Pipeline):
    """Compiles a function as a part of others; it cannot be cached on disk by itself."""

    library = _PartLibrary
