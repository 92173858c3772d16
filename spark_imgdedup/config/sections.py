"""One frozen model per step. Defaults, ranges and meanings live here and nowhere else."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from spark_imgdedup.config.values import (
    Columns,
    Count,
    Eps,
    JsonFields,
    Limit,
    Location,
    Locations,
    Section,
    Seed,
    Share,
    StorageSection,
    refuse_bool,
)
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.models import Preprocess


class InputConfig(StorageSection):
    """What is read: tars, loose images, or a table with an image column."""

    path: Locations | None = Field(
        default=None,
        description="A folder (read recursively), a glob, or a list of either; a table's path for format table",
    )
    root: str | None = Field(
        default=None,
        description="Folder below which shard names count. Null: the folder given; required for a list or a glob",
    )
    format: Literal["webdataset", "images", "table"] = Field(
        default="webdataset", description="webdataset: tars; images: loose image files; table: Parquet or Delta"
    )
    image_column: str = Field(default="image", description="Binary column with the encoded image (format table)")
    image_member: str | None = Field(
        default=None, description="Which image of a sample that has several, by its extension: jpg, 1.jpg, seg.png"
    )
    id_field: str | None = Field(
        default=None,
        description="Field of the sample's json (or column of the table) to use as image_id. Null: shard path + key",
    )
    json_fields: JsonFields = Field(
        default={},
        description="Fields of the sample's json that become columns of `embeddings`, with their types (string, "
        "double, bigint, boolean): {source: string, similarity: double}; a list of names takes them as text",
    )
    max_image_bytes: Count = Field(
        default=128 * 2**20, description="A larger image file is marked too_large and not decoded"
    )
    max_image_pixels: Count = Field(
        default=89_478_485,
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

    format: Literal["parquet", "delta"] = Field(default="parquet", description="Format of every table in work_dir")
    embedding_type: Literal["float16", "float32", "array"] = Field(
        default="float16",
        description="float16 and float32: little-endian binary, fast; array: list<float>, which other tools read",
    )


class EmbedConfig(Section):
    """How images become vectors."""

    model: str = Field(
        default="efficientnet-lite0",
        description="efficientnet-lite0 (comes with the package), open_clip:<arch>/<pretrained>, "
        "open_clip:local-dir:<path>, timm:<name>[@checkpoint], onnx:<path>, or my_pkg.my_module:MyEncoder",
    )
    model_dir: str | None = Field(
        default=None, description="Local cache of weights, filled by spark-imgdedup fetch-model"
    )
    device: Literal["auto", "cpu", "gpu"] = Field(
        default="auto",
        description="auto: the GPU that Spark assigned to the task, else the CPU; gpu: an error where there is none",
    )
    batch_size: Count = Field(default=32, description="Images per model call")
    decode_threads: Count | Literal["auto"] = Field(
        default="auto", description="Threads that decode images; auto: the task's cores"
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(default="fp32", description="Arithmetic of the model")
    preprocess: Preprocess | None = Field(
        default=None, description="Input of an onnx: model: size, layout, dtype, mean, std, …"
    )
    pixel_scorers: Columns = Field(
        default=(),
        description="Scores taken from the pixels while they are decoded: open_nsfw, or my_pkg.my_module:MyScorer; "
        "each becomes a column <name>_score, which score.scorers filters by",
    )


class ScorerConfig(Section):
    """A score of your own, and which images it rejects."""

    name: str = Field(pattern="^[a-z][a-z0-9_]*$", description="Gives the column <name>_score and the reason <name>")
    scorer: str | None = Field(
        default=None,
        description="my_pkg.my_module:MyScorer, which scores embeddings. Null: <name>_score is a column already",
    )
    min_score: Limit | None = Field(default=None, description="Images with score >= min_score stay")
    max_score: Limit | None = Field(default=None, description="Images with score < max_score stay")


class ScoreConfig(Section):
    """Which images a score rejects, whatever they repeat."""

    aesthetic_head: Location | None = Field(
        default=None, description="Weight file of an aesthetic head for this encoder: safetensors, npz or PyTorch"
    )
    min_aesthetic_score: Limit | None = Field(
        default=None, description="Images with aesthetic_score >= this stay; LAION's heads score from about 0 to 10"
    )
    nsfw_head: Location | None = Field(default=None, description="Weight file of an NSFW head for this encoder")
    max_nsfw_score: Limit | None = Field(
        default=None,
        description="Images with nsfw_score < this stay; a probability, one that equals the limit is rejected",
    )
    scorers: tuple[ScorerConfig, ...] = Field(
        default=(), description="Scores of your own: a list of {name, scorer, min_score, max_score}"
    )

    @property
    def heads(self) -> dict[str, str]:
        """The weight files that are named, by the name of their score."""
        files = {"aesthetic": self.aesthetic_head, "nsfw": self.nsfw_head}
        return {name: file for name, file in files.items() if file is not None}

    @property
    def is_idle(self) -> bool:
        """True where nothing is scored."""
        return not self.heads and not self.scorers

    @model_validator(mode="after")
    def _limits_have_scores(self) -> ScoreConfig:
        if self.min_aesthetic_score is not None and self.aesthetic_head is None:
            raise ValueError(
                f"min_aesthetic_score is {self.min_aesthetic_score}, but aesthetic_head is not set. Name its file"
            )
        if self.max_nsfw_score is not None and self.nsfw_head is None:
            raise ValueError(f"max_nsfw_score is {self.max_nsfw_score}, but nsfw_head is not set. Name its file")
        return self


class DetectConfig(Section):
    """What finds repeats: embeddings, or hashes alone, or hashes before embeddings."""

    method: Literal["embedding", "exact", "phash"] = Field(
        default="embedding",
        description="embedding: cluster and compare; exact: equal bytes or pixels; phash: perceptual hashes within "
        "phash_radius. The last two need no model",
    )
    prepass: tuple[Literal["exact", "phash"], ...] = Field(
        default=(),
        description="With method embedding. exact: copies collapse before clustering; phash: images whose hashes are "
        "near each other count as pairs too",
    )
    phash_bits: Literal[64, 256] = Field(default=64, description="Bits of a perceptual hash")
    phash_radius: Annotated[int, Field(ge=0), BeforeValidator(refuse_bool)] = Field(
        default=3, description="Hashes that differ in at most that many bits are near each other"
    )

    @property
    def hashes(self) -> frozenset[str]:
        """The hashes that the images need: exact, phash, both or none."""
        return frozenset(self.prepass if self.method == "embedding" else (self.method,))


class ClusterConfig(Section):
    """How images are grouped, so that only images of one group need comparing."""

    n_clusters: Count | Literal["auto"] = Field(
        default="auto", description="auto: the number that makes the whole search cheapest"
    )
    sample_rows: Count | None = Field(
        default=None, description="Rows k-means is trained on. Null: at most 256 per cluster"
    )
    random_state: Seed = Field(default=42, description="Seed of the sample and of k-means")
    max_iter: Count = Field(default=25, description="Iterations of k-means")
    train_threads: Count = Field(
        default=1, description="Threads of the one task that trains; a fixed number, so that runs repeat"
    )
    metadata_columns: Columns = Field(
        default=(),
        description="Columns that stay with the rows through clusters, similarities and duplicates, e.g. to rank by",
    )
    embeddings_path: Location | None = Field(
        default=None,
        description="Start here: any Parquet or Delta table of (id, embedding). Null: the embeddings of the embed step",
    )
    id_field: str = Field(default="id", description="Id column of embeddings_path: string or integer")
    embedding_field: str = Field(default="embedding", description="Embedding column of embeddings_path")


class PairwiseConfig(Section):
    """How the images of one cluster are ranked and compared."""

    which_to_keep: Literal["hard", "easy", "random", "metadata"] = Field(
        default="hard",
        description="hard: the image farthest from its centroid stays; easy: the nearest; random: by a hash; metadata: "
        "by metadata_columns",
    )
    distance_metric: Literal["cosine", "l2"] = Field(
        default="cosine",
        description="Distance that hard and easy rank by. Centroids are unit vectors, so both give one order",
    )
    metadata_columns: Columns = Field(
        default=(),
        description="For which_to_keep metadata, the most important first: columns of cluster.metadata_columns, or "
        "cosine_dist_to_cent. Nulls rank last, ids break ties",
    )
    ascending: bool | tuple[bool, ...] = Field(
        default=True,
        description="Whether the smallest value ranks first: one for all metadata_columns, or one for each",
    )
    random_state: Seed = Field(default=42, description="Seed of which_to_keep random")
    batch_size: Count = Field(
        default=1024, description="Rows per matrix product: bounds memory, never changes the result"
    )

    @property
    def directions(self) -> tuple[bool, ...]:
        """Whether each of metadata_columns ascends."""
        return (self.ascending,) * len(self.metadata_columns) if isinstance(self.ascending, bool) else self.ascending


class IdentifyConfig(Section):
    """When an image is a duplicate."""

    eps: Eps | Literal["auto"] | None = Field(
        default="auto",
        description="Cosine distance: a row is a duplicate when cosine_sim_score >= 1 - eps. auto: the encoder's "
        "measured preset (0.01 for embeddings of your own); null: stop after similarities",
    )
    target_keep_fraction: Share | None = Field(
        default=None,
        description="Instead of eps: the share of rows that stays, e.g. 0.7; the eps that keeps it is picked",
    )
    rule: Literal["semdedup"] = Field(
        default="semdedup",
        description="semdedup: a row goes when it resembles any better-ranked row, even one that goes itself",
    )

    @field_validator("target_keep_fraction")
    @classmethod
    def _instead_of_eps(cls, target: float | None, others: ValidationInfo) -> float | None:
        if target is not None and isinstance(number := others.data.get("eps"), float):
            raise ValueError(f"stands in place of identify.eps, which is {number}; give one of them")
        return target


class RemoveConfig(Section):
    """What leaves the dataset."""

    ids_path: Locations | None = Field(
        default=None,
        description="Parquet or Delta table(s) of ids to remove. Null: the duplicates of the identify step",
    )
    id_field: str = Field(default="image_id", description="Id column of ids_path")
    match_field: str | None = Field(
        default=None,
        description="Field of the sample's json (or column of the table) that the ids of ids_path are values of; "
        "one id may name several samples. Null: the ids are image_ids",
    )
    drop: tuple[Literal["duplicates", "rejected"], ...] = Field(
        default=("duplicates", "rejected"),
        description="duplicates: what identify (or ids_path) names; rejected: what a filter marked",
    )
    unreadable: Literal["keep", "drop"] = Field(
        default="keep", description="Samples without a readable image are copied verbatim, or left out"
    )

    @property
    def paths(self) -> tuple[str, ...]:
        """The tables of ids, as a tuple whatever their number; none where the duplicates of the run are removed."""
        return (self.ids_path,) if isinstance(self.ids_path, str) else self.ids_path or ()
