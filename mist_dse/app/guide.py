"""Help texts and shell completion, read off the configuration files so that they cannot fall behind them."""

import os
from collections.abc import Mapping

from mist_dse.app.errors import UsageError


def version() -> str:
    """The installed version."""
    from importlib.metadata import PackageNotFoundError, version as installed

    try:
        return installed("mist-dse")
    except PackageNotFoundError:
        return "(not installed)"


def overview(verbs: Mapping[str, str]) -> str:
    """``mist-dse --help``."""
    width = max(map(len, verbs)) + 2
    lines = [f"  {verb:<{width}}{sentence}" for verb, sentence in verbs.items()]
    return "\n".join([
        "usage: mist-dse VERB [key=value ...] [--help] [--cfg job] [--config-dir DIR]", "", *lines, "",
        "mist-dse VERB --help tells the keys of a verb. Results go to standard output (format=table|json|csv), progress and logs to",
        "standard error. Exit status: 0 done, 1 nothing feasible or a requirement missed, 2 bad input, 130 interrupted.",
        'Shell completion: eval "$(mist-dse --shell-completion install=bash)"',
    ])  # fmt: skip


def verb_help(verb: str, sentence: str) -> str:
    """``mist-dse VERB --help``: the commented configuration file of the verb, and the choices of its groups."""
    from mist_dse.app.config import groups_of
    from mist_dse.catalog import conf_dir

    lines = [f"mist-dse {verb}: {sentence}", ""]
    for line in (conf_dir() / f"{verb}.yaml").read_text(encoding="utf-8").splitlines():
        lines.append(f"  {line}" if line else "")
    for group in groups_of(verb):
        names = sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))
        lines.append(f"  {group}= {', '.join(names)}")
    return "\n".join(lines)


def completion(asked: str, verbs: Mapping[str, str]) -> str:
    """The shell code for ``install=bash|zsh``, or for ``query=bash`` the words that may follow ``$COMP_LINE``."""
    if asked in ("install=bash", "install=zsh"):
        return (_ZSH if asked.endswith("zsh") else "") + _BASH
    if asked != "query=bash":
        raise UsageError(f"--shell-completion {asked}: valid: install=bash, install=zsh")
    words = os.environ.get("COMP_LINE", "").split(" ")[1:]
    if len(words) <= 1:
        return " ".join(verb for verb in verbs if verb.startswith("".join(words)))
    if words[0] not in verbs:
        return ""
    from mist_dse.app.config import completions

    return " ".join(completions(words[0], " ".join(words[1:])))


_ZSH = "autoload -U +X bashcompinit && bashcompinit\n"

_BASH = """_mist_dse_completion() {
  local words=$(COMP_LINE=$COMP_LINE mist-dse --shell-completion query=bash 2>/dev/null)
  COMPREPLY=($(compgen -o nospace -W "$words" -- "$2"))
}
COMP_WORDBREAKS=${COMP_WORDBREAKS//=}
complete -o nospace -o default -F _mist_dse_completion mist-dse"""
