"""What a run finds of the repeats planted in larger corpora, by edit, and what it removes beside them, for several eps.

    python benchmarks/quality.py --corpus DIR [DIR …] [--model efficientnet-lite0] [--eps 0.1 0.2] [--set KEY=VALUE]

The embeddings are made once; each eps costs seconds. `before`: the default of the first wave, for comparison.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
os.environ.setdefault("OMP_NUM_THREADS", "1")

from corpus import Corpus, measures, recalls

from spark_imgdedup.config import load_config
from spark_imgdedup.pipeline import run
from spark_imgdedup.report.truth import score_run
from spark_imgdedup.runs.tables import Tables

RESULTS = Path(__file__).parent / "results"
BEFORE = ["identify.rule=semdedup", "pairwise.which_to_keep=hard", "detect.prepass=[]", "input.trim_borders=false"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, nargs="+", required=True)
    parser.add_argument("--model", default="efficientnet-lite0")
    parser.add_argument("--eps", type=float, nargs="+", default=[0.1, 0.16, 0.2, 0.22, 0.25, 0.3])
    parser.add_argument("--set", nargs="*", default=[], help="more settings of the run")
    parser.add_argument("--before", action="store_true", help="the default of the first wave")
    parser.add_argument("--name", default="quality", help="of the file in results/")
    arguments = parser.parse_args()
    result = {"model": arguments.model, "settings": [*(BEFORE if arguments.before else ()), *arguments.set]}
    result["corpora"] = {
        folder.name: measure(Corpus(folder), arguments, result["settings"]) for folder in arguments.corpus
    }
    print(json.dumps(result, indent=1))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{arguments.name}.json").write_text(json.dumps(result, indent=1) + "\n")


def measure(corpus: Corpus, arguments: argparse.Namespace, settings: list[str]) -> dict:
    levels = []
    with tempfile.TemporaryDirectory() as scratch:
        truth = corpus.write_truth(Path(scratch))
        plain = {
            row["image_id"] for row in corpus.rows() if row["group"].startswith("p-") and row["role"] == "distractor"
        }
        for eps in arguments.eps:
            config = load_config(
                None,
                [
                    f"input.path={corpus.shards}",
                    f"work_dir={scratch}/work",
                    f"embed.model={arguments.model}",
                    f"pairwise.max_eps={max(arguments.eps)}",
                    f"identify.eps={eps}",
                    *settings,
                ],
            )
            summary = run(config, steps=["embed", *(["detect"] if config.detect.hashes else []), *AFTER])
            rows = Tables(None, config).read("duplicates").collect()
            score = score_run(truth, {row["image_id"]: row["kept_id"] for row in rows})
            gone = {row["image_id"] for row in rows}
            levels.append(
                {
                    "eps": eps,
                    **measures(score, len(rows)),
                    "uncovered": summary.uncovered,
                    "wiped_out": summary.wiped_out,
                    "plain_removed": len(plain & gone),
                    "found_by": summary.breakdowns.get("found_by", {}),
                    "recall_by_transform": recalls(score),
                }
            )
    return {"images": len(corpus.rows()), "levels": levels}


AFTER = ["cluster", "pairwise", "identify"]


if __name__ == "__main__":
    main()
