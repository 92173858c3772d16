"""What a run finds of the repeats planted in a larger corpus, by edit, for several eps.

    python benchmarks/quality.py --corpus DIR [--model efficientnet-lite0] [--eps 0.1 0.2 0.29]

The corpus is a folder with shards/*.tar and truth.csv (key, shard, group, role, transform, expect); role is source,
copy or distractor. The embeddings are made once; each eps costs seconds.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
os.environ.setdefault("OMP_NUM_THREADS", "1")

from spark_imgdedup.config import Config, EmbedConfig, IdentifyConfig, InputConfig
from spark_imgdedup.pipeline import run
from spark_imgdedup.report.truth import score_run
from spark_imgdedup.runs.tables import Tables

RESULTS = Path(__file__).parent / "results"
SCORED_ROLES = ("source", "copy", "distractor")


def truth_with_ids(corpus: Path, folder: Path) -> Path:
    """The truth of the corpus with the ids of a run: shard and key."""
    path = folder / "truth.csv"
    with (corpus / "truth.csv").open(newline="") as source, path.open("w", newline="") as target:
        rows = [row for row in csv.DictReader(source) if row["role"] in SCORED_ROLES]
        writer = csv.DictWriter(target, ["image_id", *rows[0]])
        writer.writeheader()
        writer.writerows({"image_id": f"{row['shard']}/{row['key']}", **row} for row in rows)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--model", default="efficientnet-lite0")
    parser.add_argument("--eps", type=float, nargs="+", default=[0.05, 0.1, 0.2, 0.25, 0.29, 0.35])
    parser.add_argument("--work", type=Path, help="keep the tables here; by default they go when the run ends")
    arguments = parser.parse_args()
    levels = []
    with tempfile.TemporaryDirectory() as scratch:
        truth = truth_with_ids(arguments.corpus, Path(scratch))
        config = Config(
            input=InputConfig(path=str(arguments.corpus / "shards")),
            work_dir=str(arguments.work or Path(scratch) / "work"),
            embed=EmbedConfig(model=arguments.model),
        )
        for eps in arguments.eps:
            at_eps = config.model_copy(update={"identify": IdentifyConfig(eps=eps)})
            run(at_eps, steps=["embed", "cluster", "pairwise", "identify"])
            rows = Tables(None, at_eps).read("duplicates").collect()
            score = score_run(truth, {row["image_id"]: row["max_id"] for row in rows})
            levels.append(
                {
                    "eps": eps,
                    "removed": len(rows),
                    "copy_recall": round(score.recall or 0.0, 4),
                    "row_precision": round(1 - score.false_removals / max(len(rows), 1), 4),
                    "groups_lost": score.groups_lost,
                    "distractors_removed": score.distractors_removed,
                    "recall_by_transform": {name: round(found, 3) for name, found in score.recall_by_transform.items()},
                }
            )
    result = {"model": arguments.model, "images": sum(1 for _ in truth_rows(arguments.corpus)), "levels": levels}
    print(json.dumps(result, indent=1))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "quality.json").write_text(json.dumps(result, indent=1) + "\n")


def truth_rows(corpus: Path):
    with (corpus / "truth.csv").open(newline="") as file:
        yield from (row for row in csv.DictReader(file) if row["role"] in SCORED_ROLES)


if __name__ == "__main__":
    main()
