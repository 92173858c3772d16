from __future__ import annotations

import io
import tarfile

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from spark_imgdedup import read_images, register
from spark_imgdedup.config import parse_config
from spark_imgdedup.datasource.options import read_options
from spark_imgdedup.files import writing
from tests.tars import jpeg, make_tar, tar_bytes

pytest.importorskip("pyspark.sql.datasource", reason="data sources in Python are new in Spark 4")

PUSHDOWN = "spark.sql.python.filterPushdown.enabled"


@pytest.fixture
def webdataset(spark):
    register(spark)
    return lambda: spark.read.format("webdataset")


@pytest.fixture
def with_pushdown(spark):
    spark.conf.set(PUSHDOWN, "true")
    register(spark)
    yield spark
    spark.conf.unset(PUSHDOWN)
    register(spark)


def rows(df):
    return sorted((tuple(row) for row in df.collect()), key=repr)


# --- as read_images


def test_it_gives_what_read_images_gives_of_the_sample_shards(spark, webdataset):
    config = parse_config({"input": {"path": "examples/shards"}})

    found = webdataset().load("examples/shards")

    assert found.dtypes == read_images(spark, config).dtypes
    assert rows(found) == rows(read_images(spark, config))
    assert found.count() == 291  # 290 samples and a damaged shard


def test_lists_globs_roots_and_ids_of_the_json_are_as_in_the_configuration(webdataset, tmp_path):
    make_tar(tmp_path / "a" / "0.tar", [("0.jpg", b"1"), ("0.json", b'{"uid": "u0"}'), ("1.jpg", b"2")])
    make_tar(tmp_path / "b" / "0.tar", [("0.jpg", b"3"), ("0.seg.png", b"mask"), ("0.json", b'{"uid": "u2"}')])
    options = {"root": str(tmp_path), "id_field": "uid", "image_member": "seg.png", "max_partitions": "1"}

    one = webdataset().options(**options).load([f"{tmp_path}/b", f"{tmp_path}/a/0.tar"])
    other = webdataset().options(**options).load(f"{tmp_path}/*/*.tar")

    expected = [
        ("a/0/1", "a/0", "1", b"2", "no_id", None),
        ("u0", "a/0", "0", b"1", None, None),
        ("u2", "b/0", "0", b"mask", None, None),
    ]
    assert rows(one) == rows(other) == expected
    assert one.rdd.getNumPartitions() == 1


# --- columns


def test_columns_are_members_by_their_extension_as_bytes_or_as_text(webdataset, tmp_path):
    members = [("0.JPG", b"1"), ("0.seg.png", b"2"), ("0.txt", "é".encode()), ("1.txt", b"\xff"), ("1.jpg", b"3")]
    make_tar(tmp_path / "s.tar", members)

    found = webdataset().schema("txt string, jpg binary, key string, `seg.png` binary, members map<string, binary>")

    assert sorted(tuple(row) for row in found.load(str(tmp_path)).collect()) == [
        ("\\xff", b"3", "1", None, {"txt": b"\xff", "jpg": b"3"}),
        ("é", b"1", "0", b"2", {"JPG": b"1", "seg.png": b"2", "txt": "é".encode()}),
    ]


def test_a_member_that_is_too_large_or_cut_off_marks_its_sample(webdataset, tmp_path):
    whole = tar_bytes([("0.txt", b"fine"), ("1.txt", bytes(11)), ("2.jpg", b"1"), ("2.txt", bytes(10))])
    (tmp_path / "s.tar").write_bytes(whole[: -2 * 512 - 505])  # seven bytes of the last member are left

    found = webdataset().schema("key string, txt string, rejected_because string, error string")
    first, second, third, damage = found.option("max_image_bytes", 10).load(str(tmp_path)).collect()

    assert tuple(first) == ("0", "fine", "no_image", "members: txt")
    assert tuple(second) == ("1", None, "no_image", "members: txt")
    assert tuple(third) == ("2", None, "unreadable", "the shard ends inside 'txt'")
    assert (damage["key"], damage["txt"], damage["rejected_because"]) == (None, None, "damaged_shard")


