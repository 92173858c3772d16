"""The sections of the steps that search for duplicates, and of what is measured of the search."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from spark_imgdedup.config.values import Columns, Count, Eps, Location, Section, Seed, Share, refuse_bool


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
    phash_views: Literal["none", "mirror", "turns"] = Field(
        default="mirror",
        description="Other orientations that are hashed too, so that copies in them are near. mirror: the mirrored "
        "image; turns: also quarter and half turns and their mirrors; none: the image as it is alone",
    )
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
    train_threads: Count | Literal["auto"] = Field(
        default="auto",
        description="Threads of the one task that trains; auto: the cores of its machine, since nothing else runs; "
        "any number gives the same centroids",
    )
    metadata_columns: Columns = Field(
        default=(),
        description="Columns that stay with the rows through clusters, similarities and duplicates, e.g. to rank by",
    )
    device: Literal["auto", "cpu", "gpu"] = Field(
        default="auto", description="Where k-means trains and rows are assigned: see embed.device"
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
    probes: Annotated[int, Field(ge=2), BeforeValidator(refuse_bool)] | Literal["home", "margin", "all", "auto"] = (
        Field(
            default="auto",
            description="Where a row is compared. home: in its own cluster; 2, 3, …: in that many nearest clusters; "
            "margin: also across each border that it is near, so that every pair within max_eps is found; all: with "
            "every row; auto: the cheapest of these that reaches target_recall",
        )
    )
    probe_margin: Annotated[float, Field(gt=0, le=1), BeforeValidator(refuse_bool)] = Field(
        default=1.0,
        description="For probes margin: the share of the margin. 1 finds every pair within max_eps; less is cheaper",
    )
    target_recall: Annotated[float, Field(gt=0, le=1), BeforeValidator(refuse_bool)] = Field(
        default=0.999,
        description="For probes auto: the share of the pairs within max_eps to find, estimated on a sample of rows",
    )
    max_eps: Eps | None = Field(
        default=None,
        description="The largest eps that the search is made for; identify takes none above it. Null: identify.eps, or "
        "0.1 where that is not a number yet",
    )
    device: Literal["auto", "cpu", "gpu"] = Field(
        default="auto", description="Where rows are compared: see embed.device"
    )
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


class ReportConfig(Section):
    """What is measured of a run."""

    recall_sample: Annotated[int, Field(ge=1, le=4096), BeforeValidator(refuse_bool)] = Field(
        default=512,
        description="Rows that are compared with all rows, to measure which share of the pairs within max_eps the "
        "search finds; fewer where they have 3,000 such pairs",
    )
