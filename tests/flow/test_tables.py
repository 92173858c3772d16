"""Tables of images as other tools write them: every row and every column of theirs is in the output, or one line."""

from __future__ import annotations

import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ShardError
from spark_imgdedup.pipeline import run
from tests.tars import jpeg

PICTURES = [jpeg(number % 3) for number in range(4)]
IDS = ["a", "b", "c", "a again"]


def settings(folder):
    return parse_config(
        {
            "steps": ["detect", "identify", "remove"],
            "input": {"path": "in {1,2}", "format": "table"},
            "detect": {"method": "exact"},
            "work_dir": f"{folder}/work[1]",
            "output": {"path": f"{folder}/out*", "format": "parquet"},
        }
    )


def test_rows_keep_columns_that_differ_from_ours_in_case_only(spark, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    moment = datetime.datetime(2024, 1, 1)
    columns = {
        "image_id": IDS,
        "image": pa.array(PICTURES, pa.binary()),
        **{name: [f"{name} of {id_}" for id_ in IDS] for name in ("URL", "Key", "Shard", "SHA256", "Rejected_Because")},
        "WIDTH": [1, 2, 3, 4],
        "when": pa.array([moment] * 4, pa.timestamp("ns")),
    }
    (tmp_path / "in {1,2}/data").mkdir(parents=True)
    table = pa.table(columns)
    pq.write_table(table.slice(0, 2), "in {1,2}/data/0.parquet")
    pq.write_table(table.slice(2).append_column("extra", pa.array([7, 8])), "in {1,2}/data/1.parquet")
    (tmp_path / "in {1,2}/README.md").write_text("# pictures")
    (tmp_path / "in {1,2}/dataset_infos.json").write_text("{}")

    summary = run(settings(tmp_path), spark)

    files = sorted((tmp_path / "out*/data").iterdir())
    kept = [row for file in files for row in pq.read_table(file).to_pylist()]
    assert (summary.read, summary.kept, summary.removed) == (4, 3, {"duplicate": 1})
    wanted = {row["image_id"]: row for row in table.slice(0, 2).to_pylist()}
    wanted |= {"c": table.slice(2, 1).to_pylist()[0] | {"extra": 7}}
    assert kept == [wanted[name] for name in ("a", "b", "c")]


def test_rows_without_an_id_are_counted_in_one_line_before_an_image_is_read(spark, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in {1,2}").mkdir()
    pq.write_table(pa.table({"image_id": [None, None, "c", "d"], "image": PICTURES}), "in {1,2}/0.parquet")

    with pytest.raises(ShardError, match=r"but 2 rows have none in column 'image_id'.*input\.id_field"):
        run(settings(tmp_path), spark)

    assert not list(tmp_path.glob("work*/hashes"))
