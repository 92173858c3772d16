"""Vectors with pairs at every border, as tables and as blocks."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spark_imgdedup.config import parse_config
from spark_imgdedup.files import artifacts
from spark_imgdedup.files.block_index import save_index
from spark_imgdedup.kernels.vectors import l2_normalize
from spark_imgdedup.stages.centroids import fit_source, measure
from spark_imgdedup.stages.searching.blocks import Blocks, read_clusters, write_blocks
from spark_imgdedup.stages.searching.search import Folders
from spark_imgdedup.stages.user_input.user_tables import open_table
from spark_imgdedup.stages.vectors.vector_files import FileSource, file_source
from spark_imgdedup.stages.vectors.vector_source import vector_source

EPS = 0.05
DIM = 12


def crowded(n=360, seed=0):
    """Rows in every direction, so that borders lie everywhere, pairs at eps and just beyond it, and copies."""
    rng = np.random.default_rng(seed)
    rows = l2_normalize(rng.standard_normal((n, DIM)))
    aside = rng.standard_normal((n // 6, DIM))
    aside -= (aside * rows[: n // 6]).sum(axis=1, keepdims=True) * rows[: n // 6]
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    cosine = np.where(np.arange(n // 6) % 2, 1 - EPS, 1 - EPS - 2e-6)[:, None]
    near = cosine * rows[: n // 6] + np.sqrt(1 - cosine**2) * aside
    return np.concatenate([rows, l2_normalize(near), rows[: n // 12]]).astype(np.float32)


def settings(path, **sections):
    cluster = {"embeddings_path": str(path), "n_clusters": 9, **sections.pop("cluster", {})}
    return parse_config({"cluster": cluster, "identify": {"eps": EPS}, **sections})


def written(folder, rows, n_files=3, ids=None):
    """The rows as a Parquet table of several files and row groups."""
    folder.mkdir()
    ids = [f"id-{number:04}" for number in range(len(rows))] if ids is None else ids
    for number, part in enumerate(np.array_split(np.arange(len(rows)), n_files)):
        table = pa.table(
            {
                "id": [ids[place] for place in part],
                "embedding": pa.array(list(rows[part]), pa.list_(pa.float32())),
                "size": pa.array((part * 7919) % 13),
            }
        )
        pq.write_table(table, folder / f"{number}.parquet", row_group_size=50)
    return folder


def blocks_of(spark, tmp_path, config, *, through_rows=False):
    """The blocks of a table as the cluster step writes them, and the sample of their rows."""
    path = config.cluster.embeddings_path
    df = open_table(spark, (path,))
    source = vector_source(df, config) if through_rows else file_source(df, path, config)
    assert isinstance(source, FileSource) is not through_rows
    population = measure(source)
    centroids = artifacts.save(str(tmp_path / "centroids"), fit_source(source, population))
    found = write_blocks(source, centroids, population, str(tmp_path / "blocks"))
    save_index(found.index, {})
    return Blocks.of(read_clusters(source, found.index), found.index, centroids, config), found.sample


def folders(tmp_path):
    """Where the tasks of a search write."""
    return Folders(probes=str(tmp_path / "probes"), links=str(tmp_path / "links"))
