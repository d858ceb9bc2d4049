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
from mist_dse.app.words import EVERYWHERE, Words, heads
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
        _known_heads(verb, words.overrides)
        try:
            config = compose(verb, overrides=list(words.overrides), return_hydra_config=True)
            choices = {str(group): str(name) for group, name in config.hydra.runtime.choices.items()}
            del config._content["hydra"]  # type: ignore[union-attr]
            data = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        except (HydraException, OmegaConfBaseException, AttributeError) as error:
            raise UsageError(_sentence(error)) from error
    assert isinstance(data, dict)
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
    shown = sorted((keys - {"every"}) | (set(EVERYWHERE) if "every" in keys else set()))
    for head, text in heads(overrides).items():
        if head not in keys and head != "hydra" and not text.startswith("+"):
            raise UsageError(f"{text}: {verb} has no key {head!r}; {nearest(head, shown)}")


def _sentence(error: Exception) -> str:
    """What Hydra or OmegaConf says, on one line and with the nearest names."""
    typed = getattr(error, "override", None)
    if typed is not None:
        return f"{typed}: not an override that can be read ({str(error).splitlines()[0]}); quote what holds brackets, commas or spaces"
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
        return f"{key or unknown[1]}: no such key"
    return re.sub(r"\s*See https?://\S+.*", "", one_line(error) if len(str(error)) < 200 else text)


def _shown(path: Path) -> str:
    """``path`` from the working directory where it lies below it, from ``conf/`` where it ships with the package."""
    if path.is_relative_to(conf_dir()):
        return str(Path("conf") / path.relative_to(conf_dir()))
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