class CountedFile(io.BytesIO):
    n_read = 0

    def read(self, size=-1):
        data = super().read(size)
        CountedFile.n_read += len(data)
        return data


class CountedFileSystem(MemoryFileSystem):
    """Files in memory that count the bytes read from them."""

    protocol = "counted"
    store = {}  # noqa: RUF012  # as in the class above it
    pseudo_dirs = [""]  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("counted://", "memory://"))

    def _open(self, path, mode="rb", **options):
        file = super()._open(path, mode, **options)
        return CountedFile(file.getvalue()) if mode == "rb" else file


def bytes_read(schema, **options):
    """The bytes that one read of a shard with three photographs of a megabyte takes from storage, and its rows."""
    from pyspark.sql.types import StructType

    from spark_imgdedup.datasource.reader import WebDatasetReader

    fsspec.register_implementation("counted", CountedFileSystem, clobber=True)
    photo = bytes(2**20)
    members = [
        (f"{n}.{suffix}", data) for n in range(3) for suffix, data in (("jpg", photo), ("json", b'{"uid": "u"}'))
    ]
    writing.write_bytes("counted://read/s.tar", tar_bytes(members))
    fields = StructType()
    for name, kind in schema.items():
        fields = fields.add(name, kind)
    reader = WebDatasetReader(read_options({"path": "counted://read", **options}), fields)
    (partition,) = reader.partitions()
    CountedFile.n_read = 0
    batches = list(reader.read(partition))
    return CountedFile.n_read, [row for batch in batches for row in batch.to_pylist()]


def test_members_that_are_not_asked_for_are_not_read_from_storage():
    n_read, found = bytes_read({"key": "string", "json": "string"})

    assert found == [{"key": f"{n}", "json": '{"uid": "u"}'} for n in range(3)]
    assert n_read < 10_000  # six headers, three jsons, the end mark
    assert bytes_read({"key": "string", "image": "binary"})[0] > 3 * 2**20
    assert bytes_read({"key": "string", "jpg": "binary"})[0] > 3 * 2**20


def test_the_json_of_an_id_is_not_read_where_no_id_is_asked_for():
    with_id, without_id = (
        bytes_read({"image_id": "string"}, id_field="uid"),
        bytes_read({"key": "string"}, id_field="uid"),
    )

    assert [row["image_id"] for row in with_id[1]] == ["u", "u", "u"]
    assert without_id[0] < with_id[0]


def test_captions_are_read_beside_an_image_that_would_fit_no_worker(webdataset, tmp_path):
    # 4 GiB, none of it on disk: read, it would exceed what an Arrow column may hold.
    caption, image = tarfile.TarInfo("0.txt"), tarfile.TarInfo("0.jpg")
    caption.size, image.size = 5, 4 * 2**30
    with open(tmp_path / "s.tar", "wb") as tar:
        tar.write(caption.tobuf() + b"hello".ljust(512, b"\0") + image.tobuf())
        tar.truncate(tar.tell() + image.size + 2 * 512)

    found = webdataset().schema("image_id string, txt string").option("max_image_bytes", 2**40).load(str(tmp_path))

    assert rows(found) == [("s/0", "hello")]


def test_batches_end_when_their_bytes_do(monkeypatch):
    from spark_imgdedup.stages import read

    monkeypatch.setattr(read, "BATCH_BYTES", 2 * 2**20)
    from pyspark.sql.types import StructType

    from spark_imgdedup.datasource.reader import WebDatasetReader

    writing.write_bytes("memory://batches/s.tar", tar_bytes([(f"{n}.jpg", bytes(2**20)) for n in range(5)]))
    reader = WebDatasetReader(read_options({"path": "memory://batches"}), StructType().add("jpg", "binary"))

    assert [batch.num_rows for batch in reader.read(reader.partitions()[0])] == [2, 2, 1]
    assert list(reader.read(None)) == []


# --- filters


def shards_left(*filters, **options):
    from pyspark.sql.types import StructType

    from spark_imgdedup.datasource.reader import FilteringWebDatasetReader

    for name in ("a", "a/b", "c"):
        writing.write_bytes(f"memory://filters/{name}.tar", tar_bytes([("0.jpg", b"1")]))
    fields = StructType().add("image_id", "string").add("shard", "string")
    reader = FilteringWebDatasetReader(read_options({"path": "memory://filters", **options}), fields)
    assert list(reader.pushFilters(list(filters))) == list(filters)
    return [shard.name for partition in reader.partitions() for shard in partition.value]


