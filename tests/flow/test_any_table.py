"""Tables as people have them, from end to end: Hugging Face's images, columns of any name, files as they were."""

from __future__ import annotations

import datetime
import json
import logging
import uuid

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.pipeline import run
from spark_imgdedup.report.sample import SampleRequest, export_sample
from spark_imgdedup.runs.tables import Tables
from tests.spark_versions import needs_spark_4
from tests.tars import jpeg

FEATURES = json.dumps({"info": {"features": {"image": {"_type": "Image"}}}})
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
META = pa.struct([("u.id", pa.string()), ("score", pa.float64())])
ODD_NAMES = (
    "a.b",
    "c d",
    "x`y",
    '"q"',
    "日é",
    "_unwanted",
    "_embedded",
    "SHA256",
    "Key",
    "image_id.x",
    "UPPER",
    "width",
)


def hugging_face(names, pictures):
    """Rows as datasets.Dataset.to_parquet writes them, and columns that Spark reads as something else."""
    n = len(names)
    columns = {
        "image": pa.array(
            [{"bytes": data, "path": f"{name}.jpg"} for name, data in zip(names, pictures, strict=True)], IMAGE
        ),
        "meta": pa.array([{"u.id": name, "score": 0.5} for name in names], META),
        **{name: [f"{name} {each}" for each in names] for name in ODD_NAMES},
        "half": pa.array([[np.float16(1)]] * n, pa.list_(pa.float16())),
        "uuid": pa.array([uuid.UUID(int=7).bytes] * n, pa.uuid()),
        "when": pa.array([datetime.datetime(2024, 1, 1)] * n, pa.timestamp("ns")),
    }
    return pa.table(columns).replace_schema_metadata({"huggingface": FEATURES})


def settings(folder, **given):
    return parse_config(
        {
            "steps": ["detect", "identify", "remove"],
            "input": {"path": f"{folder}/in %20+", "format": "table", "id_field": "meta.u.id", **given},
            "detect": {"method": "exact"},
            "work_dir": f"{folder}/work",
            "output": {"path": f"{folder}/out", "format": "parquet"},
        }
    )


@needs_spark_4
def test_a_hugging_face_table_keeps_its_files_types_features_and_row_groups(spark, tmp_path, caplog):
    data = tmp_path / "in %20+/da ta"
    data.mkdir(parents=True)
    tables = {
        "train-0 [é]%.parquet": hugging_face(["a", "b", "c", "d", "e"], [jpeg(1), jpeg(2), jpeg(1), jpeg(3), jpeg(4)]),
        "train-1.parquet": hugging_face(["f", "g"], [jpeg(5), jpeg(2)]).append_column("extra", pa.array([7, 8])),
        "train-2.parquet": hugging_face(["h"], [jpeg(5)]),
        "train-3.parquet": hugging_face(["i"], [jpeg(6)]),
    }
    for name, table in tables.items():
        pq.write_table(table, data / name, row_group_size=2, compression="zstd")
    config = settings(tmp_path)

    with caplog.at_level(logging.INFO):
        summary = run(config, spark)

    assert (summary.read, summary.kept, summary.removed) == (9, 6, {"duplicate": 3})
    assert "into new files" not in caplog.text
    stays = {
        "train-0 [é]%.parquet": [0, 1, 3, 4],
        "train-1.parquet": [0],
        "train-2.parquet": [],
        "train-3.parquet": [0],
    }
    assert {path.name for path in (tmp_path / "out/da ta").iterdir()} == set(stays)
    for name, rows in stays.items():
        before, after = pq.ParquetFile(data / name), pq.ParquetFile(tmp_path / "out/da ta" / name)
        assert after.schema_arrow.equals(before.schema_arrow, check_metadata=True)
        assert after.schema_arrow.metadata[b"huggingface"] == FEATURES.encode()
        assert after.read().equals(before.read().take(pa.array(rows, pa.int64())))
        assert after.metadata.num_row_groups <= before.metadata.num_row_groups
    assert pq.ParquetFile(tmp_path / "out/da ta/train-0 [é]%.parquet").metadata.num_row_groups == 3
    said = export_sample(Tables(spark, config), SampleRequest(to=f"{tmp_path}/review", n=9))
    assert "3 of 3" in said[0]
    assert (tmp_path / "review/0001-removed.jpg").read_bytes() in {jpeg(n) for n in (1, 2, 5)}
    embedded = Tables(spark, config).read("hashes").columns
    assert "image" not in embedded  # the bytes are not stored twice
    assert set(ODD_NAMES) - set(embedded) == {"SHA256", "Key"}  # the run has its own

    again = settings(tmp_path, id_field="meta.uid")
    with pytest.raises(SchemaError, match=r"input\.id_field: the table has no column 'meta\.uid'.*=meta\.u\.id\?"):
        run(again, spark)


def test_rows_of_which_spark_does_not_say_the_file_are_written_into_new_files(spark, tmp_path, caplog):
    (tmp_path / "in %20+").mkdir()
    columns = {"_metadata": ["x", "y"], "jpg": [{"bytes": jpeg(1), "path": name} for name in ("a", "b")]}
    pq.write_table(pa.table(columns), tmp_path / "in %20+/0.parquet")

    with caplog.at_level(logging.INFO):
        summary = run(settings(tmp_path, id_field="jpg.path"), spark)

    assert (summary.read, summary.kept) == (2, 1)
    assert "so the rows are written into new files" in caplog.text
    assert pq.read_table(tmp_path / "out").to_pylist() == [{name: values[0] for name, values in columns.items()}]
