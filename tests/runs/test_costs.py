"""What embedding will take, by a try: how many images there are, and how fast some of them go here."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.runs.costs import IMAGES, Cost, try_images
from tests.tars import jpeg, make_tar

COLOURS = {"model": "tests.encoders:ColourEncoder", "device": "cpu"}


def tried(path, step="embed", embed=COLOURS, **settings):
    return try_images(step, parse_config({"input": {"path": str(path)} | settings, "embed": embed}))


def test_of_tars_the_images_are_estimated_by_the_bytes_of_those_that_were_read(tmp_path):
    for name, n in {"a": 40, "b": 90, "c": 170}.items():
        make_tar(tmp_path / f"{name}.tar", [(f"{k}.{kind}", jpeg(k)) for k in range(n) for kind in ("jpg", "txt")])

    found = tried(tmp_path, format="webdataset")

    assert 270 <= found.images <= 330
    assert 0 < found.tried <= IMAGES
    assert found.per_second > 0
    assert found.seconds == pytest.approx(found.images / found.per_second, rel=0.05)


def test_every_loose_image_is_counted_and_a_broken_one_is_tried_too(tmp_path):
    for n in range(20):
        (tmp_path / f"{n:02}.jpg").write_bytes(jpeg(n) if n != 3 else b"no picture")

    found = tried(tmp_path, "detect", embed={"model": "no.such:Model"}, format="images")

    assert (found.images, found.tried, found.problem) == (20, 12, None)


@pytest.mark.parametrize(
    ("column", "as_struct"), [("image", False), ("image", True), ("image.bytes", True), ("photo", False)]
)
def test_the_rows_of_a_table_are_known_from_its_first_file(tmp_path, column, as_struct):
    data = [jpeg(n) for n in range(30)]
    cells = [{"bytes": each, "path": None} for each in data] if as_struct else data
    for name in ("a", "b"):
        pq.write_table(pa.table({column.partition(".")[0]: cells, "n": range(30)}), tmp_path / f"{name}.parquet")

    found = tried(tmp_path, format="table", **({} if column == "image" else {"image_column": column}))

    assert found.problem is None
    assert found.images == pytest.approx(60, abs=2)
    assert found.tried == 22


def test_what_cannot_be_tried_says_why(tmp_path):
    (tmp_path / "few").mkdir()
    (tmp_path / "few/0.jpg").write_bytes(jpeg(0))
    pq.write_table(pa.table({"n": [1]}), tmp_path / "table.parquet")

    assert tried(tmp_path / "few", format="images").problem == "the input has too few images to tell by them"
    missing = tried(tmp_path / "few", embed={"model": "nowhere:Model"}, format="images")
    assert "no encoder 'nowhere:Model'" in (missing.problem or "")
    assert "image" in (tried(tmp_path / "table.parquet", format="table").problem or "")
    assert tried(tmp_path / "table.parquet", format="table").line().startswith("embed: not known: ")


def test_a_line_says_hours_of_a_core_or_of_a_gpu(monkeypatch):
    monkeypatch.setattr("spark_imgdedup.runs.costs.machine_cores", lambda: 4)
    cost = Cost("embed", 1_100_000, 56, 26.4, "cpu", 41_666.7)

    assert cost.line() == (
        "embed: 11:34:27 of one core, for about 1,100,000 images, 26.4 a second by 56 tried here; "
        "2:53:37 on the 4 of this machine"
    )
    assert replace(cost, device="cuda:0").line().startswith("embed: 11:34:27 of a GPU such as cuda:0 here, for about ")
