"""The steps of a run, each described once: its name, what it reads and writes, what decides its result.

The command line, the fingerprints, the tables and the report derive from here; `pipeline.py` holds what each does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from spark_imgdedup.counts import (
    ClusterCounts,
    DetectCounts,
    GroupCounts,
    IdentifyCounts,
    ImageCounts,
    PairwiseCounts,
    RemoveCounts,
    ScoreCounts,
    StepCounts,
)

if TYPE_CHECKING:
    from spark_imgdedup.config.settings import Config

StepName = Literal["embed", "score", "detect", "cluster", "pairwise", "identify", "remove", "report"]
# Files that a step reads beside its tables; `runs.fingerprints` says which these are.
Source = Literal[
    "input", "encoder", "pixel_scorers", "own_embeddings", "filters", "ids", "never", "restored", "decisions"
]


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: Its command, its section of the configuration, its stage, its job, its test.
        purpose: What it does, in a line.
        reads: The tables that it may read, and the settings that name what else it reads.
        tables: What it may write and leave behind, as tables.
        artefacts: What it writes as files of its own below work_dir, never a table with a name.
        on_the_way: Tables that it makes where it needs them.
        comes_after: The steps that stand before it in `steps`, if they are taken at all.
        built_on: The steps whose tables it needs.
        uses: The steps whose tables it takes where they fit; without them it makes its own.
        sections: The sections of the configuration that decide its result.
        also: What else of the configuration does.
        sources: Whose files decide it.
        leaves: Of `tables`, those that the settings ask for; None is all.
        counts: The type of what it counts; None where it leaves no record.
        made_by: The step that takes it on its way; None is a step of its own, with a command.
    """

    name: str
    purpose: str
    reads: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    artefacts: tuple[str, ...] = ()
    on_the_way: tuple[str, ...] = ()
    comes_after: tuple[StepName, ...] = ()
    built_on: Callable[[Config], tuple[str, ...]] = lambda _: ()
    uses: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    also: Callable[[Config], Any] = lambda _: None
    sources: tuple[Source, ...] = ()
    leaves: Callable[[Config], tuple[str, ...]] | None = None
    counts: type[StepCounts] | None = None
    made_by: StepName | None = None

    @property
    def command(self) -> str:
        """The command that makes its tables."""
        return f"spark-imgdedup {self.made_by or self.name}"

    def written(self, config: Config) -> tuple[str, ...]:
        """The tables and artefacts that are there once it is done."""
        return (*(self.tables if self.leaves is None else self.leaves(config)), *self.artefacts)


def hash_names(config: Config) -> list[str]:
    """The hashes that the settings ask for, as the record of a table with hashes names them.

    Whether borders are trimmed before is in the section `input`, which decides the results of `embed` and `hashes`.
    """
    views = "" if config.detect.phash_views == "none" else f"_{config.detect.phash_views}"
    phash = f"phash{config.detect.phash_bits}{views}"
    return [phash if name == "phash" else name for name in sorted(config.detect.hashes)]


def _images(config: Config) -> tuple[str, ...]:
    return () if config.own_embeddings else ("embed",)


def _scored(config: Config) -> tuple[str, ...]:
    return ("score",) if config.filters_first else ()


def _prepass(config: Config) -> tuple[str, ...]:
    return ("detect",) if config.detect.prepass else ()


def _detected(config: Config) -> tuple[str, ...]:
    tables = {"exact": "copies", "phash": "near_hashes"}
    return tuple(table for name, table in tables.items() if name in config.detect.hashes)


def _own_columns(config: Config) -> list[str] | None:
    return [config.cluster.id_field, config.cluster.embedding_field] if config.own_embeddings else None


