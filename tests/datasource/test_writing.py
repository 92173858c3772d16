from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from spark_imgdedup import register
from spark_imgdedup.config import parse_config
from spark_imgdedup.datasource.options import write_options
from spark_imgdedup.errors import ConfigError, ShardError
from spark_imgdedup.files import storage
from spark_imgdedup.files.owning import publishing
from spark_imgdedup.stages.local_rows import local_rows
from tests.tars import members_of, webdataset_samples

pytest.importorskip("pyspark.sql.datasource", reason="data sources in Python are new in Spark 4")

ROOT = Path(__file__).resolve().parents[2]
SHARD = ROOT / "examples" / "shards" / "photos-00000.tar"


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


def visible_below(folder):
    """What readers see; a task that Spark kills may still write below _temporary after the job was aborted."""
    return [name for name in files_below(folder) if publishing.TEMPORARY not in name.split("/")]


def contents(folder):
    return {name: (Path(folder) / name).read_bytes() for name in visible_below(folder) if name.endswith(".tar")}


# --- with Spark


@pytest.fixture
def read(spark):
    register(spark)
    return lambda schema, path: spark.read.format("webdataset").schema(schema).load(str(path))


def save(df, path, mode="append", **options):
    df.write.format("webdataset").mode(mode).options(**options).save(str(path))


def test_samples_that_were_read_and_written_are_the_same_for_the_webdataset_package(read, tmp_path):
    whole = read("image_id string, members map<string, binary>", SHARD)

    save(whole.repartitionByRange(2, "image_id").sortWithinPartitions("image_id"), tmp_path / "new", samples_per_tar=9)

    tars = sorted((tmp_path / "new").glob("*.tar"))
    found = [sample for tar in tars for sample in webdataset_samples(tar)]
    expected = {f"photos-00000/{sample['__key__']}": sample for sample in webdataset_samples(SHARD)}
    ours = ("__key__", "__url__", "__local_path__")
    assert [sample["__key__"] for sample in found] == sorted(expected)
    for sample in found:
        original = expected[sample["__key__"]]
        assert {k: v for k, v in sample.items() if k not in ours} == {
            k: v for k, v in original.items() if k not in ours
        }
    assert [tar.name for tar in tars] == [f"{number:06d}.tar" for number in range(len(tars))]
    assert max(len(webdataset_samples(tar)) for tar in tars) == 9
    again = read("key string, members map<string, binary>", tmp_path / "new")
    assert {row["key"]: row["members"] for row in again.collect()} == {
        row["image_id"]: row["members"] for row in whole.collect()
    }


def test_columns_are_members_and_the_same_rows_give_the_same_bytes(spark, read, tmp_path):
    rows = [("b", bytearray(b"2"), None, "s", None), ("a", bytearray(b"1"), "ein Haus", "s", None)]
    df = local_rows(spark, rows, "key string, jpg binary, txt string, shard string, rejected_because string")
    df = df.coalesce(1).sortWithinPartitions("key")

    save(df, tmp_path / "1")
    save(df, tmp_path / "2")

    assert members_of(tmp_path / "1" / "000000.tar") == [("a.jpg", b"1"), ("a.txt", b"ein Haus"), ("b.jpg", b"2")]
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


def test_append_adds_tars_overwrite_replaces_them_and_no_rows_are_one_empty_tar(spark, read, tmp_path):
    one = local_rows(spark, [("a", "1")], "key string, txt string").coalesce(1)
    save(one, tmp_path / "new")
    save(one, tmp_path / "new")
    assert files_below(tmp_path / "new") == ["000000.tar", "000001.tar", publishing.MANIFEST]

    save(one.where("key > 'a'"), tmp_path / "new")
    assert files_below(tmp_path / "new") == ["000000.tar", "000001.tar", publishing.MANIFEST]

    itself = read("key string, txt string", tmp_path / "new").limit(1).coalesce(1)
    save(itself, tmp_path / "new", "overwrite")
    assert files_below(tmp_path / "new") == ["000000.tar", publishing.MANIFEST]
    assert members_of(tmp_path / "new" / "000000.tar") == [("a.txt", b"1")]

    save(one.where("key > 'a'"), tmp_path / "new", "overwrite")
    assert files_below(tmp_path / "new") == ["000000.tar", publishing.MANIFEST]
    assert read("key string", tmp_path / "new").count() == 0


def test_a_write_of_which_one_task_fails_leaves_what_was_there_and_nothing_else(spark, read, tmp_path):
    rows = spark.range(0, 8, 1, 4).selectExpr("concat('k', id) AS key", "'1' AS txt")
    save(rows.where("key = 'k0'").coalesce(1), tmp_path / "new")
    before = contents(tmp_path / "new")

    for mode, path in (("overwrite", "new"), ("append", "other")):
        with pytest.raises(Exception, match="'k5' is broken"):
            save(
                rows.selectExpr("key", "if(key = 'k5', raise_error(\"'k5' is broken\"), txt) AS txt"),
                tmp_path / path,
                mode,
            )

    assert contents(tmp_path / "new") == before
    assert visible_below(tmp_path) == ["new/000000.tar", f"new/{publishing.MANIFEST}"]


