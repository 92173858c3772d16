"""One frozen model per step. Defaults, ranges and meanings live here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_serializer

from spark_imgdedup.errors import ConfigError
from spark_imgdedup.models import Preprocess

HIDDEN = "**********"


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
Count = Annotated[int, Field(ge=1), BeforeValidator(_refuse_bool)]
Eps = Annotated[float, Field(ge=0, lt=1), BeforeValidator(_refuse_bool)]
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