def test_filters_on_the_shard_and_on_the_id_leave_the_shards_that_may_hold_such_rows():
    from pyspark.sql.datasource import EqualTo, GreaterThan, In, IsNotNull, Not, StringStartsWith

    assert shards_left() == ["a", "a/b", "c"]
    assert shards_left(IsNotNull(("shard",)), EqualTo(("shard",), "a")) == ["a"]
    assert shards_left(In(("shard",), ("a", "c", None))) == ["a", "c"]
    assert shards_left(StringStartsWith(("shard",), "a")) == ["a", "a/b"]
    assert shards_left(StringStartsWith(("shard",), "a"), In(("shard",), ("a/b", "c"))) == ["a/b"]
    assert shards_left(EqualTo(("image_id",), "a/b/0")) == ["a", "a/b"]  # a : b/0, or a/b : 0
    assert shards_left(In(("image_id",), ("c/0/1", "a"))) == ["a", "c"]  # the second is that of a damaged shard
    assert shards_left(EqualTo(("image_id",), "a/b/0"), id_field="uid") == ["a", "a/b", "c"]
    assert shards_left(EqualTo(("shard",), "z")) == []
    for other in (
        Not(EqualTo(("shard",), "a")),
        GreaterThan(("shard",), "b"),
        EqualTo(("key",), "a"),
        EqualTo(("shard", "x"), "a"),
    ):
        assert shards_left(other) == ["a", "a/b", "c"]


def test_a_filter_leaves_shards_unopened_where_spark_pushes_it_down_and_the_rows_are_the_same(with_pushdown, tmp_path):
    spark = with_pushdown
    for number in range(3):
        make_tar(tmp_path / f"{number}.tar", [("0.jpg", jpeg(number)), ("1.jpg", jpeg(9))])
    everything = read_images(spark, parse_config({"input": {"path": str(tmp_path)}}))
    conditions = {
        "shard LIKE '2%'": 1,
        "shard IN ('0', '2') AND key = '1'": 2,
        "shard = 'none of them'": 1,  # Spark makes one empty partition of none
        "shard = '1' OR key = '0'": 3,
    }

    for condition, n_partitions in conditions.items():
        found = spark.read.format("webdataset").load(str(tmp_path)).where(condition)
        assert found.rdd.getNumPartitions() == n_partitions, condition
        assert rows(found) == rows(everything.where(condition)), condition


def test_without_push_down_the_same_filter_gives_the_same_rows(webdataset, tmp_path):
    for number in range(2):
        make_tar(tmp_path / f"{number}.tar", [("0.jpg", jpeg(number))])

    found = webdataset().load(str(tmp_path)).where("shard = '1'")

    assert found.rdd.getNumPartitions() == 2
    assert [row["image_id"] for row in found.collect()] == ["1/0"]


# --- what is refused, and what is not shown


def test_a_wrong_option_schema_or_path_fails_with_our_line_and_shows_no_secret(webdataset, tmp_path):
    secret = {"storage.secret": "hunter2"}
    wrong = {
        "unknown option 'rooot'": lambda: webdataset().options(rooot="x", **secret).load(str(tmp_path)),
        "a member is binary or string": lambda: (
            webdataset().schema("n int").options(**secret).load(str(tmp_path)).collect()
        ),
        "there is nothing": lambda: webdataset().options(**secret).load(f"{tmp_path}/missing").collect(),
    }

    for message, act in wrong.items():
        with pytest.raises(Exception, match=message) as refused:
            act()
        assert "hunter2" not in str(refused.value)


def test_a_secret_is_in_no_plan(spark, tmp_path, capfd):
    register(spark)
    make_tar(tmp_path / "s.tar", [("0.jpg", b"1")])

    spark.read.format("webdataset").option("storage.secret", "hunter2").load(str(tmp_path)).explain("extended")

    said = capfd.readouterr()
    assert "webdataset" in said.out
    assert "hunter2" not in said.out + said.err
