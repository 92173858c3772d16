"""An output of Delta's whose counts are wrong: its log has published it by then, and takes it back."""

from __future__ import annotations

import pytest

from spark_imgdedup.errors import CountsError
from spark_imgdedup.files.delta_log import is_delta
from spark_imgdedup.pipeline import run
from spark_imgdedup.runs.dataset import write_dataset
from spark_imgdedup.runs.tables import Tables
from spark_imgdedup.schemas import IS_SAMPLE
from spark_imgdedup.stages.index import index_images
from tests.delta.photos import add, config_for, ids


def refuse(_):
    raise CountsError("the sums are wrong")


def write_all(spark, config):
    tables = Tables(spark, config)
    samples = index_images(spark, config).where(IS_SAMPLE)
    write_dataset(tables, samples, tables.read("removed").limit(0), config, refuse)


def test_the_version_before_is_restored(spark, tmp_path):
    add(spark, tmp_path / "photos", [1, 1, 2])
    config = config_for(tmp_path, output={"path": str(tmp_path / "out"), "format": "delta"})
    run(config, spark)
    before = ids(tmp_path / "out")

    with pytest.raises(CountsError):
        write_all(spark, config)

    assert len(before) == 2
    assert ids(tmp_path / "out") == before


def test_a_first_one_is_no_table(spark, tmp_path):
    add(spark, tmp_path / "photos", [1, 1, 2])
    run(config_for(tmp_path, output={"path": str(tmp_path / "other"), "format": "delta"}), spark)

    with pytest.raises(CountsError):
        write_all(spark, config_for(tmp_path, output={"path": str(tmp_path / "out"), "format": "delta"}))

    assert not is_delta(str(tmp_path / "out"))
