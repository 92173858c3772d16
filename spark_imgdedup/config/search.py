"""The sections of the steps that search for duplicates, and of what is measured of the search."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from spark_imgdedup.config.keep import BEST, RankedBy, parse_keep
from spark_imgdedup.config.values import Columns, Count, Eps, Location, Locations, Section, Seed, Share, refuse_bool


class DetectConfig(Section):
    """What finds repeats: embeddings, or hashes alone, or hashes before embeddings."""

    method: Literal["embedding", "exact", "phash"] = Field(
        default="embedding",
        description="embedding: cluster and compare; exact: equal bytes or pixels; phash: perceptual hashes within "
        "phash_radius. The last two need no model",
    )
    prepass: tuple[Literal["exact", "phash"], ...] | Literal["auto"] = Field(
        default="auto",
        description="With method embedding. exact: copies collapse before clustering; phash: images whose hashes are "
        "near each other count as pairs too; auto: both with an encoder that comes with the package, exact alone with "
        "others, none for embeddings of your own",
    )
    phash_bits: Literal[64, 256] = Field(default=64, description="Bits of a perceptual hash")
    phash_views: Literal["none", "mirror", "turns"] = Field(
        default="mirror",
        description="Other orientations that are hashed too, so that copies in them are near. mirror: the mirrored "
        "image; turns: also quarter and half turns and their mirrors; none: the image as it is alone",
    )
    phash_radius: Annotated[int, Field(ge=0), BeforeValidator(refuse_bool)] = Field(
        default=4, description="Hashes that differ in at most that many bits are near each other"
    )
    agreeing_radius: Annotated[int, Field(ge=0), BeforeValidator(refuse_bool)] | None = Field(
        default=12,
        description="With prepass phash: the same for images whose embeddings agree (agreeing_cosine). Null: none",
    )
    agreeing_cosine: Annotated[float, Field(ge=-1, le=1), BeforeValidator(refuse_bool)] = Field(
        default=0.6, description="Cosine that the embeddings of images within agreeing_radius must have"
    )

    @property
    def hashes(self) -> frozenset[str]:
        """The hashes that the images need: exact, phash, both or none."""
        prepass = () if self.prepass == "auto" else self.prepass  # Config says what auto stands for
        return frozenset(prepass if self.method == "embedding" else (self.method,))

    @property
    def searched_radius(self) -> int:
        """The largest distance of hashes that may count."""
        agreeing = self.agreeing_radius if self.method == "embedding" else None
        return max(self.phash_radius, agreeing or 0)


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
        description="Start here: any Parquet or Delta table of (id, embedding), .npy files as clip-retrieval writes "
        "them, or lines of JSON. Null: the embeddings of the embed step",
    )
    id_field: str = Field(default="id", description="Id column of embeddings_path: string or integer")
    embedding_field: str = Field(default="embedding", description="Embedding column of embeddings_path")


class PairwiseConfig(Section):
    """How the images of one cluster are ranked and compared."""

    which_to_keep: Literal["auto", "best", "hard", "easy", "random", "metadata"] = Field(
        default="auto",
        description="best: of images that repeat each other the one with more pixels stays, then with more bytes, then "
        "in colour; hard: the one farthest from its centroid; easy: the nearest; random: by a hash; metadata: by "
        "metadata_columns; auto: best for images, hard for embeddings of your own",
    )
    keep: str | None = Field(
        default=None,
        description="metadata in words: columns, the most important first, each with asc or desc, such as "
        "'aesthetic_score desc, pixels desc, bytes desc'. They stay with the rows without being named elsewhere",
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
    def keys(self) -> tuple[RankedBy, ...]:
        """The columns to rank by, and whether each ascends; none where `which_to_keep` needs none."""
        if self.keep is not None:
            return parse_keep(self.keep)
        if self.which_to_keep == "best":
            return BEST
        one_way = isinstance(self.ascending, bool)
        ascending = (self.ascending,) * len(self.metadata_columns) if one_way else self.ascending
        return tuple(zip(self.metadata_columns, ascending, strict=True))  # type: ignore[arg-type]  # mypy cannot narrow

    @field_validator("keep")
    @classmethod
    def _readable(cls, keep: str | None) -> str | None:
        if keep is not None:
            parse_keep(keep)
        return keep


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
    rule: Literal["greedy", "components", "semdedup"] = Field(
        default="greedy",
        description="greedy: a row goes when one that stays, and ranks before it, is within eps, so that each row that "
        "goes has one that stays for it; components: one row stays of all that hang together; semdedup: a row goes "
        "when it resembles any better-ranked row, even one that goes itself",
    )
    decisions: Locations | None = Field(
        default=None,
        description="What people have decided of pairs: .jsonl files, or folders of them. No image goes for one that "
        "it was called different from. `spark-imgdedup review import` writes the first of these. Null: "
        "decisions.jsonl in work_dir, where there is one",
    )

    @property
    def decision_paths(self) -> tuple[str, ...]:
        """The places that `decisions` names, as a tuple whatever their number."""
        return (self.decisions,) if isinstance(self.decisions, str) else self.decisions or ()

    @field_validator("target_keep_fraction")
    @classmethod
    def _instead_of_eps(cls, target: float | None, others: ValidationInfo) -> float | None:
        if target is not None and isinstance(number := others.data.get("eps"), float):
            raise ValueError(f"stands in place of identify.eps, which is {number}; give one of them")
        return target


class ReportConfig(Section):
    """What is measured of a run, and shown."""

    recall_sample: Annotated[int, Field(ge=1, le=4096), BeforeValidator(refuse_bool)] = Field(
        default=512,
        description="Rows that are compared with all rows, to measure which share of the pairs within max_eps the "
        "search finds; fewer where they have 3,000 such pairs",
    )
    page: bool = Field(
        default=True,
        description="Whether the report is a page too, report/index.html below work_dir: one file with charts and "
        "pairs to look at",
    )
    images: bool = Field(
        default=True,
        description="Whether the page has small pictures in it. Without them it has names alone, and reads no images",
    )
