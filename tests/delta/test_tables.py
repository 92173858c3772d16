"""The tables of a run as Delta: the rows that Parquet has, a version for each rewrite, the old one until then."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
from deltalake import DeltaTable

from spark_imgdedup.config import parse_config
from spark_imgdedup.pipeline import run
from spark_imgdedup.runs.tables import Tables
from spark_imgdedup.stages.embed import embed_shards
from tests.flow.tiny import STEPS
from tests.tars import jpeg, make_tar

SHARDS = Path(__file__).parents[2] / "examples" / "shards"
NAMES = ("photos-00000.tar", "crawl/photos-00000.tar")
TABLES = ("embeddings", "clusters", "similarities", "duplicates", "removed")
EPS = 0.22


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    for name in NAMES:
        (folder / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SHARDS / name, folder / "in" / name)
    return folder


def config_for(folder, table_format, **sections):
    settings = {
        "input": {"path": str(folder / "in")},
        "work_dir": str(folder / table_format),
        "table": {"format": table_format},
        "identify": {"eps": EPS},
        "output": {"path": str(folder / f"out-{table_format}"), "format": table_format},
        "steps": STEPS,
    }
    return parse_config(settings | sections)


def content(spark, table_format, path):
    """Each row as text, in order: maps and bytes have no order of their own."""
    rows = spark.read.format(table_format).load(str(path)).collect()
    return sorted(
        str({name: sorted(v.items()) if isinstance(v, dict) else v for name, v in r.asDict().items()}) for r in rows
    )


def versions(folder):
    return {name: DeltaTable(str(folder / "delta" / name)).version() for name in TABLES}


def test_delta_has_the_rows_of_parquet_and_a_version_for_each_rewrite(spark, folder):
    by_format = {name: run(config_for(folder, name), spark) for name in ("parquet", "delta")}

    assert by_format["delta"].kept == by_format["parquet"].kept
    for name in TABLES:
        rows = content(spark, "delta", folder / "delta" / name)
        assert rows == content(spark, "parquet", folder / "parquet" / name), name
        assert DeltaTable(str(folder / "delta" / name)).to_pyarrow_table().num_rows == len(rows)  # without Spark
    assert content(spark, "delta", folder / "out-delta") == content(spark, "parquet", folder / "out-parquet")
    assert versions(folder) == dict.fromkeys(TABLES, 0)

    run(config_for(folder, "delta"), spark)
    assert versions(folder) == dict.fromkeys(TABLES, 0)

    first = content(spark, "delta", folder / "delta" / "duplicates")
    other = run(config_for(folder, "delta", identify={"eps": 0.1}), spark)
    assert versions(folder) == dict.fromkeys(TABLES[:3], 0) | dict.fromkeys(TABLES[3:], 1)
    old = spark.read.format("delta").option("versionAsOf", 0).load(str(folder / "delta" / "duplicates"))
    assert sorted(str(row.asDict()) for row in old.collect()) == first
    assert other.duplicates < len(first)
    # Not what older versions of the table take beside it.
    files = DeltaTable(str(folder / "out-delta")).get_add_actions(flatten=True)
    assert other.bytes_after == sum(files["size_bytes"].to_pylist())


def test_a_step_that_fails_leaves_the_version_before_it_readable_and_unfinished(spark, folder, tmp_path):
    tables = Tables(spark, config_for(tmp_path, "delta"))
    tables.write("similarities", spark.range(3))

    with pytest.raises(Exception, match="DIVIDE_BY_ZERO"):
        tables.write("similarities", spark.range(3).selectExpr("1 / (id - 2) as id"))

    found = DeltaTable(str(tmp_path / "delta" / "similarities"))
    assert (found.version(), sorted(found.to_pyarrow_table()["id"].to_pylist())) == (0, [0, 1, 2])
    assert tables.record("pairwise") is None


def test_a_table_of_ours_takes_the_columns_that_other_settings_give_it(spark, folder, tmp_path):
    shutil.copytree(folder / "in", tmp_path / "in")
    ours = {"embed": {"model": "tests.encoders:ColourEncoder"}, "steps": ["embed", "cluster"]}
    run(config_for(tmp_path, "delta", **ours), spark)
    before = DeltaTable(str(tmp_path / "delta" / "clusters")).schema().to_arrow()

    fields = {"input": {"path": str(tmp_path / "in"), "json_fields": ["source"]}}
    run(config_for(tmp_path, "delta", **ours, **fields, cluster={"metadata_columns": ["source", "width"]}), spark)

    after = DeltaTable(str(tmp_path / "delta" / "clusters"))
    assert (after.version(), before.names) == (
        1,
        [n for n in after.schema().to_arrow().names if n not in ("source", "width")],
    )

    run(config_for(tmp_path, "delta", **ours), spark)
    assert DeltaTable(str(tmp_path / "delta" / "clusters")).schema().to_arrow().names == before.names


def test_the_number_of_a_cluster_has_statistics_by_which_files_are_passed_over(spark, folder, tmp_path):
    rows = spark.range(20_000).selectExpr(
        *("cast(id as string) as image_id", "cast(pmod(xxhash64(id), 50) as int) as cluster_id"),
        *("cast(cast(id as string) as binary) as embedding", "0.5D as cosine_dist_to_cent"),
        "cast(null as string) as rejected_because",
    )
    path = str(tmp_path / "clusters")
    rows.repartition(8).write.format("delta").save(path)

    def read():
        return len(spark.read.format("delta").load(path).where("cluster_id = 7").inputFiles())

    before = read()
    spark.conf.set("spark.databricks.delta.optimize.maxFileSize", "60000")
    try:
        spark.sql(f"OPTIMIZE delta.`{path}` ZORDER BY (cluster_id)")
    finally:
        spark.conf.unset("spark.databricks.delta.optimize.maxFileSize")

    assert before == 8
    assert read() <= 2 < DeltaTable(path).get_add_actions().num_rows


@pytest.mark.thorough
def test_embeddings_as_delta_are_written_from_parts_of_which_only_the_changed_are_made_again(spark, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    for name, seeds in (("a", [1, 2]), ("b", [3, 4]), ("c", [5])):
        make_tar(tmp_path / f"in/{name}.tar", [(f"{seed}.jpg", jpeg(seed)) for seed in seeds])
    config = config_for(tmp_path, "delta", embed={"model": "tests.encoders:ColourEncoder"})
    run(config, spark, steps=["embed"])
    (tmp_path / "in/a.tar").unlink()
    make_tar(tmp_path / "in/b.tar", [("3.jpg", jpeg(6))])
    run(config, spark, steps=["embed"])

    stored, made = Tables(spark, config).read("embeddings"), embed_shards(spark, config)
    assert sorted(stored.collect()) == sorted(made.collect())
    assert json.loads(stored.schema.json()) == json.loads(made.schema.json())
    assert "embed: 1 of 2 parts are there from an earlier run" in caplog.text
    assert DeltaTable(str(tmp_path / "delta/embeddings")).version() == 1
    assert len([*(tmp_path / "delta/parts/embeddings").glob("part-*")]) == 2
