from __future__ import annotations

import hashlib
import os
from functools import partial

import pytest
from pyspark.sql import functions as F

from spark_imgdedup.config import parse_config
from spark_imgdedup.counts import OutputCounts, SampleCounts
from spark_imgdedup.errors import ConfigError, CountsError, ShardError
from spark_imgdedup.files.owning.publishing import MANIFEST, is_published
from spark_imgdedup.runs.dataset import require_sums, write_dataset
from spark_imgdedup.runs.tables import Tables
from spark_imgdedup.schemas import IS_SAMPLE
from spark_imgdedup.stages.index import index_images
from spark_imgdedup.stages.local_rows import local_rows
from spark_imgdedup.stages.remove import mark_removals, select_ids
from tests.tars import jpeg, make_tar, members_of, png, tar_bytes, webdataset_samples


def config_for(folder, input_settings=None, **sections):
    return parse_config(
        {
            "input": {"path": str(folder / "in"), **(input_settings or {})},
            "work_dir": sections.pop("work_dir", str(folder / "work")),
            "output": {"path": str(folder / "out"), **sections.pop("output", {})},
            **sections,
        }
    )


def write(spark, config, *ids, n_more=0):
    """What the step `remove` does with these ids; `n_more` samples are said to have been read than there are."""
    index = index_images(spark, config)
    samples = index.where(IS_SAMPLE)
    unwanted = select_ids(local_rows(spark, [(each,) for each in ids], "image_id string"), "image_id")
    removed = mark_removals(samples, unwanted, config).localCheckpoint()
    n_damaged = index.where(f"not {IS_SAMPLE}").count()
    read = SampleCounts(read=samples.count() + n_more, n_damaged_shards=n_damaged)
    check = partial(require_sums, read, {"any": removed.count()})
    return write_dataset(Tables(spark, config), samples, removed, config, check)


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def rows(df, *columns):
    return sorted(tuple(row[name] for name in columns) for row in df.collect())


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    make_tar(tmp_path / "in/a/000.tar", [("0.jpg", jpeg(0)), ("0.txt", b"0"), ("1.jpg", jpeg(1)), ("1.cls", b"1")])
    make_tar(
        tmp_path / "in/b/000.tar", [("0.jpg", jpeg(2)), ("1.png", png(3)), ("2.jpg", b"torn"), ("3.txt", b"alone")]
    )
    return tmp_path


def test_the_dataset_is_written_again_without_what_leaves_and_a_second_run_replaces_the_first(spark, folder):
    whole = tar_bytes([("0.jpg", jpeg(5)), ("1.jpg", bytes(900))])
    (folder / "in" / "c.tar").write_bytes(whole[:-2000])
    config = config_for(folder)

    counts = write(spark, config, "a/000/0", "b/000/1")

    assert (counts.written, counts.cut, counts.files) == (5, 1, 3)
    assert counts.bytes_before == sum(path.stat().st_size for path in (folder / "in").rglob("*.tar"))
    assert counts.bytes_after == sum(path.stat().st_size for path in (folder / "out").rglob("*.tar"))
    assert files_below(folder / "out") == [MANIFEST, "a/000.tar", "b/000.tar", "c.tar"]
    assert [sample["__key__"] for sample in webdataset_samples(folder / "out/b/000.tar")] == ["0", "2", "3"]
    assert members_of(folder / "out/a/000.tar") == [("1.jpg", jpeg(1)), ("1.cls", b"1")]
    assert is_published(config)

    (folder / "in" / "c.tar").unlink()
    write(spark, config, "a/000/0", "a/000/1")

    assert files_below(folder / "out") == [MANIFEST, "a/000.tar", "b/000.tar"]
    assert webdataset_samples(folder / "out/a/000.tar") == []


def test_a_relative_output_is_meant_from_where_the_driver_stands(spark, folder, monkeypatch):
    monkeypatch.chdir(folder)

    write(spark, config_for(folder, {"path": "in"}, output={"path": "out"}, work_dir="work"))

    assert files_below(folder / "out") == [MANIFEST, "a/000.tar", "b/000.tar"]


def test_repacked_tars_replace_those_of_the_inputs_division(spark, folder):
    write(spark, config_for(folder))

    counts = write(spark, config_for(folder, output={"repack": 4}), "a/000/0")

    assert (counts.written, counts.files) == (5, 2)
    assert files_below(folder / "out") == ["000000.tar", "000001.tar", MANIFEST]
    samples = [each for name in ("000000", "000001") for each in webdataset_samples(folder / "out" / f"{name}.tar")]
    assert [each["__key__"] for each in samples] == ["a/000/1", "b/000/0", "b/000/1", "b/000/2", "b/000/3"]


