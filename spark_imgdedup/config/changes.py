"""Settings with others in place of some, named as people name them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spark_imgdedup.config.explain import explain_unknown
from spark_imgdedup.config.values import Section
from spark_imgdedup.errors import ConfigError


def with_changes(settings: Section, changes: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """What `settings` was given, changed, as its class takes it.

    Args:
        settings: All of them.
        changes: Values by dotted names, by their last parts, or by sections.
        keys: The dotted names that there are.

    Raises:
        ConfigError: no setting has such a name, or several have.
    """
    given = settings.given()
    for name, value in changes.items():
        section, _, key = _full_name(name, given.keys() | {key.partition(".")[0] for key in keys}, keys).partition(".")
        if key:
            given[section] = {**given.get(section, {}), key: value}
        elif isinstance(value, Mapping) and isinstance(given.get(section), dict):
            given[section] = {**given[section], **value}
        else:
            given[section] = value.given() if isinstance(value, Section) else value
    return given


def _full_name(name: str, sections: set[str], keys: Sequence[str]) -> str:
    if name in keys or name in sections or name.startswith(("spark.", "embed.preprocess.")):
        return name
    ending = [key for key in keys if key.endswith(f".{name}")]
    if len(ending) == 1:
        return ending[0]
    if ending:
        raise ConfigError(f"with_: '{name}' is the name of several settings: {', '.join(ending)}. Write one of them.")
    raise ConfigError(f"with_: {explain_unknown(name, keys)}")
