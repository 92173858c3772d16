"""The columns that a schema asks for, taken from samples; and samples made of columns. No Spark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from spark_imgdedup import schemas
from spark_imgdedup.errors import SchemaError, printable
from spark_imgdedup.files.tars.shards import Member, Sample
from spark_imgdedup.models.stream import ImageRecord

# Name to Spark type of the columns that are no member.
OWN = {**dict(column.split(" ", 1) for column in schemas.IMAGES.split(", ")), "members": "map<string,binary>"}
_ARROW = {"string": pa.string(), "binary": pa.binary(), OWN["members"]: pa.map_(pa.string(), pa.binary())}
# What a row takes beside its bytes, about.
ROW_BYTES = 256

Columns = tuple[tuple[str, str], ...]  # (name, Spark type) in the order of the schema
Row = tuple[Any, ...]


@dataclass(frozen=True)
class ReadColumns:
    """The columns of a read: which members they need, and how a sample becomes a row.

    Any name that is not in OWN is a member's: what follows the key in the tar, in any case.
    """

    columns: Columns
    max_bytes: int  # of one member

    def __post_init__(self) -> None:
        for name, kind in self.columns:
            if _is_own(name) and kind != OWN[name.lower()]:
                raise SchemaError(
                    f"webdataset: the column '{name}' is {OWN[name.lower()]}, but is asked for as {kind}. Cast it "
                    "after the read; a member of that extension is in 'members'."
                )
            if not _is_own(name) and kind not in ("binary", "string"):
                raise SchemaError(
                    f"webdataset: the column '{name}' is asked for as {kind}, but a member is binary or string. "
                    "Read it as string and parse it, for instance with from_json."
                )

    @cached_property
    def _suffixes(self) -> frozenset[str]:
        return frozenset(name.lower() for name, _ in self.columns if not _is_own(name))

    @cached_property
    def own(self) -> frozenset[str]:
        """The columns among these that are no member, by their names in OWN."""
        return frozenset(name.lower() for name, _ in self.columns if _is_own(name))

    def wants(self, member: Member) -> bool:
        """True where a column holds this member's bytes, apart from `image`."""
        return "members" in self.own or member.suffix.lower() in self._suffixes

    def row(self, record: ImageRecord, sample: Sample) -> Row:
        """The values of a sample; null where the tar is damaged, or has no such member."""
        reason, error = self._problem(record, sample)
        own = {
            **{"image_id": record.image_id, "shard": record.shard, "key": record.key, "image": record.data},
            **{"rejected_because": reason, "error": error},
            "members": None if record.key is None else sample.data_by_suffix(),
        }
        return tuple(own[name.lower()] if _is_own(name) else _member(sample, name, kind) for name, kind in self.columns)

    def _problem(self, record: ImageRecord, sample: Sample) -> tuple[str | None, str | None]:
        """Why the image is not usable, or else a member that was asked for."""
        if record.rejected_because is None:
            for member in sample.members:
                if member.data is None and self.wants(member):
                    if (excess := member.excess(self.max_bytes)) is not None:
                        return "too_large", printable(f"'{member.suffix}': {excess}")
                    return "unreadable", printable(f"the shard ends inside '{member.suffix}'")
        return record.rejected_because, record.error

    def to_batch(self, rows: list[Row]) -> pa.RecordBatch:
        """Rows as Arrow, in the types of the schema: Spark checks only the names, and those of the first batch only."""
        values = zip(*rows, strict=True)
        arrays = [pa.array(column, _ARROW[kind]) for column, (_, kind) in zip(values, self.columns, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, names=[name for name, _ in self.columns])


def _is_own(name: str) -> bool:
    return name.lower() in OWN  # Spark finds columns in any case


def row_bytes(row: Row) -> int:
    """About what a row takes in an Arrow batch, in bytes."""
    return ROW_BYTES + sum(
        sum(map(len, value.values())) if isinstance(value, dict) else len(value) for value in row if value is not None
    )


def _member(sample: Sample, name: str, kind: str) -> bytes | str | None:
    """The first member of that suffix; text that is not UTF-8 shows its bytes as escapes, as in keys."""
    found = next((member.data for member in sample.members if member.suffix.lower() == name.lower()), None)
    return found.decode("utf-8", "backslashreplace") if found is not None and kind == "string" else found


@dataclass(frozen=True)
class WriteColumns:
    """The columns of a write: which one is the key, and which hold members."""

    columns: Columns

    def __post_init__(self) -> None:
        kinds = {name.lower(): kind for name, kind in self.columns}
        if kinds.get(self.key) != "string":
            raise SchemaError(
                "webdataset: a write needs a column 'image_id' or 'key' of type string, which names the samples; there "
                f"is {_listed(self.columns)}."
            )
        if "image" in kinds:
            raise SchemaError(
                "webdataset: the column 'image' says nothing of its extension. Rename it to that, e.g. "
                "withColumnRenamed('image', 'jpg'), or read 'members' and write that: it has the sidecars too."
            )
        for name, kind in self._members:
            if kind not in ((OWN["members"],) if _is_own(name) else ("binary", "string")):
                raise SchemaError(
                    f"webdataset: the column '{name}' is {kind}, but a member is binary or string, and 'members' is "
                    f"{OWN['members']}. Drop the column, or cast it."
                )
        if not self._members:
            raise SchemaError(
                "webdataset: a write needs a column for each member, named by its extension (jpg, txt, json), or "
                f"'members' {OWN['members']}; there is {_listed(self.columns)}."
            )

    @cached_property
    def key(self) -> str:
        """The column that names the samples."""
        return "image_id" if "image_id" in {name.lower() for name, _ in self.columns} else "key"

    @cached_property
    def _members(self) -> Columns:
        return tuple((name, kind) for name, kind in self.columns if name.lower() == "members" or not _is_own(name))

    def samples(self, batch: pa.RecordBatch) -> Iterator[tuple[str, Mapping[str, bytes]]]:
        """(key, data by suffix) of each row; a null is no member.

        Raises:
            SchemaError: a row has no key, or names one member twice.
        """
        by_name = {name.lower(): batch.column(number) for number, (name, _) in enumerate(self.columns)}
        keys = by_name[self.key]
        members = [(name, by_name[name.lower()]) for name, _ in self._members]
        for row, key in enumerate(keys):  # one row's bytes at a time as Python's, not the batch's
            yield self._sample(key.as_py(), ((name, column[row].as_py()) for name, column in members))

    def _sample(self, key: str | None, values: Iterable[tuple[str, Any]]) -> tuple[str, Mapping[str, bytes]]:
        if key is None:
            raise SchemaError(
                f"webdataset: a row has no {self.key}, such as that of a damaged shard. Leave it out: "
                f'.where("{self.key} is not null").'
            )
        members: dict[str, bytes] = {}
        for name, value in values:
            pairs = (value or []) if _is_own(name) else [(name, value)]
            for suffix, data in pairs:
                if data is None:
                    continue
                if suffix in members:
                    raise SchemaError(
                        f"webdataset: two columns have a member '{suffix}' for '{key}'. Drop one of them."
                    )
                members[suffix] = data.encode() if isinstance(data, str) else data
        return key, members


def _listed(columns: Columns) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in columns)
