"""The settings of a run: every default (sections), checked as a whole (settings), read from YAML (load)."""

from __future__ import annotations

from spark_imgdedup.config.load import defaults_as_yaml, load_config
from spark_imgdedup.config.output import OutputConfig
from spark_imgdedup.config.search import (
    ClusterConfig,
    DetectConfig,
    IdentifyConfig,
    PairwiseConfig,
    ReportConfig,
)
from spark_imgdedup.config.sections import (
    EmbedConfig,
    InputConfig,
    RemoveConfig,
    ScoreConfig,
    ScorerConfig,
    TableConfig,
)
from spark_imgdedup.config.settings import Config, describe, parse_config
from spark_imgdedup.config.steps import STEP, STEP_NAMES, Step, StepName
from spark_imgdedup.config.values import Section

__all__ = [
    "STEP",
    "STEP_NAMES",
    "ClusterConfig",
    "Config",
    "DetectConfig",
    "EmbedConfig",
    "IdentifyConfig",
    "InputConfig",
    "OutputConfig",
    "PairwiseConfig",
    "RemoveConfig",
    "ReportConfig",
    "ScoreConfig",
    "ScorerConfig",
    "Section",
    "Step",
    "StepName",
    "TableConfig",
    "defaults_as_yaml",
    "describe",
    "load_config",
    "parse_config",
]
