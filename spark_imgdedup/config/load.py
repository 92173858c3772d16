"""The settings of a run from a YAML file and the command line, and as a file to start from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import yaml

from spark_imgdedup.config.settings import Config, describe, parse_config
from spark_imgdedup.errors import ConfigError

# What an error says of other keys than the wrong one.
_ADVICE = re.compile(r"Did you mean|`spark-imgdedup")
# A setting as it is written with dots, or a group of them, in an error.
_KEY = re.compile(r"[A-Za-z_]\w*(?:\.[\w.]*\w)?")


class _OneOfEach(yaml.SafeLoader):
    """YAML in which a mapping has each key once: of two, the last would win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in lines:
                problem = f"the key '{key.value}' stands in line {lines[key.value]} too; keep one of them"
                raise yaml.constructor.ConstructorError(problem=problem, problem_mark=key.start_mark)
            lines[key.value] = key.start_mark.line + 1
        return super().construct_mapping(node, deep)


def _read_one(text: str) -> tuple[Any, dict[str, int]]:
    """What YAML says, and the line of each of its keys as it is written with dots."""
    loader = _OneOfEach(text)
    try:
        node = loader.get_single_node()
        return (None, {}) if node is None else (loader.construct_document(node), dict(_lines(node)))
    finally:
        loader.dispose()


def _lines(node: yaml.Node, above: str = "") -> Iterator[tuple[str, int]]:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        name = str(key.value) if str(key.value).startswith("spark.") else f"{above}{key.value}"
        yield name, key.start_mark.line + 1
        yield from _lines(value, f"{name}.")


class Given(NamedTuple):
    """Settings as they were given, and for each that was, as it is written with dots, where."""

    settings: dict[str, Any]
    origins: dict[str, str]  # "dedup.yaml, line 3" or "--set"

    def origin(self, name: str) -> str | None:
        """Where a setting comes from, or the nearest group of settings around it; None: it is a default."""
        while name and name not in self.origins:
            name = name.rpartition(".")[0]
        return self.origins.get(name)

    def to_blame(self, line: str) -> str:
        """Where the mistake stands that a line names: the first key in it that was given, else what is around it."""
        named = _KEY.findall(_ADVICE.split(line)[0])
        exact = (self.origins[name] for name in named if name in self.origins)
        below = (self.origins[given] for name in named for given in self.origins if given.startswith(f"{name}."))
        around = (origin for name in named if (origin := self.origin(name)) is not None)
        anywhere = (origin.partition(", line ")[0] for origin in self.origins.values())
        return next(chain(exact, below, around, anywhere), "config")


def load_config(path: str | None = None, overrides: Sequence[str] = ()) -> Config:
    """The settings of a YAML file, with `section.key=value` overrides on top.

    The value of an override is YAML: 8, 0.05, null, [a, b]. What follows `spark.` is one of Spark's own names, dots
    and all: `spark.driver.memory=4g`.

    Raises:
        ConfigError: the file cannot be read, or a key is unknown, or a value is out of range.
    """
    given = read_settings(path, overrides)
    return parse_config(given.settings, given.to_blame)


def read_settings(path: str | None = None, overrides: Sequence[str] = ()) -> Given:
    """What a YAML file and overrides give, without a look at names and values.

    Raises:
        ConfigError: the file cannot be read, or an override is not of the form section.key=value.
    """
    settings, lines = _read_yaml(path) if path else ({}, {})
    origins = {name: f"{path}, line {line}" for name, line in lines.items()}
    for override in overrides:
        name = _apply_override(settings, override)
        origins = {key: origin for key, origin in origins.items() if not key.startswith(f"{name}.")}
        origins[name] = "--set"
    return Given(settings, origins)


def _read_yaml(path: str) -> tuple[dict[str, Any], dict[str, int]]:
    from spark_imgdedup.files import storage  # not for --help

    try:
        loaded, lines = _read_one(storage.read_text(path))
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file. Pass --config with one of conf/*.yaml or a file of your own."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}. Pass --config with a YAML file.") from None
    except yaml.YAMLError as error:
        # Not str(error): that quotes the line, and there may be a secret in it.
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        place = f"{path}, line {mark.line + 1}" if mark else path
        raise ConfigError(f"{place}: not valid YAML{f': {problem}' if problem else ''}.") from None
    if loaded is None:
        return {}, {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: expected sections such as 'input:' and 'embed:', got {type(loaded).__name__}.")
    return loaded, lines


def _apply_override(settings: dict[str, Any], override: str) -> str:
    """Put it in its place, and give its name with dots."""
    name, equals, text = override.partition("=")
    parts = name.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"--set needs section.key=value, got '{name}'.")
    if parts[0] == "spark" and len(parts) > 1:
        key = name.strip().removeprefix("spark.")
        parts = ["spark", key if key.startswith("spark.") else f"spark.{key}"]
    try:
        value, _ = _read_one(text)
    except yaml.YAMLError:
        raise ConfigError(
            f"--set {name}: the value is not valid YAML, or has a key twice. Quote it twice for the shell: --set "
            f"'{name}=\"…\"'."
        ) from None
    for section in parts[:-1]:
        inner = settings.get(section)
        settings[section] = settings = dict(inner) if isinstance(inner, dict) else {}
    settings[parts[-1]] = value
    return parts[-1] if parts[0] == "spark" else ".".join(parts)


def defaults_as_yaml() -> str:
    """The defaults with their meanings as comments: a file to start from."""
    return _as_yaml((name, default, f"# {meaning}", "") for name, default, meaning in describe())


def in_effect_as_yaml(config: Config, given: Given) -> str:
    """All settings as they are in effect, with where those come from that are no defaults; secrets are hidden.

    Args:
        config: The settings, with what was found out in place of `auto`.
        given: What they were made of.
    """
    return _as_yaml(_in_effect(config, given))


def _in_effect(config: Config, given: Given) -> Iterator[tuple[str, Any, str, str]]:
    dumped = config.model_dump(mode="json")
    for name, default, _ in describe():
        head, _, key = name.rpartition(".")
        value = dumped[head][key] if head else dumped[name]
        within = (origin for at, origin in given.origins.items() if at.startswith(f"{name}."))
        origin = given.origins.get(name) or ", ".join(dict.fromkeys(within)) or None
        if origin is None and value != _plain(default):
            origin = "found out" if default == "auto" else "follows from other settings"
        yield name, value, "", f"  # {origin}" if origin else ""


def _as_yaml(settings: Iterable[tuple[str, Any, str, str]]) -> str:
    """Lines of YAML, of (name with dots, value, comment above, comment behind)."""
    lines: list[str] = []
    section = ""
    for name, value, above, behind in settings:
        head, _, key = name.rpartition(".")
        if head != section:
            lines += ["", f"{head}:"] if head else [""]
            section = head
        indent = "  " if head else ""
        text = yaml.safe_dump(_plain(value), default_flow_style=True, width=1000).removesuffix("...\n").strip()
        lines += [f"{indent}{above}"] if above else []
        lines.append(f"{indent}{key}: {text}{behind}")
    return "\n".join(lines).strip()


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
