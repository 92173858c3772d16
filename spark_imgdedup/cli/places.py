"""`run PATH`: the settings of a run that names its input alone, with places for all that it writes."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence

from spark_imgdedup.config import Config, parse_config
from spark_imgdedup.config.load import Given, read_settings
from spark_imgdedup.errors import ConfigError

# The form that the new dataset has by default, by that of the input.
_OUTPUT_FORMATS = {"webdataset": "webdataset", "images": "images", "table": "parquet"}


def load_settings(path: str | None, config: str | None, overrides: Sequence[str]) -> Config:
    """The settings of a file and of overrides, with PATH as their input.

    work_dir and output.path, where nothing else is said, are work and output in a new folder <name of the input>-dedup
    of the current folder; where that lies within the input, beside the input.

    Raises:
        ConfigError: the settings are wrong, or name an input beside PATH.
    """
    given = read_settings(config, overrides)
    if path is not None:
        given = _with_input(path, given)
    return parse_config(given.settings, given.to_blame)


def _with_input(path: str, given: Given) -> Given:
    if path.lower().endswith((".yaml", ".yml")):
        raise ConfigError(f"{path} is a file of settings, and PATH names what is read. Write --config {path}.")
    if given.origins.get("input.path") == "--set":
        raise ConfigError(f"the input is named twice, as {path} and by --set input.path. Leave one of them out.")
    settings, folder = dict(given.settings), _folder_for(path)
    settings["input"] = {**(settings.get("input") or {}), "path": path}
    settings.setdefault("work_dir", f"{folder}/work")
    output = dict(settings.get("output") or {})
    if output.get("mode", "overwrite") == "overwrite" and "path" not in output:
        output["path"] = f"{folder}/output"
        read = parse_config(settings, given.to_blame).input
        output.setdefault("format", _OUTPUT_FORMATS[read.format])
        settings["output"] = output
    return Given(settings, {"input.path": "PATH", **given.origins})


def _folder_for(path: str) -> str:
    from spark_imgdedup.files import storage  # fsspec: not for --help

    fixed = storage.fixed_part(path).rstrip("/")
    if "://" in fixed:
        return f"{posixpath.basename(fixed).partition('.')[0] or 'dataset'}-dedup"
    place = os.path.realpath(fixed)
    name = f"{os.path.basename(place).partition('.')[0] or 'dataset'}-dedup"
    return os.path.join(os.path.dirname(place), name) if storage.is_within(".", place) else name