def test_a_task_that_fails_leaves_no_tar_under_its_final_name_and_what_is_finished_is_not_copied_again(
    spark, folder, caplog
):
    config = config_for(folder)
    write(spark, config)
    earlier = (folder / "out/a/000.tar").read_bytes()
    index = index_images(spark, config).localCheckpoint()
    removed = mark_removals(
        index, select_ids(index.where("image_id = 'a/000/0'"), "image_id"), config
    ).localCheckpoint()
    # Opened without complaint, and the first read fails.
    os.remove(folder / "in/b/000.tar")
    (folder / "in/b/000.tar").symlink_to("/proc/self/mem")

    with pytest.raises(Exception, match="Input/output error"):
        write_dataset(Tables(spark, config), index, removed, config, lambda _: None)

    waiting = [name for name in files_below(folder / "out") if name.startswith("_temporary")]
    assert [name for name in files_below(folder / "out") if name not in waiting] == [
        MANIFEST,
        "a/000.tar",
        "b/000.tar",
    ]
    assert (folder / "out/a/000.tar").read_bytes() == earlier
    assert not is_published(config)
    (finished,) = (folder / "out" / name for name in waiting if name.endswith(".tar"))
    number = finished.stat().st_ino

    os.remove(folder / "in/b/000.tar")
    make_tar(folder / "in/b/000.tar", [("0.jpg", jpeg(2))])
    with caplog.at_level("INFO"):
        write(spark, config, "a/000/0")
    assert files_below(folder / "out") == [MANIFEST, "a/000.tar", "b/000.tar"]
    assert "remove: 1 of 2 tars are there from an earlier run" in caplog.text
    assert (folder / "out/a/000.tar").stat().st_ino == number
    assert members_of(folder / "out/a/000.tar") == [("1.jpg", jpeg(1)), ("1.cls", b"1")]
    assert is_published(config)


def test_parquet_has_a_row_a_sample_with_its_members_and_takes_only_our_files_away(spark, folder):
    write(spark, config_for(folder))
    (folder / "out" / "notes.txt").write_text("mine")
    config = config_for(folder, output={"format": "parquet"}, remove={"unreadable": "drop"})

    for ids in ([], ["a/000/0"]):
        counts = write(spark, config, *ids)

    found = spark.read.option("pathGlobFilter", "*.parquet").parquet(str(folder / "out"))
    assert rows(found, "image_id", "shard", "key") == [
        ("a/000/1", "a/000", "1"),
        ("b/000/0", "b/000", "0"),
        ("b/000/1", "b/000", "1"),
        ("b/000/2", "b/000", "2"),
    ]
    assert found.where("key = '1' and shard = 'a/000'").first()["members"] == {"jpg": jpeg(1), "cls": b"1"}
    files = files_below(folder / "out")
    assert [name for name in files if not name.endswith(".parquet")] == [MANIFEST, "notes.txt"]
    assert counts.written == 4
    assert counts.files == len(files) - 2
    assert is_published(config)


def test_a_table_keeps_its_own_columns_and_types(spark, folder):
    table = local_rows(
        spark,
        [(1, b"x", "cat", [1.5]), (2, b"y", "dog", None), (3, None, "owl", [])],
        "uid bigint, image binary, label string, boxes array<double>",
    )
    table.write.parquet(str(folder / "in" / "t"))
    config = config_for(
        folder,
        {"path": str(folder / "in" / "t"), "format": "table", "id_field": "uid"},
        output={"format": "parquet"},
    )

    counts = write(spark, config, "2")

    found = spark.read.parquet(str(folder / "out"))
    assert found.schema == table.schema
    assert rows(found, "uid", "image", "label", "boxes") == [(1, b"x", "cat", [1.5]), (3, None, "owl", [])]
    assert counts.written == 2


