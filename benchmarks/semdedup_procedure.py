"""SemDeDup's procedure on the clusters of one of our runs: a file per cluster, its full square product, a result file.

As arXiv:2303.09540 and its published scripts go about it, written from their description, on the CPU with NumPy. Taken
from `<work>/similarities`: which rows form a cluster, and their distances to its centroid. Then, for every cluster:

1. sort: its rows by distance, the farthest first, and its vectors saved in that order as one .npy file;
2. compare: load that file, the product of all rows with all, the upper triangle without the diagonal, the highest of
   each column, and a result file of ids, scores and a flag for each eps.

Step 1 reads the vectors from memory, which is kinder than the memory map of the published scripts, and step 2 has two
threads of BLAS.

    python benchmarks/semdedup_procedure.py --vectors DIR --work WORK --out DIR [--eps 0.01] [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from threadpoolctl import threadpool_limits
from vectors import read_matrix, unit


def sort_clusters(ids, vectors, clusters, folder):
    """Write one file of vectors and one of ids for each cluster, the farthest row first; gives the cluster numbers."""
    places = pc.index_in(clusters["id"], pa.array(ids)).to_numpy()
    numbers, distances = clusters["cluster_id"].to_numpy(), clusters["cosine_dist_to_cent"].to_numpy()
    names = np.asarray(ids).astype(str)
    found = np.unique(numbers)
    for number in found:
        members = np.flatnonzero(numbers == number)
        rows = places[members[np.argsort(-distances[members], kind="stable")]]
        np.save(folder / f"cluster_{number}.npy", vectors[rows])
        np.save(folder / f"ids_{number}.npy", names[rows])
    return found


def compare_cluster(number, folder, eps):
    """Write the result file of a cluster; gives the number of duplicates and of comparisons made."""
    rows = np.load(folder / f"cluster_{number}.npy")
    similarity = rows @ rows.T
    np.fill_diagonal(similarity, 0.0)
    scores = np.triu(similarity, k=1).max(axis=0)
    ids = np.load(folder / f"ids_{number}.npy")
    is_duplicate = scores > 1 - eps
    np.savez(folder / f"result_{number}.npz", ids=ids, scores=scores, is_duplicate=is_duplicate)
    return int(is_duplicate.sum()), len(rows) ** 2


def procedure(source, work, folder, eps=0.01, n_threads=2):
    """Seconds of the two steps on the clusters of a run, and what was found."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = ["id", "cluster_id", "cosine_dist_to_cent"]
    start = time.perf_counter()
    clusters = ds.dataset(work / "similarities", format="parquet").to_table(columns=columns).combine_chunks()
    ids, vectors = read_matrix(source)
    vectors = unit(vectors)
    loaded = time.perf_counter()
    with threadpool_limits(n_threads):
        numbers = sort_clusters(ids, vectors, clusters, folder)
        saved = time.perf_counter()
        del vectors
        results = [compare_cluster(number, folder, eps) for number in numbers]
    seconds = {"read": loaded - start, "sort": saved - loaded, "compare": time.perf_counter() - saved}
    return {
        "clusters": len(numbers),
        "duplicates": sum(found for found, _ in results),
        "comparisons": sum(made for _, made in results),
        "seconds": {step: round(value, 2) for step, value in seconds.items()},
        "seconds_in_all": round(sum(seconds.values()), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, required=True, help="folder of Parquet files")
    parser.add_argument("--work", type=Path, required=True, help="work_dir of a run over them: its clusters are taken")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--eps", type=float, default=0.01)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    cpu = time.process_time()
    found = procedure(given.vectors, given.work, given.out, given.eps, given.threads)
    print(json.dumps(found | {"cpu_seconds": round(time.process_time() - cpu, 1)}))


if __name__ == "__main__":
    main()
