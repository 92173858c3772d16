"""One frozen model per step. Defaults, ranges and meanings live here and nowhere else.

A YAML file states what differs (config_file.py reads it); `spark-imgdedup config` prints every setting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from spark_imgdedup.config_errors import explain
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.models import Preprocess

StepName = Literal["embed", "cluster", "pairwise", "identify", "remove", "report"]
STEP_NAMES: tuple[StepName, ...] = ("embed", "cluster", "pairwise", "identify", "remove", "report")

HIDDEN = "**********"
_SECRET_KEY = re.compile(r"secret|password|token|access[.]?key", re.IGNORECASE)  # what Spark itself hides


def _refuse_bool(value: Any) -> Any:
    # YAML reads on, off, yes and no as booleans, and Python takes those for 1 and 0.
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def _refuse_nothing(value: Any) -> Any:
    if value in ("", [], ()):
        raise ValueError("must not be empty")
    return tuple(value) if isinstance(value, list) else value


Seed = Annotated[int, BeforeValidator(_refuse_bool)]
Count = Annotated[int, BeforeValidator(_refuse_bool), Field(ge=1)]
Eps = Annotated[float, BeforeValidator(_refuse_bool), Field(ge=0, lt=1)]
Location = Annotated[str, BeforeValidator(_refuse_nothing)]
Locations = Annotated[str | tuple[Location, ...], BeforeValidator(_refuse_nothing)]


class Section(BaseModel):
    """A group of settings: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class _StorageSection(Section):
    storage_options: dict[str, Any] = Field(
        {},
        repr=False,
        description="Options of the fsspec file system (keys, endpoint, …). Empty: the environment's own credentials. "
        "Never written to logs, reports or config.yaml",
    )

    @field_serializer("storage_options")
    def _hide_values(self, options: Mapping[str, Any]) -> dict[str, str]:
        return dict.fromkeys(options, HIDDEN)


