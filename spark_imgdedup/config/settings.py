"""All settings of a run, and checking them as a whole."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError, field_serializer, field_validator, model_validator

from spark_imgdedup.config.explain import explain
from spark_imgdedup.config.sections import (
    ClusterConfig,
    DetectConfig,
    EmbedConfig,
    IdentifyConfig,
    InputConfig,
    OutputConfig,
    PairwiseConfig,
    RemoveConfig,
    ScoreConfig,
    TableConfig,
)
from spark_imgdedup.config.values import HIDDEN, Location, Section
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.models import Preprocess

StepName = Literal["embed", "cluster", "pairwise", "identify", "remove", "report"]
STEP_NAMES: tuple[StepName, ...] = ("embed", "cluster", "pairwise", "identify", "remove", "report")

_SECRET_KEY = re.compile(r"secret|password|token|access[.]?key", re.IGNORECASE)  # what Spark itself hides


class Config(Section):
    """Every setting of a run."""

    steps: tuple[StepName, ...] = Field(STEP_NAMES, description="The steps that `run` takes, in order")
    input: InputConfig = InputConfig()
    work_dir: Location = Field(
        "work", description="Folder of the tables between the steps, the centroids and the report"
    )
    table: TableConfig = TableConfig()
    embed: EmbedConfig = EmbedConfig()
    score: ScoreConfig = ScoreConfig()
    detect: DetectConfig = DetectConfig()
    cluster: ClusterConfig = ClusterConfig()
    pairwise: PairwiseConfig = PairwiseConfig()
    identify: IdentifyConfig = IdentifyConfig()
    remove: RemoveConfig = RemoveConfig()
    output: OutputConfig = OutputConfig()
    spark: dict[str, str] = Field(
        {},
        repr=False,
        description="Spark settings of a session that this package starts, by Spark's own names; spark-submit and "
        "Databricks bring theirs",
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_sections(cls, settings: Any) -> Any:
        # `embed:` with every line below it commented out is None in YAML.
        if not isinstance(settings, Mapping):
            return settings
        sections = {"spark", *(key.partition(".")[0] for key in _KEYS if "." in key)}
        return {name: {} if value is None and name in sections else value for name, value in settings.items()}

    @field_validator("spark", mode="before")
    @classmethod
    def _spark_settings(cls, settings: Any) -> Any:
        if not isinstance(settings, Mapping):
            return settings
        if wrong := [str(key) for key in settings if not str(key).startswith("spark.")]:
            raise ValueError(f"takes Spark's own names, such as spark.driver.memory; found {', '.join(wrong)}")
        return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in settings.items()}

    @field_serializer("spark")
    def _hide_secrets(self, settings: Mapping[str, str]) -> dict[str, str]:
        return {key: HIDDEN if _SECRET_KEY.search(key) else value for key, value in settings.items()}

    @field_validator("steps")
    @classmethod
    def _steps_in_order(cls, steps: tuple[StepName, ...]) -> tuple[StepName, ...]:
        in_order = tuple(name for name in STEP_NAMES if name in steps)
        if not steps or steps != in_order:
            raise ValueError(f"must name each step once, in the order of the data, e.g. {list(in_order or STEP_NAMES)}")
        return steps

    @property
    def own_embeddings(self) -> bool:
        """True where the run starts from the user's vectors instead of images."""
        return self.cluster.embeddings_path is not None

    @property
    def id_column(self) -> str:
        """Name of the id column in every table of the run."""
        return self.cluster.id_field if self.own_embeddings else "image_id"


def parse_config(settings: Mapping[str, Any], source: str = "config") -> Config:
    """Like Config(**settings), with one line per mistake instead of pydantic's report.

    Raises:
        ConfigError: a key is unknown or a value is out of range.
    """
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{source}: {line}" for line in explain(error, _KEYS))) from None


def describe() -> Iterator[tuple[str, Any, str]]:
    """Every setting as (dotted key, default, meaning), in the order of the data."""
    for name, field in Config.model_fields.items():
        if isinstance(field.default, Section):
            for key, inner in type(field.default).model_fields.items():
                yield f"{name}.{key}", inner.default, inner.description or ""
        else:
            yield name, field.default, field.description or ""


# Every key as it is written with dots.
_KEYS = (*(key for key, _, _ in describe()), *(f"embed.preprocess.{key}" for key in Preprocess.model_fields))
