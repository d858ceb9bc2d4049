"""Composition: Hydra once per command over ``conf/`` and the user's folder, then plain dictionaries.

Composing takes about 65 ms and reading a node of OmegaConf 32 us, so the rest of the program only sees plain data. Hydra
makes no folder, log or change of directory, because only its compose interface is used. Its errors become one line.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mist_dse.app.errors import UsageError, nearest, one_line
from mist_dse.app.words import EVERYWHERE, WORKLOAD_SHORT, Words, heads, typed
from mist_dse.catalog import conf_dir


class Job(NamedTuple):
    """What one command is to do: its verb, the composed configuration, the group choices behind it and where entities are looked up."""

    verb: str
    config: Mapping[str, Any]
    choices: Mapping[str, str]
    directories: tuple[Path, ...]
    command: str

    def file(self, group: str) -> str:
        """The file that was chosen for ``group``, as messages name it."""
        name = self.choices.get(group, group)
        found = [folder / group / f"{name}.yaml" for folder in self.directories if (folder / group / f"{name}.yaml").exists()]
        return _shown(found[0]) if found else f"{group}={name}"


def composed(verb: str, words: Words, *, command: str = "") -> Job:
    """The job of ``verb`` under the overrides of ``words``; ``UsageError`` where they cannot be composed."""
    from hydra import compose
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    directories = _directories(words.config_dir)
    with _hydra(directories):
        try:
            _check_overrides(verb, words.overrides)
            config = compose(verb, overrides=list(words.overrides), return_hydra_config=True)
            choices = {str(group): str(name) for group, name in config.hydra.runtime.choices.items()}
            del config._content["hydra"]  # type: ignore[union-attr]
            data = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        except (HydraException, OmegaConfBaseException, AttributeError) as error:
            raise UsageError(_sentence(error)) from error
    assert isinstance(data, dict)
    _check_mappings(verb, data)
    return Job(verb, {str(key): value for key, value in data.items()}, choices, directories, command)


def job_text(job: Job) -> str:
    """The configuration of ``job`` as YAML, for ``--cfg job`` and the run folder."""
    import yaml

    return yaml.safe_dump(dict(job.config), sort_keys=False, allow_unicode=True, width=120)


def completions(verb: str, line: str) -> list[str]:
    """What may follow ``line``, the words typed after the verb: groups, their choices and keys, as Hydra completes them."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.plugins.completion_plugin import DefaultCompletionPlugin

    with _hydra((conf_dir(),)):
        loader = GlobalHydra.instance().config_loader()
        return DefaultCompletionPlugin(loader)._query(verb, line)


def top_keys(verb: str) -> dict[str, Any]:
    """The configuration file of ``verb`` as it stands: its keys and their defaults."""
    import yaml

    data: dict[str, Any] = yaml.safe_load((conf_dir() / f"{verb}.yaml").read_text(encoding="utf-8"))
    return data


def groups_of(verb: str) -> dict[str, str | None]:
    """The groups that the file of ``verb`` composes, and the choice of each when none is typed."""
    found: dict[str, str | None] = {}
    for entry in top_keys(verb).get("defaults", ()):
        if isinstance(entry, dict):
            found |= {str(group).removeprefix("optional "): name for group, name in entry.items()}
    return found


def _directories(config_dir: str | None) -> tuple[Path, ...]:
    if config_dir is None:
        return (conf_dir(),)
    folder = Path(config_dir).expanduser()
    if not folder.is_dir():
        raise UsageError(f"--config-dir {config_dir}: no such folder; give one with folders like design/ and workload/ in it")
    return folder.resolve(), conf_dir()


@contextmanager
def _hydra(directories: Sequence[Path]) -> Iterator[None]:
    """Hydra over ``directories``, the first folder that has a file wins; the last one must hold the files of the verbs."""
    # What initialize_config_dir does; its one folder and the folders of hydra.searchpath would come before a user's.
    from hydra import version
    from hydra._internal.hydra import Hydra
    from hydra._internal.utils import create_config_search_path
    from hydra.core.global_hydra import GlobalHydra

    version.setbase(None)
    *before, packaged = directories
    path = create_config_search_path(str(packaged.resolve()))
    for folder in before:
        path.prepend("user", f"file://{folder}", "main")
    GlobalHydra.instance().clear()
    Hydra.create_main_hydra2("mist-dse", path)
    try:
        yield
    finally:
        GlobalHydra.instance().clear()


