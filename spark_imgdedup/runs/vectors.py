"""The vectors of a run: where they are read from, and the blocks that the search reads."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from spark_imgdedup.config import Config
from spark_imgdedup.counts import DetectCounts
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.files import artifacts, storage, writing
from spark_imgdedup.files.block_index import load_index, save_index
from spark_imgdedup.runs.current import has_hashes
from spark_imgdedup.runs.sources import count_searched, searched_embeddings, searched_images
from spark_imgdedup.runs.tables import Tables
from spark_imgdedup.stages.centroids import Population, measure
from spark_imgdedup.stages.detect import collapse_copies
from spark_imgdedup.stages.searching.blocks import Blocks, Sample, Written, write_blocks
from spark_imgdedup.stages.vectors.collapsed import MarksByFile, mark_copies
from spark_imgdedup.stages.vectors.own_embeddings import own_source
from spark_imgdedup.stages.vectors.vector_files import file_source
from spark_imgdedup.stages.vectors.vector_source import VectorSource, vector_source

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

BLOCKS = "blocks"
# Rows compared in other clusters than their home: they go once `similarities` is stored.
PROBES = "probes"
# Which rows of which file exact copies are: they go once `blocks` are written.
MARKS = "marks"
# Which rows hang together by pairs that the search has found near enough.
LINKS = "links"
_SAMPLE = "sample.arrow"


def searched_vectors(tables: Tables, config: Config) -> VectorSource:
    """The vectors among which duplicates are searched: straight from their files where these are Parquet."""
    rows = searched_embeddings(tables, config)
    with_hashes = not config.uses_hashes or has_hashes("embed", tables, config)
    if not with_hashes:  # `detect` took them in a pass of its own
        rows = searched_images(tables, config)
    if config.collapses_copies:
        copies, path = tables.read("copies"), _folder_of(tables, config) if with_hashes else None
        left = collapse_copies(rows, copies)
        if path is None:
            return vector_source(left, config)
        return file_source(left, path, config, partial(_mark_copies, tables, rows, copies))
    if config.cluster.embeddings_path is not None and not config.filters_first:
        return own_source(rows, config.cluster.embeddings_path, config)
    path = _folder_of(tables, config) if with_hashes else None
    return vector_source(rows, config) if path is None else file_source(rows, path, config)


def _mark_copies(tables: Tables, rows: DataFrame, copies: DataFrame) -> MarksByFile:
    if not _n_copies(tables):
        return {}
    return mark_copies(rows, copies, tables.path(MARKS), tables.config.storage_options)


def _n_copies(tables: Tables) -> int:
    record = tables.record("detect")
    assert record is not None
    assert isinstance(record.counts, DetectCounts)
    return record.counts.copies or 0


def population_of(tables: Tables, source: VectorSource, config: Config) -> Population:
    """What there is to cluster: as the steps before have counted it, where one encoder made all vectors; else measured.

    Measuring takes a pass over all vectors, through the JVM and beside the copies where these are collapsed.
    """
    n_rows = count_searched(tables, config)
    if n_rows is None:
        return measure(source)
    if config.collapses_copies:
        n_rows -= _n_copies(tables)
    usable = tables.read("embeddings").where("rejected_because is null")
    first = usable.select(source.column.lengths("embedding").alias("width")).first()
    width = 0 if first is None else int(first["width"])
    return Population(n_rows, width, source.column.dim(width))


def _folder_of(tables: Tables, config: Config) -> str | None:
    """Where the Parquet files of the searched embeddings are; None where they are something else."""
    if config.table.format != "parquet" or config.tables.schema_name is not None:
        return None
    return tables.path("scored" if config.filters_first else "embeddings")


def store_blocks(
    tables: Tables, source: VectorSource, centroids: artifacts.Artifact, population: Population
) -> Written:
    """Write the blocks of a run; those of an earlier one go once these are whole."""
    folder, options = tables.path(BLOCKS), tables.config.storage_options
    written = write_blocks(source, centroids, population, folder)
    save_index(written.index, options)
    writing.write_bytes(storage.join(folder, _SAMPLE), written.sample.to_bytes(), options)
    return written


def open_blocks(tables: Tables, config: Config) -> tuple[Blocks, Sample]:
    """The blocks of the cluster step, and the sample of their rows.

    Raises:
        SchemaError: there are none.
    """
    clusters: DataFrame = tables.read("clusters")
    folder, options = tables.path(BLOCKS), config.storage_options
    try:
        index = load_index(folder, options)
        with storage.open_read(storage.join(folder, _SAMPLE), options) as file:
            stored = file.read()
    except FileNotFoundError:
        raise SchemaError(
            f"{folder}: no vectors there. Run step 'cluster' first: spark-imgdedup cluster --config …"
        ) from None
    try:
        sample = Sample.of_bytes([stored], index.dtype)
    except (OSError, ValueError, KeyError):  # Arrow's errors are some of them
        raise SchemaError(
            f"{storage.join(folder, _SAMPLE)} is damaged. Run step 'cluster' again: spark-imgdedup cluster --force "
            "--config …"
        ) from None
    centroids = artifacts.find(tables.path("centroids"), options)
    return Blocks.of(clusters, index, centroids, config), sample
