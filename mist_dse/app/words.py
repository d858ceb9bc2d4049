"""The words of a command line: flags, and the overrides that a user types rewritten to the keys of the composed configuration.

A user types ``accelerator=l40s workload.rate=2 pools.decode.tp=8``; the configuration holds ``every.accelerator``,
``workload.arrivals.rate`` and ``pools.decode.tp``; ``benchmark=NAME`` becomes ``recipe=NAME``. Keys inside entities are forced in
(``++``), so that a file may leave out what has a default; the strict models of the catalogue then refuse what they do not know.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mist_dse.app.errors import UsageError

EVERYWHERE = ("model", "accelerator", "engine", "topology")
"""Keys that set a field of every pool (services keep theirs), or of the design; the configuration holds them under ``every``, because each
names a group too."""

RENAMED = {"benchmark": "recipe", "host": "address"}
"""Keys that are typed like the folder of a group but name one of its files by a plain value; the configuration calls them otherwise."""

WORKLOAD_SHORT = {name: f"arrivals.{name}" for name in ("rate", "requests", "cv", "clients", "path", "scale")}
"""Short names of ``workload.``; input_tokens, output_tokens and seed stand at its top already."""

OPEN_NODES = ("design", "workload", "space", "slo", "pools", "services", "handoff")
"""Entities: plain data whose keys the catalogue checks, not Hydra; ``handoff.`` is that of the design."""

_WORD = re.compile(r"(?P<sign>\+\+|\+|~)?(?P<key>[A-Za-z_][\w./@:*-]*)(?P<value>=.*)?", re.DOTALL)


class Words(NamedTuple):
    """A command line taken apart; ``overrides`` are Hydra's, ``cfg``, ``config_dir`` and ``completion`` None where not given."""

    overrides: tuple[str, ...]
    help: bool = False
    cfg: str | None = None
    config_dir: str | None = None
    completion: str | None = None


def command_line(words: Sequence[str], *, bare: str | Sequence[str] | None = None) -> Words:
    """Flags and rewritten overrides of ``words``; a word without ``=`` is the value of the key ``bare``, where the verb has one, or of
    the next of several (the last takes all that are left)."""
    keys = [bare] if isinstance(bare, str) else list(bare or ())
    flags: dict[str, str] = {}
    overrides: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("-"):
            name, value = _flag(word, rest)
            flags[name] = value
        elif "=" not in word and not word.startswith("~") and keys:
            overrides.append(f"{keys[0]}={quoted(word)}")
            keys = keys[1:] or keys
        else:
            overrides.append(override(word))
    return Words(tuple(overrides), help="help" in flags, cfg=flags.get("cfg"), config_dir=flags.get("config-dir"),
                 completion=flags.get("shell-completion"))  # fmt: skip


_FLAGS = {"-h": "help", "-c": "cfg", "-cd": "config-dir", "-sc": "shell-completion"}


def _flag(word: str, rest: list[str]) -> tuple[str, str]:
    """Name and value of the flag ``word``; its value is taken off ``rest`` where it stands apart."""
    text, equals, value = word.partition("=")
    name = _FLAGS.get(text, text.removeprefix("--"))
    if name not in _FLAGS.values() or (text.startswith("--") is False and text not in _FLAGS):
        raise UsageError(f"{text}: no such flag; valid: --help, --cfg job, --config-dir DIR, --shell-completion install=bash|zsh")
    if name == "help":
        return name, ""
    if not equals:
        if not rest:
            raise UsageError(f"{text} needs a value, such as {text} {_EXAMPLES[name]}")
        value = rest.pop(0)
    if name == "cfg" and value != "job":
        raise UsageError(f"{text} {value}: valid: job")
    return name, value


_EXAMPLES = {"cfg": "job", "config-dir": "my_conf", "shell-completion": "install=bash"}


def override(word: str) -> str:
    """The Hydra override for what a user types.

    >>> override("accelerator=l40s"), override("workload.rate=2")
    ('every.accelerator=l40s', '++workload.arrivals.rate=2')
    >>> override("pools.decode.tp=8"), override("workload=poisson")
    ('++pools.decode.tp=8', 'workload=poisson')
    """
    match = _WORD.fullmatch(word)
    if match is None or (match["value"] is None and match["sign"] != "~"):
        raise UsageError(f"{word!r} is not an override: write key=value, such as workload.rate=2")
    sign, key, value = match["sign"] or "", match["key"], match["value"] or ""
    if key in EVERYWHERE:
        return f"{sign}every.{key}{value}"
    if key in RENAMED:
        return f"{sign}{RENAMED[key]}{value}"
    head, dot, tail = key.partition(".")
    if not dot or head not in OPEN_NODES:
        return word
    if head == "handoff":
        head, tail = "design", f"handoff.{tail}"
    if head == "workload":
        tail = WORKLOAD_SHORT.get(tail, tail)
    return f"{sign or '++'}{head}.{tail}{value}"


def typed(key: str) -> str:
    """A key of the configuration as a user types it.

    >>> typed("recipe"), typed("port")
    ('benchmark', 'port')
    """
    return next((name for name, renamed in RENAMED.items() if renamed == key), key)


def quoted(value: str) -> str:
    r"""``value`` as one literal string of Hydra's override grammar.

    >>> print(quoted("runs/it's"))
    'runs/it\'s'
    """
    # Hydra reads a backslash as an escape only in front of a quote.
    return "'" + re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), value) + "'"


def heads(overrides: Sequence[str]) -> Mapping[str, str]:
    """First key of each override (without ``+``, ``++``, ``~``, package) and the override it came from."""
    found = {}
    for text in overrides:
        key = text.lstrip("+~").partition("=")[0]
        found[re.split(r"[.@/]", key, maxsplit=1)[0]] = text
    return found
