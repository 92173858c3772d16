"""All settings of a run, and checking them as a whole."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from spark_imgdedup.config.catalog import TablesConfig
from spark_imgdedup.config.changes import with_changes
from spark_imgdedup.config.decoding import problems as decoding_problems
from spark_imgdedup.config.explain import explain
from spark_imgdedup.config.fields import problems as field_problems
from spark_imgdedup.config.gpu_profile import GpuProfileConfig
from spark_imgdedup.config.keep import BEST, RankedBy
from spark_imgdedup.config.output import OutputConfig
from spark_imgdedup.config.output import problems as output_problems
from spark_imgdedup.config.ranking import DISTANCE
from spark_imgdedup.config.ranking import problems as ranking_problems
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
    TableConfig,
)
from spark_imgdedup.config.shown import hidden_settings
from spark_imgdedup.config.steps import SEARCH, STEP_NAMES, StepName, misplaced
from spark_imgdedup.config.values import Location, Section, SparkSettings, StorageOptions, StorageSection
from spark_imgdedup.errors import ConfigError, without_any_credentials
from spark_imgdedup.preprocess import PACKAGED, Preprocess

_PROBLEMS = (field_problems, ranking_problems, output_problems, decoding_problems)
# Columns that speak for or against one image being a copy of another, beside its vector.
EVIDENCE = ("phash", "phash_views", "plain_pixels")


class Config(Section):
    """Every setting of a run.

    Raises:
        ConfigError: a key is unknown or a value is out of range; a line for each mistake.
    """

    if not TYPE_CHECKING:  # the types of the settings are pydantic's to tell

        def __init__(self, **settings: Any) -> None:
            try:
                super().__init__(**settings)
            except ValidationError as error:
                raise ConfigError("\n".join(explain(error, _KEYS))) from None

    steps: tuple[StepName, ...] = Field(
        default=STEP_NAMES,
        description="The steps that `run` takes, in order. score may stand before detect and cluster (what it rejects "
        "takes no part in the search) or after identify (what is left is filtered)",
    )
    input: InputConfig = InputConfig()
    work_dir: Location = Field(
        default="work", description="Folder of the tables between the steps, the centroids and the report"
    )
    storage_options: StorageOptions = Field(
        default={},
        repr=False,
        description="Options of the fsspec file system (key, secret, endpoint_url, …) for every place of the run; for "
        "s3:// Spark's JVM gets them too. Empty: the environment's own credentials. Values that may be "
        "secrets are written nowhere",
    )
    table: TableConfig = TableConfig()
    tables: TablesConfig = TablesConfig()
    embed: EmbedConfig = EmbedConfig()
    score: ScoreConfig = ScoreConfig()
    detect: DetectConfig = DetectConfig()
    cluster: ClusterConfig = ClusterConfig()
    pairwise: PairwiseConfig = PairwiseConfig()
    identify: IdentifyConfig = IdentifyConfig()
    remove: RemoveConfig = RemoveConfig()
    output: OutputConfig = OutputConfig()
    report: ReportConfig = ReportConfig()
    gpu_profile: GpuProfileConfig = GpuProfileConfig()
    spark: SparkSettings = Field(
        default={},
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
        if found := list(hidden_settings(settings)):
            raise ValueError(
                "\n".join(
                    f"{name}: was a secret, and hidden when these settings were stored. Set it." for name in found
                )
            )
        sections = {"spark", "storage_options", *(key.partition(".")[0] for key in _KEYS if "." in key)}
        return {name: {} if value is None and name in sections else value for name, value in settings.items()}

    @model_serializer(mode="wrap")
    def _without_credentials(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        shown: dict[str, Any] = without_any_credentials(write(self))
        for name in ("input", "output"):  # what came from the general setting is stored there alone
            if "storage_options" not in getattr(self, name).model_fields_set and "storage_options" in shown.get(
                name, {}
            ):
                shown[name]["storage_options"] = {}
        return shown

    @field_validator("steps")
    @classmethod
    def _steps_in_order(cls, steps: tuple[StepName, ...]) -> tuple[StepName, ...]:
        if found := list(misplaced(steps)):
            raise ValueError("; ".join(found))
        return steps

    @model_validator(mode="after")
    def _defaults_that_depend(self) -> Config:
        """What `auto` stands for where the settings alone tell."""
        if self.pairwise.which_to_keep == "auto":
            by_words = self.pairwise.keep is not None
            self._fill("pairwise", which_to_keep="metadata" if by_words else "hard" if self.own_embeddings else "best")
        if self.detect.prepass == "auto":
            self._fill("detect", prepass=self._prepass())
        return self

    def _prepass(self) -> tuple[str, ...]:
        if self.detect.method != "embedding" or self.own_embeddings or "detect" not in self.steps:
            return ()
        return ("exact", "phash") if self.embed.model in PACKAGED else ("exact",)

    def _fill(self, section: str, **values: Any) -> None:
        # Frozen is for others: this is still the making of the settings.
        filled = getattr(self, section).model_copy(update=values)
        filled.model_fields_set.difference_update(values)  # not what the user has set
        object.__setattr__(self, section, filled)

    def with_(self, **changes: Any) -> Config:
        """These settings with others in place of some: `config.with_(eps=0.2, **{"embed.batch_size": 8})`.

        Args:
            changes: By the dotted names of the documentation, by their last part where only one setting ends so, or by
                sections, of which the keys that are given change.

        Raises:
            ConfigError: no setting has such a name, several have, or a value is out of range.
        """
        return Config(**with_changes(self, changes, _KEYS))

    def fitting(self, columns: Collection[str]) -> Config:
        """These settings for rows that have these columns, without defaults that need others.

        `best` by default is `hard` where rows say no pixels, and hashes that they lack do not join the search.
        """
        config, pairwise, detect = self, self.pairwise, self.detect
        by_default = pairwise.which_to_keep == "best" and "which_to_keep" not in pairwise.model_fields_set
        if by_default and not all(name in columns for name, _ in BEST):
            config = config.model_copy(update={"pairwise": pairwise.model_copy(update={"which_to_keep": "hard"})})
        if "prepass" not in detect.model_fields_set:
            needed = {"exact": {"dup_count"}, "phash": set(EVIDENCE)}
            prepass = tuple(name for name in detect.prepass if needed[name] <= set(columns))
            config = config.model_copy(update={"detect": detect.model_copy(update={"prepass": prepass})})
        return config

    @model_validator(mode="after")
    def _sections_agree(self) -> Config:
        if found := [each for problems in _PROBLEMS for each in problems(self)]:
            raise ValueError("\n".join(found))
        return self

    @model_validator(mode="after")
    def _options_everywhere(self) -> Config:
        for name in ("input", "output"):
            section: StorageSection = getattr(self, name)
            if self.storage_options and not section.storage_options:
                self._fill(name, storage_options=self.storage_options)
        return self

    @property
    def filters_first(self) -> bool:
        """True where what `score` rejects takes no part in the search for duplicates."""
        if self.score.is_idle or "score" not in self.steps:
            return False
        return all(self.steps.index("score") < self.steps.index(name) for name in SEARCH if name in self.steps)

    @property
    def uses_scores(self) -> bool:
        """True where `remove` leaves out what `score` rejects."""
        return not self.score.is_idle and "score" in self.steps

    @property
    def uses_duplicates(self) -> bool:
        """True where `remove` takes its ids from `identify`."""
        return self.remove.ids_path is None and "identify" in self.steps

    @property
    def deletes(self) -> bool:
        """True where `remove` takes rows out of the input itself instead of writing a dataset without them."""
        return self.output.mode == "delete"

    @property
    def own_embeddings(self) -> bool:
        """True where the run starts from the user's vectors instead of images."""
        return self.cluster.embeddings_path is not None

    @property
    def id_column(self) -> str:
        """Name of the id column in every table of the run."""
        return self.cluster.id_field if self.own_embeddings else "image_id"

    @property
    def collapses_copies(self) -> bool:
        """True where exact copies are one row, with the dup_count of those left out, before clustering."""
        return self.detect.method == "embedding" and "exact" in self.detect.prepass and not self.own_embeddings

    @property
    def ranking(self) -> Literal["hard", "easy", "random", "metadata"]:
        """How images are ranked; `rank_keys` has the columns of metadata."""
        which = self.pairwise.which_to_keep
        if which == "best" or which == "auto" or self.pairwise.keep is not None:
            return "metadata"
        return which

    @property
    def rank_keys(self) -> tuple[RankedBy, ...]:
        """The columns that `metadata` ranks by, and whether each ascends."""
        return self.pairwise.keys if self.ranking == "metadata" else ()

    @property
    def kept_columns(self) -> tuple[str, ...]:
        """Columns beside our own that stay with the rows through clusters, similarities and duplicates."""
        by_name = self.pairwise.which_to_keep == "metadata" and self.pairwise.keep is None  # these are named already
        ranked = () if by_name else (name for name, _ in self.rank_keys if name not in (DISTANCE, self.id_column))
        ours = ("dup_count",) if self.collapses_copies else ()
        return tuple(dict.fromkeys((*self.cluster.metadata_columns, *ranked, *ours)))

    @property
    def searched_columns(self) -> tuple[str, ...]:
        """`kept_columns`, and what else of an image speaks for or against it being another's copy."""
        return (*self.kept_columns, *(EVIDENCE if self.compares_hashes else ()))

    @property
    def compares_hashes(self) -> bool:
        """True where perceptual hashes speak for pairs, alone or beside embeddings."""
        return self.uses_hashes or self.detect.method == "phash"

    @property
    def uses_hashes(self) -> bool:
        """True where perceptual hashes join the search by embeddings."""
        return self.detect.method == "embedding" and "phash" in self.detect.prepass and not self.own_embeddings


def parse_config(settings: Mapping[str, Any], source: str | Callable[[str], str] = "config") -> Config:
    """Like Config(**settings), with `source` before each line that names a mistake, or what it makes of the line.

    Raises:
        ConfigError: a key is unknown or a value is out of range.
    """
    blame = source if callable(source) else lambda _: source
    try:
        return Config(**{str(key): value for key, value in settings.items()})
    except ConfigError as error:
        raise ConfigError("\n".join(f"{blame(line)}: {line}" for line in str(error).splitlines())) from None


def describe() -> Iterator[tuple[str, Any, str]]:
    """Every setting as (dotted key, default, meaning), in the order of the data."""
    for name, field in Config.model_fields.items():
        if isinstance(field.default, Section):
            for key, inner in type(field.default).model_fields.items():
                yield f"{name}.{inner.alias or key}", inner.default, inner.description or ""
        else:
            yield name, field.default, field.description or ""


# Every key as it is written with dots.
_KEYS = (*(key for key, _, _ in describe()), *(f"embed.preprocess.{key}" for key in Preprocess.model_fields))
