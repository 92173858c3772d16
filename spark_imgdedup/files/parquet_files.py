"""Which files of a folder are a Parquet table, and what their footers say. No Spark.

Folders that people have hold more than Parquet: a README.md, json of statistics, files that an upload left empty.
"""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa
import pyarrow.parquet as pq

from spark_imgdedup.errors import ConfigError, SchemaError
from spark_imgdedup.files import storage
from spark_imgdedup.files.filesystems import filesystem

log = logging.getLogger("spark_imgdedup")

SUFFIXES = (".parquet", ".parq", ".pq")
_MAGIC = b"PAR1"
_HIDDEN = re.compile(r"(^|/)[._]")
# Footers read at a time by the driver, and kept for the next look at the same table.
_THREADS = 16
_KEPT = 100_000
_SPARK_SCHEMA = b"org.apache.spark.sql.parquet.row.metadata"
_footers: dict[storage.FileInfo, Footer] = {}


@dataclass(frozen=True)
class Leaf:
    """A column of Parquet, as it is stored.

    Attributes:
        path: Its name, and within lists and structs the names on the way to it, with dots between.
        physical: INT64, BYTE_ARRAY, …
        logical: Float16, UUID, Time, Timestamp, Null, …; None.
        unit: milliseconds, microseconds or nanoseconds, of a Time or Timestamp.
        in_utc: Whether a Timestamp is a moment, not what a clock shows somewhere.
        detail: All that the file says of the logical type.
    """

    path: str
    physical: str
    logical: str
    unit: str
    in_utc: bool
    detail: str


@dataclass(frozen=True)
class Footer:
    """What the footer of a file says of its rows and columns.

    Attributes:
        url: The file.
        n_rows: In it.
        leaves: Its columns, those within lists and structs too.
        schema: The same as Arrow's types.
        marks: How our own tables store vectors, by column: float16 or float32; empty for those of others.
    """

    url: str
    n_rows: int
    leaves: tuple[Leaf, ...]
    schema: pa.Schema
    marks: tuple[tuple[str, str], ...] = ()

    @property
    def form(self) -> tuple[tuple[str, ...], ...]:
        """Equal for files that Spark reads with one schema; the order of the columns does not matter."""
        return (*sorted((leaf.path, leaf.physical, leaf.detail) for leaf in self.leaves), *self.marks)


@dataclass(frozen=True)
class TableFiles:
    """The files below a path that are a table, and those beside them.

    Attributes:
        data: Parquet, with bytes in it.
        empty: Of no bytes, with a name of Parquet.
        others: Something else.
    """

    data: tuple[storage.FileInfo, ...]
    empty: tuple[storage.FileInfo, ...]
    others: tuple[storage.FileInfo, ...]


def table_files(path: str, options: storage.Options | None = None) -> TableFiles:
    """The Parquet files of a folder (recursively), a glob or a file's own URL, sorted by URL.

    A file is Parquet by its name, or, where its name has no dot or none in the folder is called Parquet, by its first
    bytes: Hive writes 000000_0. Names that begin with "_" are Spark's own.
    """
    found = [file for file in storage.list_files(path, "", options) if not storage.base_name(file.url).startswith("_")]
    named = {file for file in found if file.url.lower().endswith(SUFFIXES)}
    asked = [file for file in found if file not in named and (not named or "." not in storage.base_name(file.url))]
    with ThreadPoolExecutor(_THREADS) as pool:
        begins = pool.map(lambda file: _begins_like_parquet(file, options), asked)
        named |= {file for file, is_parquet in zip(asked, begins, strict=True) if is_parquet}
    return TableFiles(
        tuple(file for file in found if file in named and file.n_bytes),
        tuple(file for file in found if file in named and not file.n_bytes),
        tuple(file for file in found if file not in named),
    )


def require_data(path: str, options: storage.Options | None = None) -> TableFiles:
    """`table_files`, with a word on what is passed over.

    Raises:
        ConfigError: none of the files is Parquet with bytes in it.
    """
    files = table_files(path, options)
    if not files.data:
        what = "no files there"
        if files.empty:
            what = f"{storage.base_name(files.empty[0].url)} is empty (0 bytes)"
        elif files.others:
            what = f"no Parquet file there, but {_named(files.others)}"
        raise ConfigError(f"{path}: {what}. Name a Parquet file, a folder of them, or a Delta table.")
    if files.empty:
        _say(path, f"{len(files.empty)} Parquet files of 0 bytes", _named(files.empty))
    if files.others:
        _say(path, f"{len(files.others)} files that are no Parquet", _named(files.others))
    _say_hidden(path, options)
    return files


