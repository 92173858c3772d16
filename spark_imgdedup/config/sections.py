"""One frozen model per step; those of the search are in `search`. Defaults, ranges and meanings live here alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_serializer, model_validator

from spark_imgdedup.config.values import (
    Columns,
    Count,
    JsonFields,
    Limit,
    Location,
    Locations,
    Section,
    StorageSection,
)
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.preprocess import Preprocess

InputFormat = Literal["webdataset", "images", "table"]
# Where a group of settings keeps what `auto` has found.
_FOUND = "_found_format"


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
    given_format: Literal["auto", "webdataset", "images", "table"] = Field(
        default="auto",
        alias="format",
        description="webdataset: tars; images: loose image files; table: Parquet or Delta; auto: what is found at "
        "input.path, which is listed once more for it",
    )
    image_column: str = Field(
        default="image",
        description="Column of the table with the encoded images: binary, or a struct with bytes, as Hugging Face's; "
        "image.bytes leads into a struct. Where there is no `image`, the table's one struct of bytes and path is taken",
    )
    image_member: str | None = Field(
        default=None, description="Which image of a sample that has several, by its extension: jpg, 1.jpg, seg.png"
    )
    id_field: str | None = Field(
        default=None,
        description="Field of the sample's json (or column of the table, within a struct with a dot: image.path) to "
        "use as image_id. Null: shard path + key, of a table the column image_id",
    )
    json_fields: JsonFields = Field(
        default={},
        description="Fields of the sample's json that become columns of `embeddings`, with their types (string, "
        "double, bigint, boolean): {source: string, similarity: double}; a list of names takes them as text",
    )
    reorder: bool = Field(
        default=False,
        description="Gather the members of each sample, shard by shard, in tars that are not sorted; false: the run "
        "stops at such a tar",
    )
    max_image_bytes: Count = Field(
        default=128 * 2**20, description="A larger image file is marked too_large and not decoded"
    )
    max_image_pixels: Count = Field(
        default=89_478_485,
        description="An image of more pixels is marked too_large and not decoded (the default is Pillow's own bound)",
    )
    trim_borders: bool = Field(
        default=True,
        description="Perceptual hashes and embeddings are of the image without letterbox bars, frames and other "
        "uniform borders; false: of the whole image",
    )

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths given, as a tuple whatever their number."""
        if self.path is None:
            raise ConfigError(
                "input.path is not set. Name the folder of shards, a glob or a list, e.g. --set input.path=data/"
            )
        return (self.path,) if isinstance(self.path, str) else self.path

    @property
    def found_format(self) -> InputFormat | None:
        """The format that is set, or for `auto` the one of the files at `path`; None where there are none.

        Raises:
            ConfigError: there are files of several formats.
        """
        if self.given_format != "auto":
            return self.given_format
        if _FOUND not in self.__dict__:
            from spark_imgdedup.config.input_format import find_format  # lists files: not for --help

            found = None if self.path is None else find_format(self.paths, self.storage_options)
            if found is None:  # files may come
                return None
            self.__dict__[_FOUND] = found
        known: InputFormat = self.__dict__[_FOUND]
        return known

    @property
    def format(self) -> InputFormat:
        """As `found_format`; tars are looked for where there is nothing yet."""
        return self.found_format or "webdataset"

    @field_serializer("given_format")
    def _format_that_counts(self, given: str) -> str:
        try:
            return self.found_format or given
        except Exception:  # of any store; settings can be printed whatever is at the path
            return given

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As that of all sections; what was found out of other paths is not known of new ones."""
        copied = super().model_copy(update=update, deep=deep)
        if update:
            copied.__dict__.pop(_FOUND, None)
        return copied


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
        description="efficientnet-lite0 (comes with the package), efficientnet-lite0-int8 (the same in half of the "
        "time, on CPUs with VNNI), open_clip:<arch>/<pretrained>, "
        "open_clip:local-dir:<path>, timm:<name>[@checkpoint], onnx:<path>, torchscript:<path or URL>, "
        "or my_pkg.my_module:MyEncoder",
    )
    model_dir: str | None = Field(
        default=None, description="Local cache of weights, filled by spark-imgdedup fetch-model"
    )
    device: Literal["auto", "cpu", "gpu"] = Field(
        default="auto",
        description="auto: the GPU that Spark assigned to the task, else the CPU; gpu: an error where there is none",
    )
    decode: Literal["cpu", "gpu"] = Field(
        default="cpu",
        description="gpu: nvJPEG decodes JPEGs, to pixels that differ in their last bits; for open_clip: and timm: "
        "models with device gpu, where nothing else is taken from the pixels. What it refuses, the CPU decodes",
    )
    batch_size: Count = Field(default=32, description="Images per model call")
    decode_threads: Count | Literal["auto"] = Field(
        default="auto", description="Threads that decode images; auto: the task's cores"
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(default="fp32", description="Arithmetic of the model")
    preprocess: Preprocess | None = Field(
        default=None, description="Input of an onnx: or torchscript: model: size, layout, dtype, mean, std, …"
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


class RemoveConfig(Section):
    """What leaves the dataset."""

    ids_path: Locations | None = Field(
        default=None,
        description="Ids to remove: Parquet or Delta table(s), .txt of one id a line, .csv or .jsonl, also as .gz, "
        ".bz2, .xz or .zst. Null: the duplicates of the identify step",
    )
    id_field: str = Field(default="image_id", description="Id column of ids_path, or field of its lines of JSON")
    never: Locations | None = Field(
        default=None,
        description="Ids that must stay, in a column id_field, e.g. of an evaluation set; files as for ids_path. "
        "No duplicate, filter or list takes them out. What repeats one of them goes; two of them that repeat each "
        "other are counted, and both stay",
    )
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

    @property
    def never_paths(self) -> tuple[str, ...]:
        """The tables of ids that must stay."""
        return (self.never,) if isinstance(self.never, str) else self.never or ()
