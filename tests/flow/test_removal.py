"""Lists of ids removed from datasets that nobody has embedded: video clips in tars and tables, images by a field."""

from __future__ import annotations

import json
import logging

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from spark_imgdedup import cli
from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ImgDedupError, SchemaError
from spark_imgdedup.pipeline import run
from tests.tars import jpeg, make_tar, members_of

UNMATCHED = 2**40


def clip(number):
    """The beginning of an MP4 file, and bytes that no decoder would take."""
    noise = np.random.default_rng(number).integers(0, 256, 3000 + 700 * number, np.uint8).tobytes()
    return b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp42" + noise


# One stem in two folders; two clips of one recording; a key with folders, names with many dots, a sample without json.
CLIPS = {
    "a/000.tar": {
        "000": {"mp4": clip(0), "json": b'{"clip": {"id": 70}}', "txt": b"zero"},
        "001": {"mp4": clip(1), "cam.1.mp4": clip(2), "json": b'{"clip": {"id": "7b"}}'},
        "x.y/002": {"mp4": clip(3), "json": b'{"clip": {"id": 70}}', "txt": b""},
    },
    "b/000.tar": {
        "000": {"mp4": clip(4), "json": b'{"clip": {"id": 71}}', "txt": b"another zero"},
        "001": {"mp4": clip(5), "txt": b"no json"},
    },
}


def members(samples):
    return [(f"{key}.{suffix}", data) for key, files in samples.items() for suffix, data in files.items()]


def without(*gone):
    """The members of each tar but for those of some samples, which image_id names."""
    return {
        tar: members({key: files for key, files in samples.items() if f"{tar.removesuffix('.tar')}/{key}" not in gone})
        for tar, samples in CLIPS.items()
    }


def written(folder):
    return {path.relative_to(folder).as_posix(): members_of(path) for path in sorted(folder.rglob("*.tar"))}


