# Databricks notebook source
# MAGIC %md
# MAGIC # Deduplicate images
# MAGIC
# MAGIC Shards in a Unity Catalog volume in, the same shards without near-duplicates out, one step at a time, with a
# MAGIC look at the tables in between.
# MAGIC
# MAGIC Needs a runtime with Spark 4 and the package on the cluster: as a library, or by
# MAGIC `%pip install '/Volumes/<catalog>/<schema>/<volume>/spark_imgdedup-<version>-py3-none-any.whl[onnx]'`.
# MAGIC The embedded encoder runs on the CPU; for CLIP take a GPU cluster with dedicated access, and `[clip]`.
# MAGIC
# MAGIC The same file is plain Python: `python jobs/notebooks/dedup_images.py folder=work/notebook`.

# COMMAND ----------

# ruff: noqa: D100
import shutil
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from spark_imgdedup import Config, doctor, eps_table, run, sample, sample_shards

# COMMAND ----------

# MAGIC %md
# MAGIC ## Parameters
# MAGIC
# MAGIC | widget | meaning |
# MAGIC |---|---|
# MAGIC | `folder` | where everything goes: `/Volumes/<catalog>/<schema>/<volume>/dedup` |
# MAGIC | `input_path` | folder of your tars. Empty: the sample shards of the package are copied to `folder` |
# MAGIC | `catalog`, `schema` | the tables are `catalog.schema.table` then. Empty: they are folders |
# MAGIC | `table_format` | `delta`, or `parquet`; Unity Catalog's own tables are Delta |
# MAGIC | `model`, `eps` | the encoder, and the cosine distance up to which an image repeats another |

# COMMAND ----------

widgets: Any = getattr(globals().get("dbutils"), "widgets", None)
given = dict(argument.split("=", 1) for argument in sys.argv[1:] if widgets is None)


def parameter(name: str, default: str) -> str:
    """The value of a widget, which appears above the notebook; in plain Python, of name=value on the command line."""
    if widgets is None:
        return given.get(name, default)
    widgets.text(name, default)
    return str(widgets.get(name))


folder = parameter("folder", "work/notebook")
input_path = parameter("input_path", "")
catalog, schema = parameter("catalog", ""), parameter("schema", "")
table_format = parameter("table_format", "parquet")
model, eps = parameter("model", "efficientnet-lite0"), parameter("eps", "auto")

# COMMAND ----------

if not input_path:
    input_path = f"{folder}/shards"
    for shard in sample_shards().rglob("*.tar"):  # workers read a volume, but not the folder that the package lies in
        copy = Path(input_path) / shard.relative_to(sample_shards())
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.exists():
            shutil.copyfile(shard, copy)

config = Config(
    input={"path": input_path},
    work_dir=f"{folder}/work",
    table={"format": table_format},
    tables={"catalog": catalog or None, "schema": schema or None},
    embed={"model": model},
    identify={"eps": {"auto": "auto", "null": None}.get(eps, eps)},
    output={"path": f"{folder}/deduplicated"},
)
console = Console(width=160)
console.print(repr(doctor(config)), markup=False, highlight=False)

# COMMAND ----------

# MAGIC %md
# MAGIC ## embed: every image becomes a vector
# MAGIC
# MAGIC The one step that needs a model. What cannot be read keeps its row, and says why.

# COMMAND ----------

embeddings = run(config, steps=["embed"]).table("embeddings")
embeddings.groupBy("rejected_because").count().orderBy("rejected_because").show(truncate=False)

# COMMAND ----------

# MAGIC %md
# MAGIC ## cluster and pairwise: the best-ranked image that each one resembles
# MAGIC
# MAGIC And what each eps would remove: look here before you set one. The pairs are the least similar ones within the
# MAGIC largest of these eps; in a notebook `result.gallery(eps=0.3)` shows them with their pictures.

# COMMAND ----------

result = run(config, steps=["cluster", "pairwise"])
levels = eps_table(config, [0.01, 0.05, 0.1, 0.2, 0.3])
console.print(levels.to_string(index=False), markup=False, highlight=False)
result.pairs(eps=0.3).orderBy("cosine_sim_score", "image_id").show(10, truncate=False)

# COMMAND ----------

# MAGIC %md
# MAGIC ## identify: which of them are duplicates
# MAGIC
# MAGIC Each names the image it repeats. Pictures of some pairs, side by side, are in `folder/review`.

# COMMAND ----------

result = run(config, steps=["identify"])
result.duplicates.orderBy("cosine_sim_score", "image_id").show(10, truncate=False)
if not Path(f"{folder}/review").exists():
    sample(config, to=f"{folder}/review", n=10)

# COMMAND ----------

# MAGIC %md
# MAGIC ## remove: the dataset without them
# MAGIC
# MAGIC The same tars, byte for byte, without the samples that left. The counts add up, or the run fails.

# COMMAND ----------

result = run(config, steps=["remove", "report"])
console.print("\n".join(result.lines()), markup=False, highlight=False)
