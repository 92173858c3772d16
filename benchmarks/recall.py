"""What each plan of the search finds, and for how many comparisons, against brute force over all rows.

A row counts as true when brute force finds an earlier-ranked row within eps of it anywhere, in the run's own rank order
(farthest from its centroid first, ids descending among equals), by float64's cosine rounded to 6 decimals; as found
when the run's `cosine_sim_score` says so too. Nothing of the search's own estimate of its recall enters that figure; it
is printed beside it.

Two kinds of vectors: clip-like ones of 400 topics with repeats planted at a cosine of exactly 0.90, 0.95 and 0.99,
which differ from their originals by the way to other rows (noise would cross fewer borders), and real embeddings from a
file of benchmarks/pictures.py.

    python benchmarks/recall.py [--embeddings FILE.npz] [--rows 50000] [--dim 512] [--n-clusters 64]
        [--eps 0.1 0.05 0.01] [--plans home "margin 1" …] [--set KEY=VALUE …]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from steps import machine, read_table, run_here, settings_for, warm_session, write_result
from vectors import EMBEDDINGS, Recipe, make, random_ids, read_matrix, to_table, unit

PLANS = {
    "home": ["pairwise.probes=home"],
    "margin 0.3": ["pairwise.probes=margin", "pairwise.probe_margin=0.3"],
    "margin 0.5": ["pairwise.probes=margin", "pairwise.probe_margin=0.5"],
    "margin 1": ["pairwise.probes=margin", "pairwise.probe_margin=1"],
    "2 probes": ["pairwise.probes=2"],
    "3 probes": ["pairwise.probes=3"],
    "4 probes": ["pairwise.probes=4"],
    "all": ["pairwise.probes=all"],
    "auto": ["pairwise.probes=auto"],
}
AS_SET = "settings"  # a plan that sets nothing itself
LOSSLESS = ("margin 1", "all")
BLOCK_ROWS = 2048
EXACT_ROWS = 128  # rows of a float64 block: 50 MB beside 50,000 others
FLOAT32_ERROR = 1e-5  # a float32 cosine of unit rows is nearer to float64's than this
DECIMALS = 6


def best_earlier(ranked, levels):
    """The highest cosine (N,) of each row to an earlier one: float64's, to 6 decimals, where it is near a level."""
    best = np.full(len(ranked), -np.inf)
    for start in range(0, len(ranked), BLOCK_ROWS):
        rows = ranked[start : start + BLOCK_ROWS]
        cosines = rows @ ranked[: start + len(rows)].T
        cosines[:, start:][np.triu_indices(len(rows))] = -np.inf
        best[start : start + len(rows)] = cosines.max(axis=1)
    near = np.min(np.abs(best[:, None] - np.asarray(levels)), axis=1) <= FLOAT32_ERROR
    wide = ranked.astype(np.float64)
    for part in np.array_split(np.flatnonzero(near), max(1, near.sum() // EXACT_ROWS)):
        if len(part):
            cosines = wide[part] @ wide[: part[-1]].T
            cosines[np.arange(cosines.shape[1]) >= part[:, None]] = -np.inf
            best[part] = np.round(cosines.max(axis=1), DECIMALS)
    return best


def truth_for(similarities, ids, vectors, levels):
    """(ids in rank order, their best earlier cosines): rank by the distances that a run recorded."""
    places = pc.index_in(similarities["id"], ids).to_numpy()
    distances = similarities["cosine_dist_to_cent"].to_numpy()
    by_id = np.empty(len(places), np.int64)
    by_id[np.argsort(np.asarray(similarities["id"]).astype(str))] = np.arange(len(places))
    order = np.lexsort((-by_id, -distances))
    return similarities["id"].combine_chunks().take(pa.array(order)), best_earlier(vectors[places[order]], levels)


def compare(similarities, truth, eps):
    """What a run found at eps of what is true."""
    ranked_ids, best = truth
    places = pc.index_in(ranked_ids, similarities["id"].combine_chunks()).to_numpy()
    scores = similarities["cosine_sim_score"].to_numpy()[places]
    level = round(1 - eps, DECIMALS)
    is_true, is_found = best >= level, scores >= level
    n_true, n_found = int(is_true.sum()), int((is_true & is_found).sum())
    return {"true": n_true, "found": n_found, "recall": n_found / n_true if n_true else None} | {
        "false": int((is_found & ~is_true).sum())
    }


def measure(name, folder, given, scratch):
    """A line for each eps and plan over the Parquet of a folder."""
    ids, vectors = read_matrix(folder)
    vectors, truth, spark = unit(vectors), None, None
    levels = [1 - eps for eps in given.eps]
    base = [f"cluster.n_clusters={given.n_clusters}", *given.set]
    for eps in given.eps:
        home = None
        for plan in given.plans:
            settings = [*base, f"identify.eps={eps}", *PLANS.get(plan, [])]
            settings += [] if plan == AS_SET else [f"pairwise.max_eps={eps}"]
            config = settings_for(folder, scratch / name, settings)
            spark = spark or warm_session(config)
            run = run_here(config, spark)
            counts = run["counts"]["pairwise"]
            similarities = read_table(config.work_dir, "similarities")
            truth = truth or truth_for(similarities, ids, vectors, levels)
            line = {"vectors": name, "rows": len(ids), "dim": vectors.shape[1], "eps": eps, "plan": plan}
            line |= {"clusters": run["counts"]["cluster"]["clusters"], **compare(similarities, truth, eps)}
            made = counts.get("comparisons") or comparisons_at_home(similarities)
            home = home or made
            line |= {"comparisons": made, "times_first_plan": round(made / home, 2), "counts": counts}
            line |= {"seconds_of_pairwise": run["seconds"]["pairwise"]}
            print(as_row(line), flush=True)
            yield line


def comparisons_at_home(similarities):
    """The pairs within clusters, for a version that does not count what it compares."""
    sizes = pc.value_counts(similarities["cluster_id"]).field("counts").to_numpy().astype(np.int64)
    return int((sizes * (sizes - 1) // 2).sum())


def as_row(line):
    """A line of the table that is printed."""
    recall = "    -" if line["recall"] is None else f"{line['recall']:9.5%}"
    own = line["counts"].get("recall", "")
    return (
        f"{line['vectors']:10} eps {line['eps']:<5} {line['plan']:11} {recall} of {line['true']:6,} rows, "
        f"{line['comparisons']:14,} comparisons ({line['times_first_plan']:.2f} x), "
        f"{line['seconds_of_pairwise']:6.1f} s  {own}"
    )


def write_real(path, folder):
    """The vectors of an .npz (`vectors`, and `row_of` where rows repeat) as Parquet."""
    stored = np.load(path)
    vectors = stored["vectors"].astype(np.float32)
    if "row_of" in stored:
        vectors = vectors[stored["row_of"]]
    folder.mkdir(parents=True)
    ids = random_ids(len(vectors), np.random.default_rng(0))
    pq.write_table(to_table(ids, unit(vectors)), folder / "0.parquet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embeddings", type=Path, help="real ones: an .npz of benchmarks/pictures.py")
    parser.add_argument("--rows", type=int, default=50_000, help="of the clip-like vectors; 0: none")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--n-clusters", default="64")
    parser.add_argument("--eps", type=float, nargs="+", default=[0.1, 0.05, 0.01])
    parser.add_argument("--plans", nargs="+", default=list(PLANS), choices=[*PLANS, AS_SET])
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--name", default="recall", help="of the file in results/")
    given = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        if given.embeddings:
            write_real(given.embeddings, scratch / "real-vectors")
            lines += measure("real", scratch / "real-vectors", given, scratch)
        if given.rows:
            make(scratch / "made", Recipe(given.rows, given.dim, aside="rows"))
            lines += measure("clip-like", scratch / "made" / EMBEDDINGS, given, scratch)
    write_result(given.name, {"n_clusters": given.n_clusters, "set": given.set, "lines": lines, "machine": machine()})
    missed = [line for line in lines if line["plan"] in LOSSLESS and line["found"] != line["true"]]
    wrong = [line for line in lines if line["false"]]
    if missed or wrong:
        sys.exit(f"a lossless plan missed rows, or rows were found that are not true:\n{json.dumps(missed + wrong)}")


if __name__ == "__main__":
    main()
