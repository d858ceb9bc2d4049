"""``mist-dse VERB [overrides]``: takes the command line apart, runs the verb, turns every end into an exit status.

0 done; 1 ran, but nothing is feasible or a stated requirement is missed; 2 bad input, with one line; 130 Ctrl-C. A bug ends
with 70 and one line; ``MIST_DSE_DEBUG=1`` shows its traceback.
"""

import importlib
import os
import shlex
import sys
import warnings
from collections.abc import Sequence

from mist_dse.app.errors import BAD_INPUT, BUG, DONE, INTERRUPTED, UsageError, is_bad_input, nearest, one_line

VERBS = {
    "evaluate": "one design under one workload: metrics, bottleneck, breakdown, provenance",
    "sweep": "search a space: print the front, write a run folder with its report",
    "simulate": "replay a workload through one design, request by request",
    "validate": "predicted against measured, by slice, beside the peer; data=FILE takes your own measurements",
    "calibrate": "measured kernels, measured serving or a serving log -> coefficients or an engine profile, with the fit's error",
    "robustness": "a run folder -> the share of draws of prices, predictions, load and seeds in which each design stays on its front",
    "sensitivity": "which variables of a space move its front, on the screen and in a run",
    "diff": "what differs between two run folders: what was asked, designs, metrics, fronts and why",
    "report": "a run folder -> one self-contained report.html and front.csv",
    "dashboard": "a run folder in optuna-dashboard, in the browser until Ctrl-C (extra viz)",
    "list": "what the catalogue holds, with units and sources",
}
"""The verbs, in the order of the help; each is ``mist_dse.app.verbs.VERB`` with ``status(job) -> int`` and its ``conf/VERB.yaml``."""

PLANNED = ("export",)
"""Verbs that are promised and that this version does not have."""

BARE = {"report": "run", "dashboard": "run", "list": "what", "robustness": "run", "sensitivity": "run", "diff": ("a", "b")}
"""The key that a word without ``=`` is the value of; of several, in their order."""


def main(words: Sequence[str] | None = None) -> int:
    """Run ``words`` (``sys.argv`` when None) and return the exit status."""
    words = list(sys.argv[1:] if words is None else words)
    debug = bool(os.environ.get("MIST_DSE_DEBUG"))
    if not debug:
        warnings.simplefilter("ignore")  # of libraries, to programmers: no matter of a user's
    try:
        status = _status(words)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("mist-dse: interrupted; everything finished is kept", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone: say nothing more, not even at exit
        return DONE
    except Exception as error:
        if debug:
            raise
        if is_bad_input(error):
            print(f"mist-dse: {one_line(error)}", file=sys.stderr)
            return BAD_INPUT
        print(f"mist-dse: a bug: {type(error).__name__}: {one_line(error)}; MIST_DSE_DEBUG=1 shows where", file=sys.stderr)
        return BUG


def _status(words: list[str]) -> int:
    from mist_dse.app import guide, words as grammar

    if not words:
        print(guide.overview(VERBS), file=sys.stderr)
        return BAD_INPUT
    if words[0] in ("-h", "--help", "help"):
        return _shown(guide.overview(VERBS))
    if words[0] == "--version":
        return _shown(f"mist-dse {guide.version()}")
    verb, rest = words[0], words[1:]
    if verb in ("-sc", "--shell-completion") or verb.startswith(("-sc=", "--shell-completion=")):
        asked = grammar.command_line(words).completion or ""
        return _shown(guide.completion(asked, VERBS))
    if verb in PLANNED:
        raise UsageError(f"{verb}: this version does not have it; it has {', '.join(VERBS)}")
    if verb not in VERBS:
        raise UsageError(f"{verb}: no such command; {nearest(verb, VERBS)}")
    asked_for = grammar.command_line(rest, bare=BARE.get(verb))
    if asked_for.help:
        return _shown(guide.verb_help(verb, VERBS[verb]))
    from mist_dse.app.config import composed, job_text

    job = composed(verb, asked_for, command=shlex.join(["mist-dse", *words]))
    if asked_for.cfg is not None:
        return _shown(job_text(job).rstrip())
    status: int = importlib.import_module(f"mist_dse.app.verbs.{verb}").status(job)
    return status


def _shown(text: str) -> int:
    print(text)
    return DONE