def read_footers(files: Sequence[storage.FileInfo], options: storage.Options | None = None) -> list[Footer]:
    """What the footers say, in the order of the files; those of unchanged files are remembered.

    Raises:
        SchemaError: a file is no Parquet or damaged, or two of its columns differ in case only; the file is named.
    """
    # Threads of one run ask for their tables side by side: what is found is given from here, whoever clears the others.
    found = {file: footer for file in files if (footer := _footers.get(file)) is not None}
    missing = [file for file in files if file not in found]
    with ThreadPoolExecutor(_THREADS) as pool:
        found.update(zip(missing, pool.map(lambda file: _read_footer(file, options), missing), strict=True))
    if len(_footers) + len(missing) > _KEPT:
        _footers.clear()
    _footers.update(found)
    return [found[file] for file in files]


def _read_footer(file: storage.FileInfo, options: storage.Options | None) -> Footer:
    try:
        with storage.open_random(file.url, options) as stream:
            metadata = pq.read_metadata(stream)
            schema = metadata.schema.to_arrow_schema()
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SchemaError(
            f"{file.url}: this file cannot be read as Parquet ({reason}). Write it again, or take it away."
        ) from None
    leaves = tuple(_leaf(metadata.schema.column(n)) for n in range(metadata.num_columns))
    footer = Footer(file.url, metadata.num_rows, leaves, schema, _marks(metadata.metadata or {}))
    _require_names(footer)
    return footer


def _marks(about: Mapping[bytes, bytes]) -> tuple[tuple[str, str], ...]:
    """What Spark has stored of our own marks in a file; see `stages.vectors.vector_column`."""
    try:
        fields = json.loads(about.get(_SPARK_SCHEMA, b"{}")).get("fields", [])
        marks = ((field["name"], field["metadata"].get("embedding_type")) for field in fields)
        return tuple((name, mark) for name, mark in marks if isinstance(mark, str))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ()


def _leaf(column: pq.ColumnSchema) -> Leaf:
    about = json.loads(column.logical_type.to_json())
    for how_written in ("is_from_converted_type", "force_set_converted_type"):
        about.pop(how_written, None)
    return Leaf(
        *(column.path, column.physical_type, str(about["Type"]), str(about.get("timeUnit", ""))),
        *(bool(about.get("isAdjustedToUTC", False)), json.dumps(about)),
    )


def _require_names(footer: Footer) -> None:
    """Spark takes no notice of case, so that it could read neither of two such columns."""
    for names in (footer.schema.names, [leaf.path for leaf in footer.leaves]):
        n = Counter(map(str.lower, names))
        twins = [name for name in names if n[name.lower()] > 1]
        if twins:
            one = [name for name in twins if name.lower() == twins[0].lower()]
            raise SchemaError(
                f"{footer.url}: columns {' and '.join(map(repr, one))} have one name to Spark, which takes no notice "
                "of case. Rename one of them, or write the table without it."
            )


def _begins_like_parquet(file: storage.FileInfo, options: storage.Options | None) -> bool:
    if file.n_bytes < len(_MAGIC):
        return False
    with storage.open_random(file.url, options) as stream:
        return bool(stream.read(len(_MAGIC)) == _MAGIC)


def _named(files: Iterable[storage.FileInfo]) -> str:
    names = [storage.base_name(file.url) for file in files]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


_looked_into: set[str] = set()


def _say_hidden(path: str, options: storage.Options | None) -> None:
    """Spark and its like read no file whose name, or whose folder's, begins with "_" or "."."""
    fs, root = filesystem(path, options)
    if path in _looked_into or not fs.isdir(root):
        return
    _looked_into.add(path)  # once: it lists the folder again
    below = [name[len(root.rstrip("/")) + 1 :] for name in sorted(fs.find(root))]
    hidden = [name for name in below if name.lower().endswith(SUFFIXES) and _HIDDEN.search(name)]
    if hidden:
        _say(path, f"{len(hidden)} hidden Parquet files", ", ".join(hidden[:3]) + (", …" if len(hidden) > 3 else ""))


@lru_cache(maxsize=64)  # once, not for each step
def _say(path: str, what: str, names: str) -> None:
    log.warning("%s: passed over %s: %s", path, what, names)