def write_ids(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


@pytest.fixture
def here(tmp_path, monkeypatch):
    for name, samples in CLIPS.items():
        make_tar(tmp_path / "clips" / name, members(samples))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(**sections):
    base = {"input": {"path": "clips"}, "output": {"path": "out"}}
    return {name: base.get(name, {}) | sections.get(name, {}) for name in ("input", "output", "remove")} | {
        "work_dir": "work",
        "report": {"page": False},
    }


def call(*arguments):
    result = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def counts_of(folder):
    return json.loads((folder / "work/_steps/remove.json").read_text())["counts"]


def test_clips_named_in_nested_folders_are_removed_and_the_rest_is_copied_byte_for_byte(spark, here, caplog):
    caplog.set_level(logging.INFO)
    write_ids(here / "ids/run-1/part-0.parquet", clip=["a/000/001", None], score=[0.9, 0.1])
    write_ids(here / "ids/run-2/deep/part-0.parquet", clip=["b/000/000", "b/000/009"], score=[0.5, 0.8])
    (here / "remove.yaml").write_text(yaml.safe_dump(settings(remove={"ids_path": "ids", "id_field": "clip"})))

    call("remove", "--config", "remove.yaml")

    assert written(here / "out") == without("a/000/001", "b/000/000")
    assert not (here / "work/embeddings").exists()
    found = counts_of(here)
    assert [found[name] for name in ("read", "written", "removed")] == [5, 3, {"listed": 2}]
    assert [found[name] for name in ("ids_given", "ids_matched", "ids_unmatched", "samples_matched")] == [3, 2, 1, 2]
    assert "; 3 ids given, 2 matched, 1 not in the dataset, 1 rows without an id" in caplog.text

    said = call("report", "--config", "remove.yaml").splitlines()

    assert [line for line in said if line.startswith("read")] == ["read         5 samples"]
    assert [line for line in said if line.startswith("unmatched")]
    assert not [line for line in said if "without a usable image" in line]


@pytest.mark.parametrize("output", [{"repack": 2}, {"format": "parquet"}], ids=["repacked", "parquet"])
def test_ids_of_two_runs_are_matched_with_a_field_of_the_json_as_text(spark, here, output):
    write_ids(here / "numbers/duplicates.parquet", uid=pa.array([70, UNMATCHED], pa.int64()))
    write_ids(here / "text/duplicates.parquet", uid=["7b", "70"])
    remove = {"ids_path": ["numbers", "text"], "id_field": "uid", "match_field": "clip.id"}

    summary = run(parse_config(settings(remove=remove, output=output)), spark, steps=["remove"])

    kept = {"b/000/000": CLIPS["b/000.tar"]["000"], "b/000/001": CLIPS["b/000.tar"]["001"]}
    if "repack" in output:
        assert written(here / "out") == {"000000.tar": members(kept)}
    else:
        rows = pq.read_table(here / "out").to_pylist()
        assert {row["image_id"]: dict(row["members"]) for row in rows} == kept
    found = counts_of(here)
    assert [found[name] for name in ("ids_given", "ids_matched", "ids_unmatched")] == [3, 2, 1]
    assert [found[name] for name in ("samples_matched", "samples_without_field")] == [3, 1]
    assert (summary.read, summary.kept, dict(summary.unreadable)) == (5, 2, {})


@pytest.mark.parametrize(
    ("remove", "said"),
    [
        ({"id_field": "score"}, r"remove\.id_field: column 'score' is double"),
        ({"unreadable": "drop"}, r"would leave out all 5 samples, since none has a usable image \(no_image 5\)"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused_and_nothing_is_written(spark, here, remove, said):
    write_ids(here / "ids.parquet", image_id=["a/000/000"], wrong=["x"], score=[70.0])

    with pytest.raises(SchemaError, match=said):
        run(parse_config(settings(remove={"ids_path": "ids.parquet"} | remove)), spark, steps=["remove"])

    assert not (here / "out").exists()


@pytest.mark.parametrize("lists", [{"ids_path": "ids"}, {"never": "ids"}])
@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("0.parquet", b"PAR1 cut off", r"0\.parquet: this file cannot be read as Parquet"),
        ("0.parquet", b"", r"0\.parquet: this list of ids has no bytes"),
        ("0.csv", b"uid,url\n1,2\n", r"0\.csv: the header has no column 'image_id'"),
        ("0.jsonl", b'{"image_id": 1.5}', "ids are text or whole numbers"),
        ("0.tar", b"", "no list of ids there"),
    ],
)
def test_a_list_that_cannot_be_read_is_named_before_spark_starts(here, lists, name, data, said):
    (here / "ids").mkdir()
    (here / "ids" / name).write_bytes(data)

    with pytest.raises(ImgDedupError, match=said):
        run(
            parse_config(settings(remove=lists)), steps=["embed", "detect", "cluster", "pairwise", "identify", "remove"]
        )

    assert not (here / "work").exists()


@pytest.mark.connect
def test_clips_are_removed_from_a_table_by_any_of_its_columns(spark, here):
    columns = {"uuid": ["p", "q", "r", "s"], "recording": pa.array([1, 2, 1, None], pa.int32()), "mp4": [clip(0)] * 4}
    write_ids(here / "table/clips.parquet", **columns)
    write_ids(here / "ids.parquet", recording=["1", "5"])
    given = settings(
        input={"path": "table", "format": "table", "id_field": "uuid"},
        output={"format": "parquet"},
        remove={"ids_path": "ids.parquet", "id_field": "recording", "match_field": "recording"},
    )

    run(parse_config(given), spark, steps=["remove"])

    assert pq.read_table(here / "out").sort_by("uuid").to_pylist() == [
        {"uuid": "q", "recording": 2, "mp4": clip(0)},
        {"uuid": "s", "recording": None, "mp4": clip(0)},
    ]
    found = counts_of(here)
    assert [found[name] for name in ("ids_given", "ids_matched", "samples_matched", "samples_without_field")] == [
        2,
        1,
        2,
        1,
    ]


@pytest.mark.connect
@pytest.mark.parametrize("kind", ["string", "bigint"])
def test_embedded_images_are_found_by_a_field_whether_or_not_the_embeddings_hold_it_as_text(spark, here, kind):
    jsons = (b'{"uid": 3}', b'{"uid": 4}', b'{"uid": 3.0}', b'{"uid": "3"}', b"{}")
    make_tar(
        here / "photos/p.tar",
        [(f"{n}.{suffix}", data) for n, own in enumerate(jsons) for suffix, data in (("jpg", jpeg(n)), ("json", own))],
    )
    write_ids(here / "ids.parquet", uid=[3, 9])
    given = settings(
        input={"path": "photos", "json_fields": {"uid": kind}},
        remove={"ids_path": "ids.parquet", "id_field": "uid", "match_field": "uid"},
    ) | {"embed": {"model": "tests.encoders:ColourEncoder"}}

    run(parse_config(given), spark, steps=["embed", "remove"])

    assert (here / "work/index").exists() is (kind == "bigint")  # in a bigint column 3.0 and "3" would be lost
    kept = [name for name, _ in written(here / "out")["p.tar"]]
    assert kept == ["1.jpg", "1.json", "2.jpg", "2.json", "4.jpg", "4.json"]
