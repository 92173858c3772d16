"""What a run finds of the repeats planted in a larger corpus, by edit, for several eps.

    python benchmarks/quality.py --corpus DIR [--model efficientnet-lite0] [--eps 0.1 0.2 0.22]

The embeddings are made once; each eps costs seconds.
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

from spark_imgdedup.config import Config, EmbedConfig, IdentifyConfig, InputConfig
from spark_imgdedup.pipeline import run
from spark_imgdedup.report.truth import score_run
from spark_imgdedup.runs.tables import Tables

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--model", default="efficientnet-lite0")
    parser.add_argument("--eps", type=float, nargs="+", default=[0.05, 0.1, 0.2, 0.22, 0.25, 0.3, 0.35])
    parser.add_argument("--work", type=Path, help="keep the tables here; by default they go when the run ends")
    arguments = parser.parse_args()
    corpus, levels = Corpus(arguments.corpus), []
    with tempfile.TemporaryDirectory() as scratch:
        truth = corpus.write_truth(Path(scratch))
        config = Config(
            input=InputConfig(path=corpus.shards),
            work_dir=str(arguments.work or Path(scratch) / "work"),
            embed=EmbedConfig(model=arguments.model),
        )
        for eps in arguments.eps:
            at_eps = config.model_copy(update={"identify": IdentifyConfig(eps=eps)})
            run(at_eps, steps=["embed", "cluster", "pairwise", "identify"])
            rows = Tables(None, at_eps).read("duplicates").collect()
            score = score_run(truth, {row["image_id"]: row["max_id"] for row in rows})
            levels.append({"eps": eps, **measures(score, len(rows)), "recall_by_transform": recalls(score)})
    result = {"model": arguments.model, "images": len(corpus.rows()), "levels": levels}
    print(json.dumps(result, indent=1))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "quality.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
