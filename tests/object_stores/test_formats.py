"""format("webdataset") on S3: the options travel with the reader and the writer, and the JVM sees no byte of a tar."""

from __future__ import annotations

import pytest

from spark_imgdedup import register


@pytest.fixture
def options(s3):
    return {f"storage.{name}": value for name, value in s3.options.items()}


def test_tars_are_read_and_written_with_storage_options(spark, s3, bucket, dataset, local, options):
    register(spark)
    captions = spark.read.format("webdataset").schema("image_id string, shard string, txt string, jpg binary")
    found = captions.options(**options).load(dataset)
    here = captions.load(str(local / "shards"))

    rows = sorted(map(tuple, found.collect()), key=repr)
    assert rows == sorted(map(tuple, here.collect()), key=repr)
    whole = found.where("jpg is not null and txt is not null").selectExpr(
        "replace(image_id, '.', '_') as key", "jpg", "txt"
    )
    writer = whole.write.format("webdataset").options(**options, samples_per_tar="20")
    writer.mode("overwrite").save(f"s3://{bucket}/new")
    writer.mode("append").save(f"s3://{bucket}/new")
    writer.mode("overwrite").save(f"s3://{bucket}/new")

    again = (
        spark.read.format("webdataset").schema("jpg binary, txt string").options(**options).load(f"s3://{bucket}/new")
    )
    assert sorted(map(tuple, again.collect())) == sorted(map(tuple, whole.select("jpg", "txt").collect()))
    assert not [name for name in s3.names(bucket) if "_temporary" in name]


def test_a_write_that_fails_leaves_nothing_that_is_visible(spark, s3, bucket, options):
    register(spark)
    rows = spark.range(0, 40, 1, 2).selectExpr(
        "cast(id as string) as key", "if(id = 39, raise_error('the data ends here'), 'caption') as txt"
    )

    with pytest.raises(Exception, match="the data ends here"):
        rows.write.format("webdataset").options(**options).mode("append").save(f"s3://{bucket}/new")

    assert s3.names(bucket) == []
    assert s3.unfinished(bucket) == []
