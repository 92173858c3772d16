"""How many files of a Delta table are opened to read one cluster: as written, ZORDER BY, CLUSTER BY.

python benchmarks/delta_files.py [--rows 200000] [--file-mb 8]

The table stands for one that is larger: files are kept to a few megabytes, where Delta's own size is 1 GB.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from spark_imgdedup.config import parse_config
from spark_imgdedup.runs.session import get_session

CLUSTERS, PARTS = 1000, 16
RESULTS = Path(__file__).parent / "results"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--file-mb", type=int, default=8)
    arguments = parser.parse_args()
    spark = get_session(parse_config({"table": {"format": "delta"}}))
    spark.conf.set("spark.databricks.delta.optimize.maxFileSize", str(arguments.file_mb * 2**20))
    rows = spark.range(arguments.rows).selectExpr(
        "cast(id as string) as image_id",
        f"cast(pmod(xxhash64(id), {CLUSTERS}) as int) as cluster_id",
        # 1 kB that does not compress: 512 numbers of float16
        f"unhex(concat({', '.join(f'sha2(concat(id, {part}), 512)' for part in range(16))})) as embedding",
        "rand(1) as cosine_dist_to_cent",
        "cast(null as string) as rejected_because",
    )
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("as written", "ZORDER BY", "CLUSTER BY"):
            path = f"{folder}/{name.replace(' ', '-')}"
            rows.repartition(PARTS).write.format("delta").save(path)
            start = time.monotonic()
            if name == "ZORDER BY":
                spark.sql(f"OPTIMIZE delta.`{path}` ZORDER BY (cluster_id)")
            elif name == "CLUSTER BY":
                spark.sql(f"ALTER TABLE delta.`{path}` CLUSTER BY (cluster_id)")
                spark.sql(f"OPTIMIZE delta.`{path}` FULL")
            took = time.monotonic() - start
            table = spark.read.format("delta").load(path)
            opened = [len(table.where(f"cluster_id = {each}").inputFiles()) for each in range(0, CLUSTERS, 100)]
            detail = spark.sql(f"DESCRIBE DETAIL delta.`{path}`").first()
            row = {"layout": name, "files": detail["numFiles"], "mb": round(detail["sizeInBytes"] / 1e6, 1)}
            found.append(row | {"opened_for_one_cluster": opened, "optimize_s": round(took, 1)})
            print(json.dumps(found[-1]), flush=True)
    spark.stop()
    result = {"rows": arguments.rows, "clusters": CLUSTERS, "layouts": found}
    (RESULTS / "delta_files.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
