"""What a run would do, and does not: what it reads, which steps it takes, what it writes and over what, what goes."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spark_imgdedup.config import Config
from spark_imgdedup.config.steps import STEP
from spark_imgdedup.counts import IdentifyCounts, ScoreCounts
from spark_imgdedup.errors import without_credentials
from spark_imgdedup.files import storage
from spark_imgdedup.files.listing import Listing, list_input
from spark_imgdedup.files.owning import publishing
from spark_imgdedup.files.owning.manifest import read_manifest
from spark_imgdedup.formats import IMAGE_SUFFIXES, TAR_SUFFIXES
from spark_imgdedup.runs.costs import Cost, try_images
from spark_imgdedup.runs.current import is_current, stale_step
from spark_imgdedup.runs.leases import held_by_others
from spark_imgdedup.runs.plan import idle_steps

if TYPE_CHECKING:
    from spark_imgdedup.runs.tables import Tables

_ENDINGS: dict[str, tuple[str, ...]] = {
    "webdataset": TAR_SUFFIXES,
    "images": tuple(sorted(IMAGE_SUFFIXES)),
    "table": ("parquet",),
}


@dataclass(frozen=True)
class Read:
    """A place that is read: its files, those that are not read by the endings of their names, bytes of the first."""

    setting: str
    paths: tuple[str, ...]
    files: int
    bytes: int
    kinds: Mapping[str, int]
    not_read: Mapping[str, int]


@dataclass(frozen=True)
class StepPreview:
    """A step: whether it would run, be skipped, or is left out; and why."""

    name: str
    would: str  # run, skip or leave out
    why: str


@dataclass(frozen=True)
class Write:
    """A place that is written, and what of an earlier run would be replaced there."""

    what: str
    place: str
    replaces: str | None


@dataclass(frozen=True)
class Preview:
    """All of it. `removes` has the counts of tables that are there and current, None where they are made first."""

    reads: Sequence[Read]
    steps: Sequence[StepPreview]
    writes: Sequence[Write]
    removes: Mapping[str, int | None] = field(default_factory=dict)
    in_use: Sequence[str] = ()  # folders that another run works in, and who that is
    costs: Sequence[Cost] = ()

    def lines(self) -> Iterator[str]:
        """The preview as it is printed."""
        yield "dry run: nothing was written, and no step was taken"
        for held in self.in_use:
            yield f"in use       {held}"
        for place in self.reads:
            kinds, others = (_in_words(counts) for counts in (place.kinds, place.not_read))
            yield (
                f"would read   {place.setting} {', '.join(place.paths)}: {place.files:,} files ({kinds or 'none'}), "
                f"{place.bytes / 2**20:,.1f} MiB" + (f"; not read: {others}" if others else "")
            )
        for step in self.steps:
            words = "left out" if step.would == "leave out" else f"would {step.would}"
            yield f"{words:<12} {step.name}: {step.why}"
        for cost in self.costs:
            yield f"would take   {cost.line()}"
        for write in self.writes:
            over = f", in place of {write.replaces}" if write.replaces else ""
            yield f"would write  {write.what} at {write.place}{over}"
        for what, n in self.removes.items():
            yield f"would remove {what}: {'known once the steps before have run' if n is None else f'{n:,}'}"


def _in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in counts.items())


def preview_run(planned: Sequence[str], tables: Tables, config: Config, *, force: bool = False) -> Preview:
    """Look at what there is, by listings and records alone: without Spark, but for tables that have names.

    Args:
        planned: The steps, as `plan_steps` gives them.
        tables: With the settings of the run.
        config: The same settings.
        force: Whether unchanged steps would run again.
    """
    idle = idle_steps(config)
    steps = [_preview_step(name, planned, tables, config, force=force) for name in planned]
    steps += [StepPreview(name, "leave out", why) for name, why in idle.items() if name not in planned]
    running = [step.name for step in steps if step.would == "run"]
    return Preview(
        tuple(_reads(running, config)),
        tuple(steps),
        tuple(_writes(running, tables, config)),
        _removes(running, tables, config),
        tuple(held_by_others(planned, config)),
        tuple(try_images(name, config) for name in _steps_over_images(running, config)),
    )


def _steps_over_images(running: Sequence[str], config: Config) -> Sequence[str]:
    """The one that decodes all images, which takes most of a run."""
    if "embed" in running:
        return ("embed",)
    return ("detect",) if "detect" in running and config.detect.method != "embedding" else ()


def _preview_step(name: str, planned: Sequence[str], tables: Tables, config: Config, *, force: bool) -> StepPreview:
    if name == "report":
        return StepPreview(name, "run", "it is made from what the steps have counted")
    record, stale = tables.record(name), stale_step(name, tables, config)
    if stale is None:
        return StepPreview(name, "run" if force else "skip", "--force" if force else "unchanged since the last run")
    if record is None:
        return StepPreview(name, "run", "it has not run yet")
    if stale != name and stale in planned:
        return StepPreview(name, "run", f"{stale} runs before it")
    return StepPreview(name, "run", "its settings, inputs or tables are not those of the last run")


def _reads(running: Sequence[str], config: Config) -> Iterator[Read]:
    sources = {source for name in running for source in STEP[name].sources}
    ours = config.storage_options
    if "input" in sources and config.input.path is not None:
        yield _read("input.path", config.input.paths, _ENDINGS[config.input.format], config.input.storage_options)
    if "own_embeddings" in sources and config.cluster.embeddings_path is not None:
        yield _read("cluster.embeddings_path", (config.cluster.embeddings_path,), (), ours)
    if "filters" in sources and config.score.heads:
        yield _read("score heads", tuple(config.score.heads.values()), (), ours)
    if "never" in sources and config.remove.never_paths:
        yield _read("remove.never", config.remove.never_paths, (), ours)
    if "ids" in sources and config.remove.paths:
        yield _read("remove.ids_path", config.remove.paths, (), ours)


def _read(setting: str, paths: Sequence[str], endings: tuple[str, ...], options: Mapping[str, Any]) -> Read:
    """The files below some paths, and how many are not read, by reason; with no endings, all of them are."""
    if endings:
        found = list_input(paths, endings, options)
    else:
        found = Listing(tuple(file for path in paths for file in storage.list_files(path, "", options)))
    kinds = Counter(posixpath.splitext(file.url)[1].lower()[1:] or "no suffix" for file in found.files)
    shown = tuple(without_credentials(path) for path in paths)
    return Read(setting, shown, len(found.files), found.n_bytes, dict(kinds.most_common()), dict(found.not_read))


def _writes(running: Sequence[str], tables: Tables, config: Config) -> Iterator[Write]:
    for name in running:
        step = STEP[name]
        made = [each for each in STEP.values() if each.made_by == name]
        for table in (*step.written(config), *step.on_the_way, *(part for each in made for part in each.tables)):
            yield Write(
                table,
                without_credentials(tables.place(table)),
                "that of an earlier run" if tables.exists(table) else None,
            )
    if "remove" in running:
        yield _output(config)
    places = {"settings": "config.yaml", "report": "report/report.json"}
    if config.report.page and "report" in running:
        places["page"] = "report/index.html"
    for what, place in places.items():
        old = storage.exists(tables.path(place), config.storage_options)
        yield Write(what, without_credentials(tables.path(place)), "that of an earlier run" if old else None)


def _output(config: Config) -> Write:
    path = publishing.output_path(config)
    place = without_credentials(path)
    if config.deletes:
        return Write("a version without the rows that go", place, "the newest one (older versions stay)")
    if config.output.mode == "replace_where":
        return Write("a part of the table", place, f"its rows where {config.output.replace_where}")
    manifest = read_manifest(path, config.output.storage_options)
    earlier = f"{len(manifest['files']):,} files of an earlier run" if manifest is not None else None
    return Write(f"the dataset as {config.output.format}", place, earlier)


def _removes(running: Sequence[str], tables: Tables, config: Config) -> dict[str, int | None]:
    if "remove" not in running:
        return {}
    found: dict[str, int | None] = {}
    if config.remove.paths:
        found["ids of remove.ids_path"] = None
    for name, what in (("identify", "duplicates"), ("score", "rejected by filters")):
        if name in STEP["remove"].built_on(config):
            known = name not in running and is_current(name, tables, config)
            found[what] = _counted(tables, name) if known else None
    return found


def _counted(tables: Tables, step: str) -> int | None:
    record = tables.record(step)
    counts = None if record is None else record.counts
    if isinstance(counts, IdentifyCounts):
        return counts.duplicates
    return sum(counts.rejected.values()) if isinstance(counts, ScoreCounts) else None
