"""The format itself, as Spark knows it. This module imports Spark: only `register` does import it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql.datasource import DataSource

from spark_imgdedup import schemas
from spark_imgdedup.datasource.options import read_options, write_options
from spark_imgdedup.datasource.reader import FilteringWebDatasetReader, WebDatasetReader
from spark_imgdedup.datasource.writer import WebDatasetWriter

if TYPE_CHECKING:
    from pyspark.sql.types import StructType


class WebDatasetSource(DataSource):
    """WebDataset tars as rows. Workers find this class by its name: the package must be installed there."""

    @classmethod
    def name(cls) -> str:
        """What follows `format`."""
        return "webdataset"

    def schema(self) -> str:
        """The columns where none are asked for: those of `read_images`."""
        read_options(self.options)
        return schemas.IMAGES

    def reader(self, schema: StructType) -> WebDatasetReader:
        """Reads the columns of `schema`."""
        return WebDatasetReader(read_options(self.options), schema)

    def writer(self, schema: StructType, overwrite: bool) -> WebDatasetWriter:
        """Writes rows of `schema`."""
        return WebDatasetWriter(write_options(self.options), schema, overwrite=overwrite)


class FilteringWebDatasetSource(WebDatasetSource):
    """The same for sessions that push filters down."""

    def reader(self, schema: StructType) -> WebDatasetReader:
        """Reads the columns of `schema`, from shards that the filters leave."""
        return FilteringWebDatasetReader(read_options(self.options), schema)
