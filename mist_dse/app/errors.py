"""What ends a command: exit statuses, and the one line that bad input is answered with."""

from mist_dse.catalog_errors import nearest

__all__ = ["BAD_INPUT", "BUG", "DONE", "INTERRUPTED", "UNMET", "UsageError", "is_bad_input", "nearest", "one_line"]

DONE, UNMET, BAD_INPUT, BUG, INTERRUPTED = 0, 1, 2, 70, 130
"""Exit statuses: done; ran, but nothing feasible or a stated requirement missed; bad input; a bug; Ctrl-C."""


class UsageError(ValueError):
    """What the user typed or wrote cannot be used: one line with the place, the value and what is valid."""


def one_line(error: BaseException) -> str:
    """The message of ``error`` on one line; of a file that is no YAML, where and why."""
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return f"{mark.name}, line {mark.line + 1}: {getattr(error, 'problem', None)}"
    return " ".join(str(error).split()) or type(error).__name__


def is_bad_input(error: BaseException) -> bool:
    """Whether ``error`` says that the input is at fault: a ``ValueError`` that this project defines, or a file that will not open."""
    ours = isinstance(error, ValueError) and type(error).__module__.partition(".")[0] == "mist_dse"
    return ours or isinstance(error, OSError) or type(error).__module__.partition(".")[0] == "yaml"