def _known_heads(verb: str, overrides: Sequence[str]) -> None:
    """``UsageError`` with the nearest keys if an override starts with a key that ``verb`` does not have."""
    keys = {key for key in top_keys(verb) if key != "defaults"} | set(groups_of(verb))
    shown = sorted({typed(key) for key in keys - {"every"}} | (set(EVERYWHERE) if "every" in keys else set()))
    for head, text in heads(overrides).items():
        if head not in keys and head != "hydra":
            word, name = text.lstrip("+"), typed(head)
            raise UsageError(f"{name}{word.removeprefix(head)}: {verb} has no key {name!r}; {nearest(name, shown)}")


def _check_overrides(verb: str, overrides: Sequence[str]) -> None:
    """``UsageError`` for overrides that Hydra takes and the verb cannot: unknown or removed keys, choices that are no names."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from mist_dse.catalog_errors import keys_of
    from mist_dse.catalog_workload import WorkloadEntry

    _known_heads(verb, overrides)
    groups = groups_of(verb)
    for item in OverridesParser.create().parse_overrides(list(overrides)):
        word, key = str(item.input_line).lstrip("+"), item.key_or_group
        if item.is_delete() and "." not in key:
            raise UsageError(f"{word}: {verb} needs {key}, which cannot be removed; set it by {key}=...")
        if key in groups and not item.is_delete() and (item.value() is None or isinstance(item.value(), int | float | dict)):
            names = [path.stem for path in (conf_dir() / key).glob("*.yaml")]
            none = "" if groups[key] else f", or left out for no {key}"
            raise UsageError(f"{word}: must be the name of a file in conf/{key}{none}; {nearest(item.value(), names)}")
        head, _, tail = key.partition(".")
        name, known = tail.partition(".")[0], keys_of(WorkloadEntry)
        if head == "workload" and name and name not in known:
            raise UsageError(f"{word}: a workload has no key {name!r}; {nearest(name, [*known, *WORKLOAD_SHORT])}")


def _check_mappings(verb: str, data: Mapping[Any, Any]) -> None:
    """``UsageError`` where ``data`` lacks a choice that ``verb`` needs, or has a plain value in place of keys."""
    needed = {group for group, default in groups_of(verb).items() if default is not None}
    for key in sorted(needed | {name for name, value in top_keys(verb).items() if isinstance(value, dict)}):
        if not isinstance(data.get(key), dict):
            way = f"write {key}=NAME" if key in needed else f"write {key}.KEY=VALUE"
            raise UsageError(f"{key} is {data.get(key)!r}: must be a mapping; {way}")


def _sentence(error: Exception) -> str:
    """What Hydra or OmegaConf says, on one line and with the nearest names."""
    word = getattr(error, "override", None)
    if word is not None:
        return f"{str(word).lstrip('+')}: not an override that can be read; quote texts with brackets, commas, spaces or signs: {_QUOTED}"
    options = getattr(error, "options", None)
    missing = getattr(error, "missing_cfg_file", None)
    if missing and options is not None:
        group, _, name = str(missing).rpartition("/")
        return f"{group}={name}: conf/{missing}.yaml does not exist; {nearest(name, options)}" if group else one_line(error)
    key = getattr(error, "full_key", None)
    text = str(error).splitlines()[0]
    if key and "Missing mandatory value" in text:
        return f"{key} is missing: write {key}=..."
    unknown = re.match(r"Key '(.+?)' is not in struct", text) or re.match(r"Could not override '(.+?)'", text)
    if unknown:
        return f"{key or unknown[1]}: no such key; --help lists those there are"
    return re.sub(r"\s*See https?://\S+.*", "", one_line(error) if len(str(error)) < 200 else text)


_QUOTED = "'objectives=[\"min usd_per_mtok\"]'"
"""How a shell passes a list of texts on."""


def _shown(path: Path) -> str:
    """``path`` from the working directory where it lies below it, from ``conf/`` where it ships with the package."""
    if path.is_relative_to(conf_dir()):
        return str(Path("conf") / path.relative_to(conf_dir()))
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
