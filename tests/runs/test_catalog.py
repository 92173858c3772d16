"""Tables with names in a catalog: Spark's own session catalog and a schema in the local warehouse."""

from __future__ import annotations

import uuid

import pytest
import yaml

from spark_imgdedup.config import load_config, parse_config
from spark_imgdedup.counts import ClusterCounts
from spark_imgdedup.errors import ConfigError, SchemaError
from spark_imgdedup.pipeline import run
from spark_imgdedup.runs.fingerprints import fingerprint
from spark_imgdedup.runs.tables import StepRecord, Tables
from tests.flow.tiny import STEPS
from tests.tars import jpeg, make_tar


@pytest.fixture
def schema(spark):
    """An empty schema with a name that needs quotes, taken away after the test."""
    name = f"1dedup_{uuid.uuid4().hex[:8]}"
    spark.sql(f"CREATE SCHEMA `{name}`")
    yield name
    spark.sql(f"DROP SCHEMA `{name}` CASCADE")


def config_for(folder, schema, **sections):
    settings = {
        "input": {"path": str(folder / "in")},
        "work_dir": str(folder / "work"),
        "tables": {"catalog": "spark_catalog", "schema": schema},
        "output": {"path": str(folder / "out")},
        "embed": {"model": "tests.encoders:ColourEncoder"},
        "identify": {"eps": 0.01},
        "steps": STEPS,
    }
    return parse_config(settings | sections)


def dataset(folder):
    make_tar(folder / "in/a.tar", [("0.jpg", jpeg(1)), ("1.jpg", jpeg(2))])
    make_tar(folder / "in/b.tar", [("0.jpg", jpeg(1)), ("1.jpg", jpeg(3))])
    return folder


def names_in(spark, schema):
    return {row["tableName"] for row in spark.sql(f"SHOW TABLES IN `{schema}`").collect()}


def test_a_run_writes_its_tables_by_name_and_nothing_but_records_and_vectors_below_work_dir(spark, schema, tmp_path):
    config = config_for(dataset(tmp_path), schema)

    summary = run(config, spark)

    assert names_in(spark, schema) == {
        "embeddings",
        "copies",
        "clusters",
        "similarities",
        "duplicates",
        "removed",
        "kept",
    }
    left = {path.name for path in (tmp_path / "work").iterdir()}
    ours = {"_steps", "_spark_imgdedup.json", "config.yaml", "report"}
    assert left - {"._spark_imgdedup.json.copy"} == {*ours, "blocks", "centroids", "links", "groups", "parts"}
    assert (summary.read, summary.kept, summary.removed) == (4, 3, {"duplicate": 1})
    rows = spark.read.table(f"spark_catalog.`{schema}`.duplicates").collect()
    assert [(row["image_id"], row["max_id"]) for row in rows] == [("b/0", "a/0")]
    written = tmp_path / "work/config.yaml"
    assert yaml.safe_load(written.read_text())["tables"] == {"catalog": "spark_catalog", "schema": schema}
    assert load_config(str(written)).tables == config.tables


def test_a_table_that_is_dropped_is_made_again_and_one_that_is_there_is_not(spark, schema, tmp_path):
    config = config_for(dataset(tmp_path), schema)
    run(config, spark, steps=["embed"])
    before = Tables(spark, config).record("embed")

    run(config, spark, steps=["embed"])
    assert Tables(spark, config).record("embed") == before

    spark.sql(f"DROP TABLE `{schema}`.embeddings")
    run(config, spark, steps=["embed"])
    assert Tables(spark, config).read("embeddings").count() == 4


def test_a_table_of_somebody_else_stops_the_run_before_any_work_and_stays_as_it_is(spark, schema, tmp_path):
    spark.range(3).write.saveAsTable(f"`{schema}`.similarities")
    config = config_for(dataset(tmp_path), schema)

    with pytest.raises(ConfigError, match=rf"^spark_catalog\.{schema}\.similarities is there already and is not from"):
        run(config, spark)

    assert spark.read.table(f"`{schema}`.similarities").count() == 3
    assert names_in(spark, schema) == {"similarities"}
    assert not (tmp_path / "work").exists()


def test_two_work_dirs_cannot_share_a_schema(spark, schema, tmp_path):
    Tables(spark, config_for(dataset(tmp_path), schema)).write("embeddings", spark.range(1))
    second = config_for(tmp_path, schema, work_dir=str(tmp_path / "it's other"))

    with pytest.raises(ConfigError, match=f"belongs to work_dir {tmp_path}/work, so it is not overwritten"):
        run(second, spark, steps=["embed"])
    with pytest.raises(SchemaError, match=rf"spark_catalog\.{schema}\.embeddings: no such table"):
        Tables(spark, second).read("embeddings")


def test_a_work_dir_of_any_letters_knows_its_tables_again(spark, schema, tmp_path):
    tables = Tables(spark, config_for(tmp_path, schema, work_dir=str(tmp_path / "it's \\ here")))
    tables.write("clusters", spark.range(2))
    tables.finish(StepRecord("cluster", "f", 0.0, ClusterCounts(2, 1, 2)))

    assert tables.read("clusters").count() == 2
    tables.write("clusters", spark.range(3))
    assert not tables.has("clusters")  # its record is gone until the step ends
    tables.require_writable(["cluster"])


def test_a_schema_that_is_not_there_is_said_before_any_work(spark, tmp_path):
    config = config_for(dataset(tmp_path), "nowhere")

    with pytest.raises(ConfigError, match=r"^tables\.schema: there is no schema spark_catalog\.nowhere\. Create it"):
        run(config, spark)

    assert not (tmp_path / "work").exists()


def test_a_catalog_that_is_not_there_is_one_line_too(spark, tmp_path):
    config = config_for(dataset(tmp_path), "nowhere", tables={"catalog": "absent", "schema": "nowhere"})

    with pytest.raises(ConfigError, match=r"^tables\.schema: there is no schema absent\.nowhere\."):
        run(config, spark)


def test_the_record_of_one_schema_says_nothing_of_another(tmp_path):
    named = config_for(dataset(tmp_path), "one")
    folders = named.model_copy(update={"tables": parse_config({}).tables})

    assert len({fingerprint("embed", config, {}) for config in (named, config_for(tmp_path, "two"), folders)}) == 3


@pytest.mark.parametrize(
    ("tables", "line"),
    [
        ({"catalog": "main"}, "tables: catalog is main, but schema is not set. Name the schema of the tables."),
        ({"schema": "main.dedup"}, "tables.schema: must be one name, without dots, slashes, spaces and backticks, got"),
        ({"schem": "x"}, "unknown key 'tables.schem'. Did you mean 'tables.schema'?"),
    ],
)
def test_a_wrong_name_is_one_line(tables, line):
    with pytest.raises(ConfigError) as raised:
        parse_config({"tables": tables})

    assert str(raised.value).startswith(f"config: {line}")
