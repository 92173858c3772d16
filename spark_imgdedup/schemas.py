"""The columns of every table. Plain strings, so that code without Spark can read them too.

The id column is `image_id` in the image flow; with embeddings of the user's own it keeps the user's name and type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_imgdedup.errors import SchemaError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# One row per sample, and one per damaged shard (key null, rejected_because 'damaged_shard').
IMAGES = "image_id string, shard string, key string, image binary, rejected_because string, error string"
SAMPLE = "image_id string, shard string, key string"
# What decoding adds to an image, and what the model adds to that. The last three are null unless they are needed.
_DECODED = (
    "width int, height int, pixels bigint, image_format string, image_bytes bigint, trimmed array<int>, detail double, "
    "is_grey boolean, plain_pixels binary, sha256 string, pixel_sha256 string, phash binary, phash_views binary"
)
HASHED = f"{_DECODED}, rejected_because string, error string"
EMBEDDED = f"{_DECODED}, embedding {{embedding}}, rejected_because string, error string"
# A pixel scorer adds <name>_score double.
EMBEDDINGS = f"{SAMPLE}, {EMBEDDED}"
HASHES = f"{SAMPLE}, {HASHED}"
# One row per embedding; cluster_id is null where rejected_because says why the vector is unusable.
CLUSTERS = "{id}, cluster_id int, embedding {embedding}, cosine_dist_to_cent double, rejected_because string"
# The table of it: vectors are in blocks.
THIN_CLUSTERS = "{id}, cluster_id int, cosine_dist_to_cent double, rejected_because string"
SIMILARITIES = "{id}, cluster_id int, max_id {id_type}, cosine_sim_score double, cosine_dist_to_cent double"
DUPLICATES = (
    "{id}, max_id {id_type}, cosine_sim_score double, cluster_id int, found_by string, "
    "kept_id {id_type}, hamming int, rule string, group_id {id_type}"
)
COPIES = "image_id string, max_id string, group_size bigint"
NEAR_HASHES = "phash_a binary, phash_b binary, hamming int"
# One row per sample that leaves the dataset.
REMOVED = "image_id string, shard string, key string, reason string, sha256 string"
# One row per sample written, and one per tar (key null); n_cut samples could not be copied because the input ends
# inside of them.
KEPT = f"{SAMPLE}, tar string, bytes bigint, temporary string, n_samples bigint, n_cut bigint, damage array<string>"
MARKS = "mark string"
MEMBERS = "image_id string, shard string, key string, members map<string, binary>"
CENTROIDS = "cluster_id int, centroid binary"

# Why a row has no usable image. A filter's reasons are its own.
UNREADABLE_REASONS = ("no_image", "several_images", "unreadable", "too_large", "no_id")
# Why a vector cannot be compared or scored.
VECTOR_REASONS = ("no_embedding", "wrong_length", "zero_embedding", "nan_embedding")
DAMAGED_SHARD = "damaged_shard"
# Tells the rows of samples from those of damaged shards.
IS_SAMPLE = "(key is not null)"


def column_names(*schemas: str) -> tuple[str, ...]:
    """The columns that these schemas name, each once; without an id column that the user names."""
    names = (column.split()[0] for schema in schemas for column in schema.split(", "))
    return tuple(dict.fromkeys(name for name in names if not name.startswith("{")))


def require(df: DataFrame, columns: dict[str, str | None], *, stage: str) -> None:
    """Fail on the driver, before any work, if a column is missing or has another type.

    Args:
        df: What the stage was given.
        columns: Name to Spark type; None takes any type.
        stage: Named in the error.

    Raises:
        SchemaError: with what is missing, what there is, and what to do.
    """
    present = {field.name: field.dataType.simpleString() for field in df.schema}
    missing = [
        f"{name} {kind or ''}".strip()
        for name, kind in columns.items()
        if name not in present or kind not in (None, present[name])
    ]
    if missing:
        raise SchemaError(
            f"Stage '{stage}' needs {', '.join(missing)}, but its input has "
            f"{', '.join(f'{name} {kind}' for name, kind in present.items())}. "
            "Pass a table that has these columns, or name the ones that it has in the configuration."
        )
