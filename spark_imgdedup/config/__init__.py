"""The settings of a run: every default (sections), checked as a whole (settings), read from YAML (load)."""

from __future__ import annotations

from spark_imgdedup.config.load import load_config
from spark_imgdedup.config.sections import (
    ClusterConfig,
    EmbedConfig,
    IdentifyConfig,
    InputConfig,
    OutputConfig,
    PairwiseConfig,
    RemoveConfig,
    Section,
    TableConfig,
)
from spark_imgdedup.config.settings import STEP_NAMES, Config, StepName, describe, parse_config

__all__ = [
    "STEP_NAMES",
    "ClusterConfig",
    "Config",
    "EmbedConfig",
    "IdentifyConfig",
    "InputConfig",
    "OutputConfig",
    "PairwiseConfig",
    "RemoveConfig",
    "Section",
    "StepName",
    "TableConfig",
    "describe",
    "load_config",
    "parse_config",
]
