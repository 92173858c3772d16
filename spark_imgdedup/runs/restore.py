"""Bring samples back that `remove` has left out: they are listed in work_dir, and `remove` copies what is listed.

Nothing else changes by it: what `identify` has found stays as it is. So the next `remove` writes the dataset as if they
had never left, from the inputs, which still hold their bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spark_imgdedup.config import Config
from spark_imgdedup.errors import ConfigError, SchemaError
from spark_imgdedup.files.owning.restored import add_restored, list_place, restored_ids
from spark_imgdedup.runs import leases
from spark_imgdedup.runs.changed import changed_files
from spark_imgdedup.runs.counting import count_removed
from spark_imgdedup.runs.current import stale_step
from spark_imgdedup.runs.fingerprints import has_lost_input
from spark_imgdedup.runs.undeletion import deleted_rows, require_insertable, vacuum_in_one_line
from spark_imgdedup.stages.user_input.id_lists import read_ids

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from spark_imgdedup.runs.tables import Tables

# Named of what is wrong.
_SHOWN = 3
# The reason of rows that earlier runs have deleted from the input itself; `removed` is of the newest alone.
DELETED = "deleted"


@dataclass(frozen=True)
class RestoreRequest:
    """Which samples to bring back: one of these.

    Attributes:
        ids: image_ids, or several with commas between them.
        ids_file: A list of image_ids, in any form that remove.ids_path takes.
        all_of: A reason of the table `removed`: all samples that left for it.
    """

    ids: tuple[str, ...] = ()
    ids_file: str | None = None
    all_of: str | None = None


@dataclass(frozen=True)
class Noted:
    """What was listed.

    Attributes:
        reasons: Why each new sample was removed, by image_id.
        n_before: Of those asked for, how many were listed already.
        place: The list.
    """

    reasons: Mapping[str, str]
    n_before: int
    place: str


def note_restored(tables: Tables, request: RestoreRequest) -> Noted:
    """List samples of `removed` as brought back; `remove` has to run then.

    Args:
        tables: With the settings of the run, eps resolved.
        request: Which samples.

    Raises:
        ConfigError: the request names none or several of its ways, or an id that was not removed.
        SchemaError: `remove` has not run, its tables are not those of the settings, or its input has changed since.
        TableError: a Delta table that rows were deleted from has the version with them no more.
        LeaseError: another run works in work_dir or in the output folder.
    """
    config = tables.config
    _require_one_way(request)
    known = set(restored_ids(config))
    named = set(_named_in(request.ids, known))
    if named and named <= known and not tables.has("removed"):  # a run that was killed then has begun to write it
        return Noted({}, len(named), list_place(config))
    found = _chosen(tables, request, known)
    new = {image_id: (shard, why) for image_id, (shard, why) in found.items() if image_id not in known}
    if new:
        _require_unchanged(tables, config, {image_id: shard for image_id, (shard, _) in new.items()})
    reasons = {image_id: why for image_id, (_, why) in sorted(new.items())}
    if reasons and config.deletes:
        require_insertable(tables, config, reasons)
    if reasons:
        leases.require_free(["remove"], config)
        with leases.held(["remove"], config):
            add_restored(config, reasons)
    return Noted(reasons, len(found) - len(new), list_place(config))


def _require_one_way(request: RestoreRequest) -> None:
    ways = {"--ids": bool(request.ids), "--ids-file": request.ids_file is not None, "--all-of": request.all_of}
    given = [name for name, is_given in ways.items() if is_given]
    if len(given) != 1:
        said = f"{' and '.join(given)} are given" if given else "none is given"
        raise ConfigError(
            f"restore takes one of --ids, --ids-file and --all-of, and {said}. Name the samples in one way."
        )


def _named_in(texts: Sequence[str], there: Collection[str]) -> list[str]:
    """The ids that texts name: each one id, which may have commas in it, if that is there; else the parts of it."""
    return [each for text in texts for each in ([text] if text in there else _split(text))]


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


Found = dict[str, tuple[str | None, str]]  # by image_id: shard, and why it left


def _chosen(tables: Tables, request: RestoreRequest, known: set[str]) -> Found:
    removed = tables.read("removed").select("image_id", "shard", "reason")
    if request.all_of is not None:
        found = _collect(removed.where(removed["reason"] == request.all_of))
        if request.all_of == DELETED:
            found |= _deleted(tables, None)
        if not found:
            raise ConfigError(f"--all-of {request.all_of}: no sample left for that reason. {_reasons(tables, removed)}")
        return found
    if request.ids_file is not None:
        wanted, config = request.ids_file, tables.config
        rows = read_ids(tables.spark, [wanted], config.remove.id_field, config.storage_options).distinct()
        found = _collect(removed.join(rows, "image_id", "left_semi"))
        named = [row["image_id"] for row in rows.where("image_id is not null").toLocalIterator()]
        found |= _deleted(tables, set(named) - found.keys() - known)
    else:
        wanted = f"--ids {' '.join(request.ids)}"
        texts = {part for text in request.ids for part in (text, *_split(text))}
        found = _collect(removed.where(removed["image_id"].isin(sorted(texts))))
        found |= _deleted(tables, texts - found.keys() - known)
        named = _named_in(request.ids, found.keys() | known)
    if not named:
        raise ConfigError(f"{wanted}: there is no id in that. Name the samples to bring back.")
    missing = sorted(set(named) - found.keys() - known)
    if missing:
        raise ConfigError(_not_removed(tables, missing))
    return {each: found.get(each, (None, "")) for each in named}


def _deleted(tables: Tables, ids: set[str] | None) -> Found:
    """Of these ids (None: of all) those of rows that this work_dir has deleted from its input, in any of its runs."""
    if not tables.config.deletes or ids == set():
        return {}
    rows = deleted_rows(tables, tables.config)
    if rows is None:
        return {}
    chosen = rows if ids is None else rows.where(rows["image_id"].isin(sorted(ids)))
    with vacuum_in_one_line(tables.config):
        return {row["image_id"]: (None, DELETED) for row in chosen.toLocalIterator()}


def _collect(rows: DataFrame) -> Found:
    return {row["image_id"]: (row["shard"], row["reason"]) for row in rows.toLocalIterator()}


def _reasons(tables: Tables, removed: DataFrame) -> str:
    counts = count_removed(removed)
    place = tables.place("removed")
    if not counts:
        return f"{place} has no rows: nothing left the dataset."
    return f"The reasons of {place} are {', '.join(f'{why} ({n:,} samples)' for why, n in counts.items())}."


def _not_removed(tables: Tables, missing: list[str]) -> str:
    shown = ", ".join(f"'{each}'" for each in missing[:_SHOWN]) + (" …" if len(missing) > _SHOWN else "")
    count = "1 id is" if len(missing) == 1 else f"{len(missing):,} ids are"
    return (
        f"restore: {count} not among the removed samples of {tables.place('removed')}: {shown}. Nothing was changed. "
        "Look at what became of one: spark-imgdedup explain ID --config …"
    )


def _require_unchanged(tables: Tables, config: Config, shards: Mapping[str, str | None]) -> None:
    """Refuse where the next `remove` would change more than these samples, or give them other bytes."""
    stale = stale_step("remove", tables, config)
    if stale is None and not has_lost_input("remove", config):
        return
    held_by = shards.keys() if config.input.format == "images" else {name for name in shards.values() if name}
    problems = list(changed_files(tables, config, sorted(held_by)))
    if problems:
        more = f" and {len(problems) - _SHOWN:,} more" if len(problems) > _SHOWN else ""
        raise SchemaError(
            f"restore: files that hold these samples are not what was read: {', '.join(problems[:_SHOWN])}{more}. "
            "Nothing was changed. Put them back as they were; or run spark-imgdedup run --config …, which takes what "
            "is there now."
        )
    raise SchemaError(
        f"restore: the tables of {stale or 'remove'} are not those of these settings and inputs, so more than these "
        "samples would change. Nothing was changed. Run spark-imgdedup run --config … first, then restore."
    )
