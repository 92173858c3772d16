"""Shards -> rows, for Spark's data source API. This module imports Spark: only a registered source does import it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from pyspark.sql.datasource import DataSourceReader, InputPartition

from spark_imgdedup.datasource.columns import ReadColumns, row_bytes
from spark_imgdedup.files.tars.shards import Shard, list_shards
from spark_imgdedup.stages.read import group_by_bytes, group_shards, iter_records

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql.datasource import Filter
    from pyspark.sql.types import StructType

    from spark_imgdedup.datasource.options import ReadOptions


class WebDatasetReader(DataSourceReader):
    """Reads the members that the schema names: of all others only the header, where the storage can seek."""

    def __init__(self, options: ReadOptions, schema: StructType) -> None:
        columns = tuple((field.name, field.dataType.simpleString()) for field in schema)
        self._columns = ReadColumns(columns, options.input.max_image_bytes)
        self._max_partitions = options.max_partitions
        needs_id = {"image_id", "rejected_because"} & self._columns.own
        # The json of an id is a member too, and not read for nothing.
        self._input = options.input if needs_id else options.input.model_copy(update={"id_field": None})
        self._conditions: list[Callable[[Shard], bool]] = []

    def partitions(self) -> list[InputPartition]:  # Spark itself insists on a list
        """One partition per shard that may hold a row, or groups of like size in bytes."""
        shards = [shard for shard in list_shards(self._input) if all(holds(shard) for holds in self._conditions)]
        return [InputPartition(group) for group in group_shards(shards, self._max_partitions)]

    def read(self, partition: InputPartition | None) -> Iterator[pa.RecordBatch]:
        """The rows of a partition, in Arrow batches bounded by their bytes."""
        shards: list[Shard] = partition.value if partition else []  # Spark makes an empty list of partitions one None
        with_image = "image" in self._columns.own
        rows = (
            self._columns.row(record, sample)
            for shard in shards
            for record, sample in iter_records(shard, self._input, with_data=with_image, also=self._columns.wants)
        )
        return (self._columns.to_batch(group) for group in group_by_bytes(rows, row_bytes))


class FilteringWebDatasetReader(WebDatasetReader):
    """Opens only shards that may hold a row which the filters let through."""

    def pushFilters(self, filters: list[Filter]) -> Iterable[Filter]:
        """Note which shards the filters on shard and image_id leave, and give all back: Spark applies them to rows."""
        with_ids = self._input.id_field is None
        self._conditions = [holds for each in filters if (holds := _condition(each, with_ids=with_ids))]
        return filters


def _condition(each: Filter, *, with_ids: bool) -> Callable[[Shard], bool] | None:
    """Whether a shard may hold a row that passes; None for a filter that says nothing of shards."""
    from pyspark.sql.datasource import EqualTo, In, StringStartsWith

    if not isinstance(each, EqualTo | In | StringStartsWith):
        return None
    column = ".".join(each.attribute).lower()
    if column == "shard" and isinstance(each, StringStartsWith):
        start = each.value
        return lambda shard: shard.name.startswith(start)
    values = frozenset(each.value if isinstance(each, In) else (each.value,))
    if column == "shard":
        return lambda shard: shard.name in values
    if column == "image_id" and with_ids and not isinstance(each, StringStartsWith):
        # An id is its shard's name, a slash and a key; that of a damaged shard the name alone.
        starts = {value[:place] for value in values if value for place in _slashes(value)}
        return lambda shard: shard.name in values or shard.name in starts
    return None


def _slashes(text: str) -> Iterator[int]:
    return (place for place, character in enumerate(text) if character == "/")