def test_loose_images_are_written_as_the_files_they_are_beside_a_list_of_those_that_are_not(spark, tmp_path):
    pictures = {"a b.jpg": jpeg(0), "sub/x.PNG": png(1), "sub/y.jpg": b"torn", "z.jpg": jpeg(3)}
    for name, data in pictures.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    config = config_for(tmp_path, {"format": "images"}, output={"format": "images"}, remove={"ids_path": "list"})

    counts = write(spark, config, "a b.jpg", "z.jpg")

    assert (counts.written, counts.files, counts.bytes_after) == (2, 2, len(png(1)) + 4)
    assert files_below(tmp_path / "out") == [MANIFEST, "removed.csv", "sub/x.PNG", "sub/y.jpg"]
    assert (tmp_path / "out/sub/x.PNG").read_bytes() == png(1)
    assert (tmp_path / "out/sub/y.jpg").read_bytes() == b"torn"
    listed = (tmp_path / "out/removed.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in listed] == ["image_id", "a b.jpg", "z.jpg"]
    assert listed[0] == "image_id,reason,kept_id"
    assert is_published(config)

    write(spark, config, "sub/x.PNG")

    assert files_below(tmp_path / "out") == [MANIFEST, "a b.jpg", "removed.csv", "sub/y.jpg", "z.jpg"]


@pytest.mark.parametrize("output_format", ["images", "webdataset"])
def test_loose_images_that_are_copied_when_a_run_dies_are_not_copied_again(spark, tmp_path, output_format, caplog):
    for number in range(4):
        (tmp_path / "in" / f"{number}.jpg").parent.mkdir(exist_ok=True)
        (tmp_path / "in" / f"{number}.jpg").write_bytes(jpeg(number))
    config = config_for(
        tmp_path,
        {"format": "images"},
        output={"format": output_format, "repack": 2 if output_format == "webdataset" else None},
        remove={"ids_path": "list"},
    )

    def die(_):
        raise KeyboardInterrupt

    samples = index_images(spark, config).where(IS_SAMPLE)
    removed = mark_removals(samples, local_rows(spark, [("1.jpg",)], "image_id string"), config)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(Tables(spark, config), samples, removed, config, die)
    n_pieces = 1 if output_format == "images" else 2
    assert f"remove: {n_pieces} pieces of the output are finished and wait in {tmp_path}/out/_temporary" in caplog.text
    waiting = {path.stat().st_ino for path in (tmp_path / "out/_temporary").rglob("*") if path.suffix != ".json"}
    with caplog.at_level("INFO"):
        write(spark, config, "1.jpg")

    what = "1 of 1 groups of files" if output_format == "images" else "2 of 2 tars"
    assert f"remove: {what} are there from an earlier run" in caplog.text
    names = ["0.jpg", "2.jpg", "3.jpg"] if output_format == "images" else ["000000.tar", "000001.tar"]
    assert {(tmp_path / "out" / name).stat().st_ino for name in names} <= waiting
    extra = ["removed.csv"] if output_format == "images" else []
    assert files_below(tmp_path / "out") == sorted([*names, *extra, MANIFEST])


def as_tar(spark, folder, first):
    make_tar(folder / "in/s.tar", [("0.jpg", first), ("1.jpg", jpeg(1))])
    return "s/0", {}


def as_files(spark, folder, first):
    (folder / "in").mkdir(exist_ok=True)
    (folder / "in/0.jpg").write_bytes(first)
    (folder / "in/1.jpg").write_bytes(jpeg(1))
    return "0.jpg", {"format": "images"}


def as_table(spark, folder, first):
    rows_ = local_rows(spark, [("0", first), ("1", jpeg(1))], "image_id string, image binary")
    rows_.coalesce(1).write.mode("overwrite").parquet(str(folder / "in"))
    return "0", {"format": "table"}


@pytest.mark.parametrize(
    ("made", "output_format"),
    [(as_tar, "webdataset"), (as_tar, "parquet"), (as_files, "webdataset"), (as_table, "parquet")],
)
def test_what_leaves_is_what_was_compared_or_the_earlier_output_stays(spark, tmp_path, made, output_format):
    image_id, settings = made(spark, tmp_path, jpeg(0))
    config = config_for(tmp_path, settings, output={"format": output_format})
    digest = F.when(F.col("image_id") == image_id, hashlib.sha256(jpeg(0)).hexdigest())
    samples = index_images(spark, config).where(IS_SAMPLE).withColumn("sha256", digest).localCheckpoint()
    leaving = select_ids(samples.where("sha256 is not null"), "image_id")
    removed = mark_removals(samples, leaving, config).localCheckpoint()

    write_dataset(Tables(spark, config), samples, removed, config, lambda _: None)
    before = {name: (tmp_path / "out" / name).read_bytes() for name in files_below(tmp_path / "out") if name[0] != "_"}
    made(spark, tmp_path, jpeg(2))
    with pytest.raises(Exception, match="is not the one that was compared"):
        write_dataset(Tables(spark, config), samples, removed, config, lambda _: None)

    assert {name: (tmp_path / "out" / name).read_bytes() for name in before} == before
    assert not (tmp_path / "out/_temporary").exists()


def test_an_input_that_changes_while_it_is_copied_is_not_published_and_only_what_changed_is_copied_again(
    spark, folder, caplog
):
    config = config_for(folder)

    def change_and_pass(_):
        os.utime(folder / "in/a/000.tar", (1, 1))

    samples = index_images(spark, config).where(IS_SAMPLE)
    nothing = mark_removals(samples, local_rows(spark, [], "image_id string"), config)

    with pytest.raises(ShardError, match=r"has changed while it was copied\. Nothing was published; run again"):
        write_dataset(Tables(spark, config), samples, nothing, config, change_and_pass)

    published = [name for name in files_below(folder / "out") if not name.startswith("_temporary")]
    assert published == [MANIFEST]
    with caplog.at_level("INFO"):
        write(spark, config)
    assert "remove: 1 of 2 tars are there from an earlier run" in caplog.text
    assert files_below(folder / "out") == [MANIFEST, "a/000.tar", "b/000.tar"]


@pytest.mark.parametrize("output_format", ["webdataset", "parquet"])
def test_loose_images_that_are_too_large_to_decode_are_copied_all_the_same(spark, tmp_path, output_format):
    pictures = {"a b.jpg": jpeg(0), "sub/x.PNG": png(1), "sub/large.jpg": bytes(5000)}
    for name, data in pictures.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    config = config_for(tmp_path, {"format": "images", "max_image_bytes": 4000}, output={"format": output_format})

    counts = write(spark, config, "a b.jpg")

    assert counts.written == 2
    assert counts.bytes_before == sum(map(len, pictures.values()))
    if output_format == "parquet":
        found = rows(spark.read.parquet(str(tmp_path / "out")), "image_id", "members")
        assert found == [("sub/large.jpg", {"jpg": bytes(5000)}), ("sub/x.PNG", {"png": png(1)})]
    else:
        assert members_of(tmp_path / "out" / "000000.tar") == [("sub/large.jpg", bytes(5000)), ("sub/x.PNG", png(1))]


def test_a_key_that_comes_back_under_another_id_is_refused_before_anything_is_written(spark, tmp_path):
    members = [
        ("0.jpg", b"1"),
        ("0.json", b'{"uid": "u0"}'),
        ("1.jpg", b""),
        ("0.jpg", b"2"),
        ("0.json", b'{"uid": "u1"}'),
    ]
    from pyspark.errors import PythonException

    make_tar(tmp_path / "in" / "s.tar", members)

    with pytest.raises(PythonException, match=r"ShardError: .*s\.tar: '0\.jpg' at byte \d+ is of sample '0'"):
        write(spark, config_for(tmp_path, {"id_field": "uid"}), "u1")

    assert not (tmp_path / "out").exists()


def test_a_refused_output_folder_is_left_as_it_is(spark, folder):
    (folder / "out").mkdir()
    (folder / "out" / "thesis.txt").write_text("mine")

    with pytest.raises(ConfigError, match=r"thesis\.txt"):
        write(spark, config_for(folder))

    assert files_below(folder / "out") == ["thesis.txt"]


@pytest.mark.parametrize(
    ("n_read", "n_damaged", "removed", "found"),
    [
        (3, 0, {"duplicate": 1}, OutputCounts(written=1)),
        (3, 0, {"duplicate": 1}, OutputCounts(written=3, cut=-1)),
        (3, 0, {"duplicate": 1}, OutputCounts(written=1, cut=1)),
        (2, 0, {"duplicate": 1}, OutputCounts(written=2)),
    ],
)
def test_counts_that_do_not_add_up_stop_the_run(n_read, n_damaged, removed, found):
    with pytest.raises(CountsError, match="make"):
        require_sums(SampleCounts(read=n_read, n_damaged_shards=n_damaged), removed, found)


def test_counts_that_add_up_pass():
    read = SampleCounts(read=5, n_damaged_shards=1)
    require_sums(read, {"duplicate": 1, "unreadable": 1}, OutputCounts(written=2, cut=1))


@pytest.mark.parametrize("output", [{}, {"format": "parquet"}])
def test_where_the_sums_are_wrong_the_earlier_output_stays(spark, folder, output):
    config = config_for(folder, output=output)
    write(spark, config, "a/000/0")
    before = {name: (folder / "out" / name).read_bytes() for name in files_below(folder / "out") if name[0] != "_"}

    with pytest.raises(CountsError):
        write(spark, config, "b/000/1", n_more=1)

    assert {name: (folder / "out" / name).read_bytes() for name in before} == before
    assert not (folder / "out/_temporary").exists()
