from __future__ import annotations

import os
from functools import partial

import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.counts import OutputCounts, SampleCounts
from spark_imgdedup.errors import ConfigError, CountsError, ShardError
from spark_imgdedup.files.publishing import MANIFEST, is_published
from spark_imgdedup.runs.dataset import require_sums, write_dataset
from spark_imgdedup.runs.tables import Tables
from spark_imgdedup.schemas import IS_SAMPLE
from spark_imgdedup.stages.index import index_images
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
    unwanted = select_ids(spark.createDataFrame([(each,) for each in ids], "image_id string"), "image_id")
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


def test_a_task_that_fails_leaves_no_tar_under_its_final_name_and_the_earlier_dataset_alone(spark, folder):
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

    assert [name for name in files_below(folder / "out") if not name.startswith("_temporary")] == [
        MANIFEST,
        "a/000.tar",
        "b/000.tar",
    ]
    assert (folder / "out/a/000.tar").read_bytes() == earlier
    assert not is_published(config)

    os.remove(folder / "in/b/000.tar")
    make_tar(folder / "in/b/000.tar", [("0.jpg", jpeg(2))])
    write(spark, config)
    assert files_below(folder / "out") == [MANIFEST, "a/000.tar", "b/000.tar"]
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
    table = spark.createDataFrame(
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
    make_tar(tmp_path / "in" / "s.tar", members)

    with pytest.raises(ShardError, match="shard 's' holds 2 samples with the key '0'"):
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