def test_a_folder_that_is_not_ours_is_refused_before_any_row_is_made(spark, read, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.txt").write_text("mine")
    would_fail = spark.range(1).selectExpr("cast(raise_error('a row was made') AS string) AS key", "'1' AS txt")

    with pytest.raises(Exception, match=r"holds 1 files that this package did not write, such as .*thesis\.txt"):
        save(would_fail, tmp_path / "thesis", "overwrite")

    assert visible_below(tmp_path) == ["thesis/thesis.txt"]


RETRIES = """
import sys
from pathlib import Path
from pyspark import TaskContext
from pyspark.sql import SparkSession
from spark_imgdedup import register

spark = SparkSession.builder.master("local[2,3]").config("spark.ui.enabled", "false").getOrCreate()
register(spark)
target, folder = sys.argv[1:]

def fail_at_first(batches):
    context = TaskContext.get()
    for batch in batches:
        yield batch.slice(0, 2)
        if context.partitionId() == 1 and context.attemptNumber() < 2:
            Path(folder, f"failed {context.attemptNumber()}").touch()
            raise RuntimeError("lost")
        yield batch.slice(2)

rows = spark.range(0, 40, 1, 4).selectExpr("cast(id AS string) AS key", "cast(id AS string) AS txt")
rows = rows.mapInArrow(fail_at_first, "key string, txt string")
rows.write.format("webdataset").mode("append").option("samples_per_tar", "3").save(target)
spark.stop()
"""


@pytest.mark.slow
@pytest.mark.spark
def test_attempts_that_failed_after_their_first_tar_leave_nothing_and_the_last_one_counts(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", RETRIES, str(tmp_path / "new"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": sys.executable},
    )

    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["failed 0", "failed 1", "new"]
    # Four tasks of ten samples: tars of 3, 3, 3 and 1.
    assert files_below(tmp_path / "new") == [*(f"{number:06d}.tar" for number in range(16)), publishing.MANIFEST]
    keys = [s["__key__"] for tar in sorted((tmp_path / "new").glob("*.tar")) for s in webdataset_samples(tar)]
    assert keys == [str(number) for number in range(40)]


# --- one writer, without Spark


def writer_to(path, *, overwrite=False, **options):
    from pyspark.sql.types import StructType

    from spark_imgdedup.datasource.writer import WebDatasetWriter

    fields = StructType().add("key", "string").add("txt", "string")
    return WebDatasetWriter(write_options({"path": str(path), **options}), fields, overwrite=overwrite)


def batch(*keys):
    return pa.RecordBatch.from_pydict({"key": list(keys), "txt": [f"text of {key}" for key in keys]})


@pytest.mark.parametrize("path", ["{here}/new", "memory://datasource-attempts"])
def test_of_two_attempts_of_a_task_only_the_one_that_spark_commits_is_ever_seen(tmp_path, path):
    path = path.format(here=tmp_path)
    writer = writer_to(path, samples_per_tar="2")

    zero, _, one = (writer.write(iter([batch(*keys)])) for keys in ("abc", "abc", "de"))
    assert storage.list_files(path, "") == []
    writer.commit([zero, one, None])

    names = [file.url.rpartition("/")[2] for file in storage.list_files(path, "")]
    assert names == ["000000.tar", "000001.tar", "000002.tar", publishing.MANIFEST]
    assert not storage.exists(f"{path}/{publishing.TEMPORARY}")
    with storage.open_read(f"{path}/000002.tar") as file:
        assert b"text of d" in file.read()


def test_an_attempt_that_fails_takes_its_own_files_away_and_abort_those_of_all_others(tmp_path):
    writer, other_job = writer_to(tmp_path / "new", samples_per_tar="1"), writer_to(tmp_path / "new")

    with pytest.raises(ShardError, match=r"'c\.d\.txt' would not be read"):
        writer.write(iter([batch("a", "b"), batch("c.d")]))
    assert visible_below(tmp_path) == []

    writer.write(iter([batch("a")]))
    other_job.write(iter([batch("a")]))
    writer.abort([None])
    assert len(files_below(tmp_path)) == 1
    other_job.abort([None])
    assert files_below(tmp_path) == []


def test_nothing_is_appended_to_what_a_crash_left_half_published_and_overwriting_it_is_allowed(tmp_path):
    writer = writer_to(tmp_path / "new", samples_per_tar="1")
    message = writer.write(iter([batch("a", "b")]))
    Path(message.urls[1]).unlink()
    with pytest.raises(FileNotFoundError):
        writer.commit([message])

    with pytest.raises(ConfigError, match=r"cut off while it was published.*mode\('overwrite'\)"):
        writer_to(tmp_path / "new")

    again = writer_to(tmp_path / "new", overwrite=True)
    again.commit([again.write(iter([batch("c")]))])
    assert files_below(tmp_path / "new") == ["000000.tar", publishing.MANIFEST]
    assert members_of(tmp_path / "new" / "000000.tar") == [("c.txt", b"text of c")]


def test_the_output_of_a_run_is_not_ours_to_write_into_nor_ours_a_run_s(tmp_path):
    config = parse_config({"input": {"path": str(tmp_path / "data")}, "output": {"path": str(tmp_path / "out")}})
    publishing.publish_files(publishing.output_path(config), {}, config)
    ours = writer_to(tmp_path / "ours")
    ours.commit([ours.write(iter([batch("a")]))])

    with pytest.raises(ConfigError, match=f"made from {tmp_path}/data"):
        writer_to(tmp_path / "out", overwrite=True)
    with pytest.raises(ConfigError, match="made from a DataFrame"):
        publishing.output_path(
            config.model_copy(update={"output": config.output.model_copy(update={"path": str(tmp_path / "ours")})})
        )
