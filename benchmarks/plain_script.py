"""The dedup half as a script without this package: one process, two threads, pyarrow + FAISS + NumPy, files in and out.

Reads Parquet of (id, embedding list<float>), makes unit rows, trains spherical k-means on at most 256 rows a centroid
(25 iterations), assigns, sorts by cluster and rank (farthest from the centroid first), compares the upper triangle of
each cluster in tiles, and writes every row with its best earlier row, and those at eps.

It compares home clusters only, in float32 without a second look, holds everything in memory, keeps no record, and
fails on the first odd row: the speed that a cluster's package is measured against, not its equal.

    python benchmarks/plain_script.py --vectors DIR --out DIR [--n-clusters 201] [--eps 0.01] [--threads 2]
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # each thread of ours multiplies on its own

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

MAX_ROWS_PER_CENTROID = 256
MAX_ITER = 25
ASSIGN_ROWS = 4096
TILE_ROWS = 1024


class Clock:
    """Seconds of each phase, in order."""

    def __init__(self):
        self.seconds, self._last = {}, time.perf_counter()

    def done(self, phase):
        """Count what has passed since the last call as this phase's."""
        now = time.perf_counter()
        self.seconds[phase], self._last = round(now - self._last, 2), now


def slices(n, size):
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def read(folder, pool):
    """The ids and the (N, D) float32 rows, made unit length."""
    paths = sorted(Path(folder).glob("*.parquet"))
    starts = np.cumsum([0, *(pq.read_metadata(path).num_rows for path in paths)])
    first = next(pq.ParquetFile(paths[0]).iter_batches(1, columns=["embedding"]))
    vectors = np.empty((starts[-1], len(first["embedding"][0])), np.float32)

    def read_file(path, start):
        table, at = pq.read_table(path, columns=["id", "embedding"], use_threads=False), start
        for chunk in table["embedding"].chunks:
            rows = vectors[at : at + len(chunk)]
            rows[:] = chunk.flatten().to_numpy().reshape(rows.shape)
            rows /= np.sqrt(np.einsum("nd,nd->n", rows, rows))[:, None]
            at += len(chunk)
        return table["id"].combine_chunks()

    return pa.concat_arrays(pool.map(read_file, paths, starts[:-1])), vectors


def train(vectors, n_clusters, n_threads):
    faiss.omp_set_num_threads(n_threads)
    n_sample = min(len(vectors), MAX_ROWS_PER_CENTROID * n_clusters)
    sample = vectors[np.random.default_rng(0).choice(len(vectors), n_sample, replace=False)]
    kmeans = faiss.Kmeans(
        sample.shape[1],
        n_clusters,
        niter=MAX_ITER,
        spherical=True,
        seed=42,
        max_points_per_centroid=MAX_ROWS_PER_CENTROID,
    )
    kmeans.train(sample)
    return kmeans.centroids


def assign(vectors, centroids, pool):
    """The (N,) cluster of each row, and its cosine distance to that cluster's centroid."""
    clusters, distances = np.empty(len(vectors), np.int32), np.empty(len(vectors), np.float32)

    def assign_rows(rows):
        cosines = vectors[rows] @ centroids.T
        clusters[rows] = best = cosines.argmax(axis=1)
        distances[rows] = 1 - cosines[np.arange(len(best)), best]

    list(pool.map(assign_rows, slices(len(vectors), ASSIGN_ROWS)))
    return clusters, distances


def gather(vectors, order, pool):
    """The vectors in another order."""
    ranked = np.empty_like(vectors)

    def gather_rows(rows):
        np.take(vectors, order[rows], axis=0, out=ranked[rows], mode="clip")  # mode raise copies twice

    list(pool.map(gather_rows, slices(len(order), ASSIGN_ROWS)))
    return ranked


def compare(cluster, scores, best):
    """Write into `scores` and `best` the highest cosine of each row of a cluster to an earlier one, and its place."""
    later = np.tri(TILE_ROWS, dtype=bool).T  # of a tile on the diagonal: the row itself and those after it
    for queries in slices(len(cluster), TILE_ROWS):
        rows, top, top_at = cluster[queries], scores[queries], best[queries]
        for earlier in slices(queries.stop, TILE_ROWS):
            cosines = rows @ cluster[earlier].T
            if earlier.start == queries.start:
                cosines[later[: len(rows), : len(rows)]] = -np.inf
            at = cosines.argmax(axis=1)
            found = cosines[np.arange(len(rows)), at]
            better = found > top
            top[better], top_at[better] = found[better], at[better] + earlier.start
    scores[0], best[0] = 0, 0


def search(vectors, starts, pool):
    """The score of each row of the sorted vectors, and the row that reaches it."""
    scores, best = np.full(len(vectors), -np.inf, np.float32), np.zeros(len(vectors), np.int64)

    def search_cluster(cluster):
        rows = slice(starts[cluster], starts[cluster + 1])
        if rows.stop > rows.start:
            compare(vectors[rows], scores[rows], best[rows])
            best[rows] += rows.start

    largest_first = np.argsort(starts[:-1] - starts[1:])
    list(pool.map(search_cluster, largest_first))
    return scores, best


def write(folder, columns, eps, pool):
    """similarities.parquet, and duplicates.parquet: its rows at eps."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    duplicates = table.filter(pc.greater_equal(table["cosine_sim_score"], 1 - eps - 5e-7))
    files = {"similarities": table, "duplicates": duplicates}
    list(pool.map(lambda name: pq.write_table(files[name], folder / f"{name}.parquet"), files))
    return len(duplicates)


def dedup(source, folder, n_clusters, eps, n_threads=2):
    """Seconds of each phase and the number of duplicates; the tables are below `folder`."""
    clock = Clock()
    with ThreadPoolExecutor(n_threads) as pool:
        ids, vectors = read(source, pool)
        clock.done("read and normalise")
        centroids = train(vectors, n_clusters, n_threads)
        clock.done("train")
        clusters, distances = assign(vectors, centroids, pool)
        clock.done("assign")
        order = np.lexsort((-distances, clusters))
        ranked = gather(vectors, order, pool)
        starts = np.searchsorted(clusters[order], np.arange(n_clusters + 1))
        clock.done("sort")
        scores, best = search(ranked, starts, pool)
        clock.done("compare")
        ids = ids.take(pa.array(order))
        columns = {
            "id": ids,
            "cluster_id": clusters[order],
            "max_id": ids.take(pa.array(best)),
            "cosine_sim_score": scores,
            "cosine_dist_to_cent": distances[order],
        }
        n_duplicates = write(folder, columns, eps, pool)
        clock.done("write")
    sizes = np.diff(starts)
    return {
        "rows": len(vectors),
        "dim": vectors.shape[1],
        "clusters": n_clusters,
        "largest_cluster": int(sizes.max()),
        "comparisons": int((sizes * (sizes - 1) // 2).sum()),
        "duplicates": n_duplicates,
        "seconds": clock.seconds,
        "seconds_in_all": round(sum(clock.seconds.values()), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, required=True, help="folder of Parquet files")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n-clusters", type=int, default=201)
    parser.add_argument("--eps", type=float, default=0.01)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    cpu = time.process_time()
    found = dedup(given.vectors, given.out, given.n_clusters, given.eps, given.threads)
    print(json.dumps(found | {"cpu_seconds": round(time.process_time() - cpu, 1)}))


if __name__ == "__main__":
    main()
