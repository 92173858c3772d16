"""The settings of a run from a YAML file and the command line, and as a file to start from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from spark_imgdedup.config.settings import Config, describe, parse_config
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files import storage


def load_config(path: str | None = None, overrides: Sequence[str] = ()) -> Config:
    """The settings of a YAML file, with `section.key=value` overrides on top.

    The value of an override is YAML: 8, 0.05, null, [a, b]. What follows `spark.` is one of Spark's own names, dots
    and all: `spark.driver.memory=4g`.

    Raises:
        ConfigError: the file cannot be read, or a key is unknown, or a value is out of range.
    """
    settings = _read_yaml(path) if path else {}
    for override in overrides:
        _apply_override(settings, override)
    return parse_config(settings, path or "--set")


def _read_yaml(path: str) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(storage.read_text(path))
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
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: expected sections such as 'input:' and 'embed:', got {type(loaded).__name__}.")
    return loaded


def _apply_override(settings: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    parts = name.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"--set needs section.key=value, got '{name}'.")
    if parts[0] == "spark" and len(parts) > 1:
        key = name.strip().removeprefix("spark.")
        parts = ["spark", key if key.startswith("spark.") else f"spark.{key}"]
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(
            f"--set {name}: the value is not valid YAML. Quote it twice for the shell: --set '{name}=\"…\"'."
        ) from None
    for section in parts[:-1]:
        inner = settings.get(section)
        settings[section] = settings = dict(inner) if isinstance(inner, dict) else {}
    settings[parts[-1]] = value


def defaults_as_yaml() -> str:
    """The defaults with their meanings as comments: a file to start from."""
    lines: list[str] = []
    section = ""
    for name, default, meaning in describe():
        head, _, key = name.rpartition(".")
        if head != section:
            lines += ["", f"{head}:"] if head else [""]
            section = head
        indent = "  " if head else ""
        value = yaml.safe_dump(_plain(default), default_flow_style=True, width=1000).removesuffix("...\n").strip()
        lines += [f"{indent}# {meaning}", f"{indent}{key}: {value}"]
    return "\n".join(lines).strip()


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
