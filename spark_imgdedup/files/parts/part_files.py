"""The files of a table in parts: their names, what their footers say, writing and reading them. No Spark.

A part is a Parquet file that says in its footer which settings made it and which files its rows are of. It gets its
name, which follows from both, when it is whole: two tasks that write the same part at once give it the same rows.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import IO, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from spark_imgdedup.errors import TableError
from spark_imgdedup.files import storage, writing
from spark_imgdedup.files.filesystems import filesystem, is_object_store
from spark_imgdedup.files.parts.plan import Part, join_digests, split_digests

_ABOUT = b"spark_imgdedup.part"
# Under which Spark keeps a table's schema, the metadata of its columns included.
SPARK_SCHEMA = b"org.apache.spark.sql.parquet.row.metadata"
_PREFIX, _SUFFIX = "part-", ".parquet"
# Names the round that may write parts; hidden from readers of tables.
_ROUND = "_round"
# Rows wait until they have so many bytes: a row group, which readers take as one piece of work.
ROW_GROUP_BYTES = 32 * 2**20
BATCH_ROWS = 8192


@dataclass(frozen=True)
class PartForm:
    """What the parts of a table have in common.

    Attributes:
        settings: Tells the settings that made them from all others.
        schema: Of the rows.
        spark_schema: The same in Spark's json, with the metadata of the columns.
        source_column: Holds the name of the source of each row.
        codec: Parquet's name of the compression.
        plain: Columns whose values hardly ever repeat, so that neither a dictionary nor a smallest and largest value
            is worth its bytes.
    """

    settings: str
    schema: pa.Schema
    spark_schema: str
    source_column: str
    codec: str = "snappy"
    plain: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Equal for parts that may be of one table."""
        return hashlib.sha256(f"{self.settings}\n{self.spark_schema}".encode()).hexdigest()[:32]

    def name(self, sources: Iterable[bytes]) -> str:
        """The file of the part that has the rows of these sources, by their digests."""
        digest = hashlib.sha256(self.key.encode() + b"".join(sorted(sources)))
        return f"{_PREFIX}{digest.hexdigest()[:32]}{_SUFFIX}"


@dataclass(frozen=True)
class Round:
    """What a driver has its tasks write: parts of this form, in this folder, until another round begins."""

    folder: str
    form: PartForm
    name: str
    options: dict[str, Any] = field(default_factory=dict, repr=False)


class Written(NamedTuple):
    """A part that a task has written."""

    name: str
    n_rows: int
    n_bytes: int


def list_parts(folder: str, key: str, options: storage.Options | None = None) -> list[Part]:
    """The parts in a folder that are whole and of these settings, sorted by name.

    Args:
        folder: Of the table; there need be none.
        key: Of a `PartForm`.
        options: Storage options.
    """
    names = [name for name in storage.names_in(folder, options) if name.startswith(_PREFIX) and name.endswith(_SUFFIX)]
    found = storage.at_once([partial(_look_at, folder, name, key, options) for name in names])
    return [each[0] for each in found if each is not None]


def _look_at(folder: str, name: str, key: str, options: storage.Options | None) -> tuple[Part, int] | None:
    """A part and its rows by its footer, which is written last: a file that was cut off has none."""
    url = storage.join(folder, name)
    try:
        with storage.open_random(url, options) as stream:
            footer = pq.read_metadata(stream)
        about = json.loads((footer.metadata or {})[_ABOUT])
        if about["key"] != key:
            return None
        digests = split_digests(about["sources"])
    except (KeyError, ValueError, FileNotFoundError):  # of which ArrowInvalid is one
        return None
    except OSError as error:
        if error.errno is None:  # Arrow's own: what it read is no footer
            return None
        raise
    return Part(name, storage.size(url, options), digests), footer.num_rows


def sources_in(folder: str, options: storage.Options | None = None) -> frozenset[bytes]:
    """The digests of the sources of all parts in a folder, whatever settings made them; none of what is no part."""
    names = [name for name in storage.names_in(folder, options) if name.startswith(_PREFIX) and name.endswith(_SUFFIX)]
    found = storage.at_once([partial(_sources_of, folder, name, options) for name in names])
    return frozenset(digest for digests in found for digest in digests)


def _sources_of(folder: str, name: str, options: storage.Options | None) -> tuple[bytes, ...]:
    try:
        with storage.open_random(storage.join(folder, name), options) as stream:
            return split_digests(json.loads((pq.read_metadata(stream).metadata or {})[_ABOUT])["sources"])
    except (KeyError, ValueError, FileNotFoundError):  # of which ArrowInvalid is one
        return ()


def open_round(folder: str, form: PartForm, options: storage.Options | None = None) -> Round:
    """Begin to write parts: tasks of earlier rounds, which may outlive their driver, write no more."""
    name = uuid.uuid4().hex
    writing.write_bytes(storage.join(folder, _ROUND), name.encode(), options)
    return Round(folder, form, name, dict(options or {}))


