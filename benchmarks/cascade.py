"""Embeddings alone, perceptual hashes alone, and both: what each finds of the repeats planted in a corpus.

    python benchmarks/cascade.py --corpus TUNING --tune
    python benchmarks/cascade.py --corpus DIR [--seen TUNING]

`--tune` tries settings on a corpus and prints the best of each method: FROZEN holds what it gave on a build of another
seed than the reported one. `--seen` scores a second time without the pictures of which the tuning corpus has copies.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
os.environ.setdefault("OMP_NUM_THREADS", "1")

from corpus import Corpus, measures, recalls

from spark_imgdedup.config import Config
from spark_imgdedup.pipeline import run
from spark_imgdedup.report.truth import score_run
from spark_imgdedup.runs.tables import Tables

RESULTS = Path(__file__).parent / "results"
Found = dict[str, str | None]  # image_id of each duplicate, and the image it repeats

EPS = [0.2, 0.22, 0.24, 0.26, 0.28]
CASCADE = {"method": "embedding", "prepass": ["exact", "phash"]}
# What is tried for each method: settings of `detect`, and values of `identify.eps`, which hashes alone do not read.
TRIED = {
    "embedding": ([{"method": "embedding"}], EPS),
    "phash": ([{"method": "phash", "phash_radius": radius} for radius in (3, 6, 10, 14)], [0.0]),
    "cascade": ([CASCADE | {"phash_radius": radius} for radius in (3, 6, 10)], EPS),
}
FROZEN: dict[str, tuple[dict[str, Any], float]] = {
    "embedding": ({"method": "embedding"}, 0.26),
    "phash": ({"method": "phash", "phash_radius": 14}, 0.0),
    "cascade": (CASCADE | {"phash_radius": 6}, 0.22),
    "cascade, default radius": (CASCADE, 0.22),
}


def find(corpus: Corpus, work: Path, detect: dict[str, Any], eps: float) -> Found:
    """The duplicates of a run with these settings; what is unchanged since the last one in `work` is not done again."""
    config = Config.model_validate(
        {"input": {"path": corpus.shards}, "work_dir": str(work), "detect": detect, "identify": {"eps": eps}}
    )
    by_model = ["cluster", "pairwise"] if detect["method"] == "embedding" else []
    by_hash = ["detect"] if config.detect.hashes else []
    run(config, steps=[*(["embed"] if by_model else []), *by_hash, *by_model, "identify"])
    return {row["image_id"]: row["max_id"] for row in Tables(None, config).read("duplicates").collect()}


def tune(corpus: Corpus, truth: Path, scratch: Path) -> Iterator[dict[str, Any]]:
    """The best of what is tried for each method, by F1."""
    for method, (detects, levels) in TRIED.items():
        tried = []
        for detect in detects:
            for eps in levels:
                found = find(corpus, scratch / method, detect, eps)
                tried.append({"detect": detect, "eps": eps, **measures(score_run(truth, found), len(found))})
        yield {"method": method, **max(tried, key=lambda each: each["f1"]), "tried": tried}


def report(corpus: Corpus, unseen: Corpus | None, scratch: Path) -> Iterator[dict[str, Any]]:
    """What each method finds with its frozen settings."""
    for method, (detect, eps) in FROZEN.items():
        found = find(corpus, scratch / method, detect, eps)
        score = score_run(corpus.write_truth(scratch), found)
        row = {"method": method, "detect": detect, "eps": eps, **measures(score, len(found))}
        row["link_precision"] = round(score.link_precision or 0.0, 4)
        if unseen is not None:
            ids = {truth["image_id"] for truth in unseen.rows()}
            rest = {image_id: link for image_id, link in found.items() if image_id in ids}
            row["unseen"] = measures(score_run(unseen.write_truth(scratch), rest), len(rest))
        yield row | {"recall_by_transform": recalls(score)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--tune", action="store_true", help="try settings instead of reporting the frozen ones")
    parser.add_argument("--seen", type=Path, help="the corpus that was tuned on")
    parser.add_argument("--work", type=Path, help="keep the tables here; by default they go when the run ends")
    given = parser.parse_args()
    corpus = Corpus(given.corpus)
    with tempfile.TemporaryDirectory() as folder:
        scratch = given.work or Path(folder)
        if given.tune:
            rows = list(tune(corpus, corpus.write_truth(Path(folder)), scratch))
        else:
            rows = list(report(corpus, given.seen and corpus.without(Corpus(given.seen)), scratch))
    result = {"model": "efficientnet-lite0", "images": len(corpus.rows()), "methods": rows}
    print(json.dumps([{key: value for key, value in row.items() if key != "tried"} for row in rows], indent=1))
    name = "cascade-tuning.json" if given.tune else "cascade.json"
    (RESULTS / name).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
