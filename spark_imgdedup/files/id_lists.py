"""Lists of ids as people have them: lines of text, CSV and JSON, compressed or not. No Spark."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import posixpath
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any, Literal, cast

import pyarrow as pa

from spark_imgdedup.errors import ConfigError, SchemaError
from spark_imgdedup.files import storage
from spark_imgdedup.files.parquet_files import require_data, table_files

Kind = Literal["lines", "csv", "json"]

_KINDS: dict[str, Kind] = {
    ".txt": "lines",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
}
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_DELIMITERS = (",", ";", "\t", "|")
# Files that belong to a folder, not to a list.
_ABOUT = ("readme", "license", "licence")


@dataclass(frozen=True)
class IdFiles:
    """The files of a list.

    Attributes:
        lists: Of text, CSV or JSON; none where the list is a table.
        is_table: True for Parquet.
    """

    lists: tuple[storage.FileInfo, ...]
    is_table: bool


def kind_of(url: str) -> Kind | None:
    """How a file lists its ids, by its name; None of a name that says nothing."""
    name = storage.base_name(url).lower()
    stem, suffix = posixpath.splitext(name)
    return _KINDS.get(posixpath.splitext(stem)[1] if suffix in _COMPRESSED else suffix)


def id_files(path: str, options: storage.Options | None = None) -> IdFiles:
    """The files of ids at a path: a file, a folder of them (recursively) or a glob.

    Beside Parquet, json is somebody's notes (img2dataset's 00000_stats.json), and so it is beside other lists.

    Raises:
        ConfigError: there is no list, there are lists and Parquet, or a Parquet file has no bytes.
    """
    if not storage.is_glob(path) and not storage.exists(path, options):
        raise ConfigError(f"{path}: no such list of ids. {_MAY_BE}")
    found = storage.list_files(path, "", options)
    if len(found) == 1 and kind_of(found[0].url) is not None:
        return IdFiles(tuple(found), is_table=False)
    tables = table_files(path, options)
    if tables.empty:
        raise ConfigError(
            f"{tables.empty[0].url}: this list of ids has no bytes, so it is no Parquet. Write it again, or take it "
            "away."
        )
    lists = [file for file in tables.others if kind_of(file.url) and not _is_about(file.url)]
    if any(not _is_plain_json(file.url) for file in lists) or tables.data:
        lists = [file for file in lists if not _is_plain_json(file.url)]
    if lists and tables.data:
        raise ConfigError(
            f"{path}: there are Parquet files ({storage.base_name(tables.data[0].url)}) and lists "
            f"({storage.base_name(lists[0].url)}) of ids. Name the files, or a folder that has one of them."
        )
    if lists:
        return IdFiles(tuple(lists), is_table=False)
    if not tables.data:
        there = f"only {storage.base_name(found[0].url)}" if found else "nothing"
        raise ConfigError(f"{path}: no list of ids there, {there}. {_MAY_BE}")
    require_data(path, options)
    return IdFiles((), is_table=True)


_MAY_BE = (
    "Name a Parquet or Delta table, a .txt of one id a line, a .csv or .tsv, or a .jsonl; each may be compressed "
    "(.gz, .bz2, .xz, .zst)."
)


def read_ids(url: str, id_field: str, options: storage.Options | None = None) -> Iterator[str | None]:
    """The ids of a file in its order, as text; None for a record without.

    A .txt has an id a line, spaces around it left out. A .csv has a header with `id_field` in it, or one column alone,
    of which every line is an id. Lines of JSON are objects with `id_field`, texts or whole numbers.

    Raises:
        SchemaError: the file does not hold that; the file and the line are named.
    """
    try:
        with storage.open_read(url, options) as raw, _plain(url, raw) as data:
            text = io.TextIOWrapper(cast(IO[bytes], data), encoding="utf-8-sig", newline="")
            read = {"lines": _lines, "csv": _csv, "json": _json}[kind_of(url) or "lines"]
            yield from read(text, id_field)
    except _Problem as problem:
        raise SchemaError(f"{url}: {problem}. Nothing was removed.") from None
    except (UnicodeDecodeError, EOFError, OSError, lzma.LZMAError, zlib.error, csv.Error, pa.ArrowException) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise SchemaError(f"{url}: this list of ids cannot be read ({error}). Nothing was removed.") from None


class _Problem(Exception):
    """What is wrong with a file, without its name."""


def _plain(url: str, raw: IO[bytes]) -> Any:
    suffix = posixpath.splitext(url.lower())[1]
    if suffix == ".zst":
        return io.BufferedReader(cast(io.RawIOBase, _Readable(pa.CompressedInputStream(raw, "zstd"))))
    opened = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}.get(suffix)
    return raw if opened is None else opened(raw)  # type: ignore[operator]


class _Readable(io.RawIOBase):
    """pyarrow's stream as Python's text reader takes it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _lines(text: Iterable[str], _: str) -> Iterator[str | None]:
    for number, line in enumerate(text, 1):
        if "\0" in line:
            raise _Problem(f"line {number} holds a zero byte, so this is no text")
        if one := line.strip():
            yield one


def _csv(text: Iterator[str], id_field: str) -> Iterator[str | None]:
    first = next(text, "")
    names, mark = _header(first, id_field)
    if id_field not in names:
        if len(names) > 1:
            raise _Problem(f"the header has no column '{id_field}' (remove.id_field), it has {', '.join(names)}")
        yield from (row[0] or None for row in csv.reader([first]) if row)  # no header: the first line is an id
        names = [id_field]
    place = names.index(id_field)
    for row in csv.reader(text, delimiter=mark):
        if row:
            yield (row[place] or None) if place < len(row) else None


def _header(line: str, id_field: str) -> tuple[list[str], str]:
    """The names of a header, and what stands between them."""
    found = [([name.strip() for name in next(csv.reader([line], delimiter=mark), [])], mark) for mark in _DELIMITERS]
    longest = max(found, key=lambda each: len(each[0]))
    return next(((names, mark) for names, mark in found if id_field in names), longest)


def _json(text: io.TextIOBase, id_field: str) -> Iterator[str | None]:
    lines = enumerate(text, 1)
    for number, line in lines:
        if not line.strip():
            continue
        if line.lstrip().startswith("["):  # one array: whole
            records = _parse(line + "".join(rest for _, rest in lines), number)
            yield from (_id_in(record, id_field, f"entry {place}") for place, record in enumerate(records, 1))
        else:
            yield _id_in(_parse(line, number), id_field, f"line {number}")


def _parse(line: str, number: int) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _Problem(f"line {number} is no JSON ({error})") from None


def _id_in(record: Any, id_field: str, place: str) -> str | None:
    if isinstance(record, dict):
        if id_field not in record:
            there = ", ".join(record) or "nothing"
            raise _Problem(f"{place} has no '{id_field}' (remove.id_field), it has {there}")
        record = record[id_field]
    if record is None or isinstance(record, str):
        return record
    if isinstance(record, int) and not isinstance(record, bool):
        return str(record)
    raise _Problem(f"{place}: ids are text or whole numbers, found {str(record)[:80]}; as text, 1.0 is not 1")


def _is_about(url: str) -> bool:
    return storage.base_name(url).lower().startswith(_ABOUT)


def _is_plain_json(url: str) -> bool:
    return storage.base_name(url).lower().endswith(".json")