class InputConfig(_StorageSection):
    """What is read: tars, loose images, or a table with an image column."""

    path: Locations | None = Field(
        None, description="A folder (read recursively), a glob, or a list of either; a table's path for format table"
    )
    root: str | None = Field(
        None, description="Folder below which shard names count. Null: the folder given; required for a list or a glob"
    )
    format: Literal["webdataset", "images", "table"] = Field(
        "webdataset", description="webdataset: tars; images: loose image files; table: Parquet or Delta"
    )
    image_column: str = Field("image", description="Binary column with the encoded image (format table)")
    image_member: str | None = Field(
        None, description="Which image of a sample that has several, by its extension: jpg, 1.jpg, seg.png"
    )
    id_field: str | None = Field(
        None,
        description="Field of the sample's json (or column of the table) to use as image_id. Null: shard path + key",
    )
    max_image_bytes: Count = Field(128 * 2**20, description="A larger image file is marked too_large and not decoded")
    max_image_pixels: Count = Field(
        89_478_485,
        description="An image of more pixels is marked too_large and not decoded (the default is Pillow's own bound)",
    )

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths given, as a tuple whatever their number."""
        if self.path is None:
            raise ConfigError(
                "input.path is not set. Name the folder of shards, a glob or a list, e.g. --set input.path=data/"
            )
        return (self.path,) if isinstance(self.path, str) else self.path


class TableConfig(Section):
    """How the tables between the steps are stored."""

    format: Literal["parquet", "delta"] = Field("parquet", description="Format of every table in work_dir")
    embedding_type: Literal["float16", "float32", "array"] = Field(
        "float16",
        description="float16 and float32: little-endian binary, fast; array: list<float>, which other tools read",
    )


class EmbedConfig(Section):
    """How images become vectors."""

    model: str = Field(
        "efficientnet-lite0",
        description="efficientnet-lite0 (comes with the package), open_clip:<arch>/<pretrained>, "
        "open_clip:local-dir:<path>, timm:<name>[@checkpoint], onnx:<path>, or my_pkg.my_module:MyEncoder",
    )
    model_dir: str | None = Field(None, description="Local cache of weights, filled by spark-imgdedup fetch-model")
    device: Literal["auto", "cpu", "gpu"] = Field(
        "auto",
        description="auto: the GPU that Spark assigned to the task, else the CPU; gpu: an error where there is none",
    )
    batch_size: Count = Field(32, description="Images per model call")
    decode_threads: Count | Literal["auto"] = Field(
        "auto", description="Threads that decode images; auto: the task's cores"
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="Arithmetic of the model")
    preprocess: Preprocess | None = Field(
        None, description="Input of an onnx: model: size, layout, dtype, mean, std, …"
    )


class ClusterConfig(Section):
    """How images are grouped, so that only images of one group need comparing."""

    n_clusters: Count | Literal["auto"] = Field(
        "auto", description="auto: the number that makes the whole search cheapest"
    )
    sample_rows: Count | None = Field(None, description="Rows k-means is trained on. Null: at most 256 per cluster")
    random_state: Seed = Field(42, description="Seed of the sample and of k-means")
    max_iter: Count = Field(25, description="Iterations of k-means")
    train_threads: Count = Field(
        1, description="Threads of the one task that trains; a fixed number, so that runs repeat"
    )
    embeddings_path: Location | None = Field(
        None,
        description="Start here: any Parquet or Delta table of (id, embedding). Null: the embeddings of the embed step",
    )
    id_field: str = Field("id", description="Id column of embeddings_path: string or integer")
    embedding_field: str = Field("embedding", description="Embedding column of embeddings_path")


class PairwiseConfig(Section):
    """How the images of one cluster are ranked and compared."""

    which_to_keep: Literal["hard", "easy", "random"] = Field(
        "hard",
        description="hard: the image farthest from its centroid stays; easy: the nearest; random: by a hash",
    )
    random_state: Seed = Field(42, description="Seed of which_to_keep random")
    batch_size: Count = Field(1024, description="Rows per matrix product: bounds memory, never changes the result")


class IdentifyConfig(Section):
    """When an image is a duplicate."""

    eps: Eps | Literal["auto"] | None = Field(
        "auto",
        description="Cosine distance: a row is a duplicate when cosine_sim_score >= 1 - eps. auto: the encoder's "
        "measured preset (0.01 for embeddings of your own); null: stop after similarities",
    )
    rule: Literal["semdedup"] = Field(
        "semdedup",
        description="semdedup: a row goes when it resembles any better-ranked row, even one that goes itself",
    )


class RemoveConfig(Section):
    """What leaves the dataset."""

    ids_path: Locations | None = Field(
        None, description="Parquet or Delta table(s) of ids to remove. Null: the duplicates of the identify step"
    )
    id_field: str = Field("image_id", description="Id column of ids_path")
    drop: tuple[Literal["duplicates", "rejected"], ...] = Field(
        ("duplicates", "rejected"),
        description="duplicates: what identify (or ids_path) names; rejected: what a filter marked",
    )
    unreadable: Literal["keep", "drop"] = Field(
        "keep", description="Samples without a readable image are copied verbatim, or left out"
    )


class OutputConfig(_StorageSection):
    """Where the dataset without duplicates goes."""

    path: Location | None = Field(
        None, description="Folder of the new dataset; must not lie under the input, nor the input under it"
    )
    format: Literal["webdataset", "parquet", "delta"] = Field(
        "webdataset", description="webdataset: tars, bytes verbatim; parquet, delta: (image_id, shard, key, members)"
    )
    repack: Count | None = Field(
        None, description="Samples per output tar. Null: one output tar for each input tar, under the same name"
    )


class Config(Section):
    """Every setting of a run."""

    steps: tuple[StepName, ...] = Field(STEP_NAMES, description="The steps that `run` takes, in order")
    input: InputConfig = InputConfig()
    work_dir: Location = Field(
        "work", description="Folder of the tables between the steps, the centroids and the report"
    )
    table: TableConfig = TableConfig()
    embed: EmbedConfig = EmbedConfig()
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