EMBED = Step(
    "embed",
    "Decode every image of the input and give it an embedding.",
    reads=("input.path",),
    tables=("embeddings",),
    sections=("input", "table", "embed"),
    sources=("input", "encoder", "pixel_scorers"),
    counts=ImageCounts,
)
# It alone has a choice: before the search for duplicates, and what it rejects takes no part in that; or after it, and
# an image may be the duplicate of a rejected one.
SCORE = Step(
    "score",
    "Score every embedding, and mark the images that a filter rejects.",
    reads=("embeddings", "cluster.embeddings_path"),
    tables=("scored",),
    comes_after=("embed",),
    built_on=_images,
    sections=("score", "table"),
    also=_own_columns,
    sources=("own_embeddings", "filters"),
    counts=ScoreCounts,
)
HASHES = Step(
    "hashes",
    "Decode every image of the input and take its hashes, without a model.",
    reads=("input.path",),
    tables=("hashes",),
    sections=("input", "table"),
    also=hash_names,
    sources=("input",),
    counts=ImageCounts,
    made_by="detect",
)
DETECT = Step(
    "detect",
    "Find exact copies by digests, and perceptual hashes that are near each other, without a model.",
    reads=("embeddings", "input.path"),
    tables=("copies", "near_hashes"),
    comes_after=("embed",),
    built_on=_scored,
    uses=("embed",),
    sections=("input", "detect", "pairwise", "table"),
    sources=("input",),
    leaves=_detected,
    counts=DetectCounts,
)
CLUSTER = Step(
    "cluster",
    "Group similar images, so that only images of one group need comparing.",
    reads=("embeddings", "cluster.embeddings_path"),
    tables=("clusters",),
    artefacts=("centroids", "blocks"),
    comes_after=("embed", "detect"),
    built_on=lambda config: (_scored(config) or _images(config)) + _prepass(config),
    sections=("cluster", "table"),
    also=lambda config: config.searched_columns,
    sources=("own_embeddings",),
    counts=ClusterCounts,
)
PAIRWISE = Step(
    "pairwise",
    "Find the better-ranked image that each image resembles most.",
    reads=("clusters", "blocks"),
    tables=("similarities",),
    artefacts=("links",),
    comes_after=("cluster",),
    built_on=lambda _: ("cluster",),
    sections=("pairwise", "table", "report"),
    counts=PairwiseCounts,
)
GROUPS = Step(
    "groups",
    "Bring together what may count as one image, for the rules that look at all pairs.",
    reads=("blocks", "links", "near_hashes"),
    artefacts=("groups",),
    comes_after=("pairwise",),
    built_on=lambda config: ("pairwise", *_prepass(config)),
    sections=("detect",),
    counts=GroupCounts,
    made_by="identify",
)
IDENTIFY = Step(
    "identify",
    "Name the images that repeat another one, and for each of them one that stays.",
    reads=("similarities", "groups", "copies", "near_hashes", "remove.never", "identify.decisions"),
    tables=("duplicates",),
    comes_after=("pairwise", "cluster", "detect"),
    built_on=lambda config: ("pairwise", *_prepass(config)) if config.detect.method == "embedding" else ("detect",),
    sections=("identify", "table", "detect", "pairwise"),
    also=lambda config: [config.remove.never, config.remove.id_field] if config.remove.never is not None else None,
    sources=("never", "decisions"),
    counts=IdentifyCounts,
)
REMOVE = Step(
    "remove",
    "Copy the dataset without what identify, a filter or a list of ids names.",
    reads=("duplicates", "input.path", "remove.ids_path", "remove.never"),
    tables=("removed",),
    on_the_way=("index", "kept"),
    comes_after=("identify", "pairwise", "cluster", "detect", "score", "embed"),
    built_on=lambda config: (
        (("identify",) if config.uses_duplicates else ()) + (("score",) if config.uses_scores else ())
    ),
    uses=("embed", "hashes"),
    sections=("input", "remove", "output", "table"),
    sources=("input", "ids", "never", "restored"),
    counts=RemoveCounts,
)
REPORT = Step(
    "report",
    "Print what the steps so far have counted, and write report.json and index.html, a page to look at.",
    comes_after=("embed", "score", "detect", "cluster", "pairwise", "identify", "remove"),
)

# In the order of the data.
STEPS = (EMBED, SCORE, HASHES, DETECT, CLUSTER, PAIRWISE, GROUPS, IDENTIFY, REMOVE, REPORT)
STEP: dict[str, Step] = {step.name: step for step in STEPS}
RECORDED = tuple(step for step in STEPS if step.counts is not None)
STEP_NAMES: tuple[StepName, ...] = get_args(StepName)  # those with a command
# Settings that bound memory or choose hardware, and so decide no result.
NO_RESULT: dict[str, set[str]] = {
    "input": {"storage_options"},
    "embed": {"model_dir", "device", "batch_size", "decode_threads"},
    "cluster": {"device", "train_threads"},
    "pairwise": {"batch_size", "distance_metric", "device"},
    "output": {"storage_options"},
    "report": {"page", "images"},
    "identify": {"decisions"},  # what they say counts, wherever they lie
}
# Where a filter takes images out of the search, it must have judged all of them before the first of these.
SEARCH: tuple[StepName, ...] = ("detect", "cluster", "pairwise", "identify")


def misplaced(steps: Sequence[StepName]) -> Iterator[str]:
    """What is wrong with the order of some steps, and how it goes."""
    if not steps:
        yield f"names no step; the steps are {', '.join(STEP_NAMES)}"
    for name in dict.fromkeys(name for name in steps if steps.count(name) > 1):
        yield f"names {name} twice"
    for place, name in enumerate(steps):
        late = [before for before in STEP[name].comes_after if before in steps[place + 1 :]]
        if late:
            yield f"has {name} before {' and '.join(late)}, which it needs; an order that works: {in_order(steps)}"
    if "score" in steps:
        around = [name for name in SEARCH if name in steps]
        before = [name for name in around if steps.index(name) < steps.index("score")]
        if before and before != around:
            yield (
                f"has score between {before[-1]} and {around[len(before)]}; put it before {around[0]}, to search among "
                f"what passes, or after {around[-1]}, to filter what is left"
            )


def in_order(steps: Iterable[StepName]) -> list[StepName]:
    """The steps in the order of the data."""
    named = set(steps)
    return [name for name in STEP_NAMES if name in named]