def _require_open(one: Round) -> None:
    try:
        now = storage.read_text(storage.join(one.folder, _ROUND), one.options)
    except FileNotFoundError:
        now = "none"
    if now != one.name:
        raise TableError(
            f"{one.folder}: another run writes this table, or has finished it, since this one began. Let one of "
            "them end, then run this one again, or give it a work_dir of its own."
        )


def keep_only(folder: str, names: Collection[str], options: storage.Options | None = None) -> None:
    """Take everything from a table's folder but these files, and make their names last."""
    gone = [name for name in storage.names_in(folder, options) if name not in names]
    storage.delete_below(folder, gone, options)
    if storage.exists(folder, options):
        writing.sync_folder(folder, options)


def missing_parts(folder: str, names: Iterable[str], options: storage.Options | None = None) -> list[str]:
    """Those of these parts that are not there, sorted."""
    return sorted(set(names) - set(storage.names_in(folder, options)))


def write_part(one: Round, sources: Sequence[bytes], batches: Iterable[pa.RecordBatch]) -> Written:
    """Write a part, under another name until it is whole; one that is there, of a task that was lost, is left.

    Args:
        one: The round.
        sources: The digests of the files that its rows are of.
        batches: The rows, source by source in the order of their names.

    Raises:
        TableError: another round has begun.
    """
    name, options = one.form.name(sources), one.options
    if (found := _look_at(one.folder, name, one.form.key, options)) is not None:
        return Written(name, found[1], found[0].n_bytes)
    final = storage.join(one.folder, name)
    fs, _ = filesystem(one.folder, options)
    at_once = is_object_store(fs)  # visible when it is closed
    place = final if at_once else writing.unfinished(final)
    file = writing.open_write(place, options)
    try:
        n_rows = _write_rows(file, batches, one.form, sources)
        n_bytes = file.tell()
        _require_open(one)
        writing.finish(file)
        if not at_once:
            writing.move(place, final, options)
    except BaseException:
        writing.discard(file)
        if not at_once:
            storage.delete_file(place, options)  # the disk may be full
        raise
    return Written(name, n_rows, n_bytes)


def _write_rows(file: IO[bytes], batches: Iterable[pa.RecordBatch], form: PartForm, sources: Sequence[bytes]) -> int:
    about = {
        "key": form.key,
        "sources": join_digests(sources),
    }
    metadata = {_ABOUT.decode(): json.dumps(about), SPARK_SCHEMA.decode(): form.spark_schema}
    names = [name for name in form.schema.names if name not in form.plain]
    n_rows = 0
    with pq.ParquetWriter(
        file,
        form.schema,
        compression=form.codec,
        use_dictionary=names,
        write_statistics=names,
        store_schema=False,  # Spark's is there
    ) as writer:
        for rows in _row_groups(batches, form.schema):
            writer.write_table(rows, row_group_size=max(1, len(rows)))
            n_rows += len(rows)
        writer.add_key_value_metadata(metadata)
    return n_rows


def _row_groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    n_bytes = 0
    for batch in batches:
        held.append(batch)
        n_bytes += batch.nbytes
        if n_bytes >= ROW_GROUP_BYTES:
            yield pa.Table.from_batches(held, schema)
            held, n_bytes = [], 0
    if held:
        yield pa.Table.from_batches(held, schema)


def copy_rows(one: Round, pieces: Sequence[tuple[str, Collection[str] | None]]) -> Iterator[pa.RecordBatch]:
    """The rows of parts that are there, source by source in the order of their names.

    Args:
        one: The round.
        pieces: The name of each part, and the names of the sources whose rows are taken; None is all of them. More
            than one part is read into memory.
    """
    rows = (batch for name, wanted in pieces for batch in _rows_of(one, name, wanted))
    if len(pieces) == 1:
        yield from rows
        return
    table = pa.Table.from_batches(rows, one.form.schema)
    order = pc.sort_indices(table[one.form.source_column])  # which leaves the rows of a source in their order
    for start in range(0, len(table), BATCH_ROWS):
        yield from table.take(order[start : start + BATCH_ROWS]).combine_chunks().to_batches()


def _rows_of(one: Round, name: str, wanted: Collection[str] | None) -> Iterator[pa.RecordBatch]:
    schema, column = one.form.schema, one.form.source_column
    only = None if wanted is None else pa.array(sorted(wanted), pa.string())
    with storage.open_random(storage.join(one.folder, name), one.options) as stream:
        for batch in pq.ParquetFile(stream).iter_batches(BATCH_ROWS, use_threads=False):
            rows = batch if only is None else batch.filter(pc.is_in(batch[column], only))
            arrays = [rows[name].cast(kind) for name, kind in zip(schema.names, schema.types, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)
