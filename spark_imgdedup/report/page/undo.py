"""The command that brings a removed image back, as a shell takes it."""

from __future__ import annotations

import shlex

from spark_imgdedup.config import Config
from spark_imgdedup.errors import shown, without_credentials

# A longer id is for a list, not for a line.
_MOST = 1000


def stored_settings(config: Config) -> str | None:
    """Where a run has stored its settings, as commands are given them; None where ids are not those of samples."""
    if config.own_embeddings and config.remove.match_field is not None:
        return None
    return f"{without_credentials(config.work_dir).rstrip('/')}/config.yaml"


def undo_command(image_id: str, settings: str | None) -> str | None:
    """The command; None where an id holds what cannot be typed, and there is --ids-file."""
    if settings is None or len(image_id) > _MOST or shown(image_id) != image_id:
        return None
    return shlex.join(["spark-imgdedup", "restore", "--config", settings, f"--ids={image_id}"])
