"""Without Spark: what is visible when, what is read, and what is told, on a real server."""

from __future__ import annotations

import io
import itertools
import signal
import subprocess
import sys
import tarfile
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ConfigError, TableError
from spark_imgdedup.files import artifacts, storage, writing
from spark_imgdedup.files.copying.copy_plan import plan_copies
from spark_imgdedup.files.copying.kept_members import Source
from spark_imgdedup.files.copying.resume import resume_kept
from spark_imgdedup.files.copying.shard_packer import pack_files, pack_samples
from spark_imgdedup.files.owning import publishing
from spark_imgdedup.files.parts import plan
from spark_imgdedup.files.parts.part_files import PartForm, copy_rows, keep_only, list_parts, open_round, write_part
from spark_imgdedup.files.reach import require_reachable
from spark_imgdedup.files.tars.shards import iter_samples, list_shards
from spark_imgdedup.files.tars.tar_stream import TarStream
from tests.object_stores.stores import ROOT, Meter, bare_environment
from tests.tars import tar_bytes

MIB = 2**20


# --- writing: visible only when complete


def samples(number, n_bytes):
    return ((f"{place:06d}", {"jpg": bytes([place % 256]) * n_bytes}) for place in range(number))


def failing(rows):
    yield from rows
    raise RuntimeError("the data ends here")


@pytest.mark.parametrize("n_bytes", [1000, 30 * MIB], ids=["one request", "several parts"])
def test_a_tar_whose_writing_fails_is_not_there_and_leaves_no_part_behind(s3, bucket, n_bytes):
    with pytest.raises(RuntimeError, match="ends here"):
        list(pack_samples(failing(samples(3, n_bytes)), 10, f"s3://{bucket}/_temporary", s3.options))

    assert s3.names(bucket) == []
    assert s3.unfinished(bucket) == []


def test_a_tar_of_several_parts_is_not_there_before_it_is_whole(s3, bucket):
    seen = []

    def watched():
        for row in samples(5, 30 * MIB):
            seen.append((s3.names(bucket), s3.unfinished(bucket)))
            yield row

    (tar,) = pack_samples(watched(), 10, f"s3://{bucket}/new", s3.options)

    assert {tuple(visible) for visible, _ in seen} == {()}
    assert any(parts for _, parts in seen), "it was not written in parts"
    assert s3.unfinished(bucket) == []
    data = s3.fs.cat_file(tar.temporary)
    assert len(data) == tar.n_bytes
    with tarfile.open(fileobj=io.BytesIO(data)) as whole:
        assert len(whole.getmembers()) == 5


def test_a_writer_that_is_killed_leaves_nothing_that_is_visible(s3, bucket):
    code = (
        "import sys, json; from spark_imgdedup.files.copying.shard_packer import pack_samples\n"
        "def rows():\n"
        "    for n in range(1000):\n"
        "        print(n, flush=True)\n"
        "        yield str(n), {'jpg': bytes(30 * 2**20)}\n"
        "list(pack_samples(rows(), 1000, sys.argv[1], json.loads(sys.stdin.read())))\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code, f"s3://{bucket}/new"],
        env={**bare_environment(), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        writer.stdin.write(str(s3.options).replace("'", '"'))
        writer.stdin.close()
        for line in writer.stdout:
            if int(line) == 4:  # the second part of 50 MB is on its way
                break
        writer.send_signal(signal.SIGKILL)
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()

    assert s3.names(bucket) == []
    assert len(s3.unfinished(bucket)) == 1  # for the bucket's lifecycle rule to take away


def test_a_small_file_is_one_request_and_replaces_an_older_one(s3, bucket):
    url = f"s3://{bucket}/_steps/embed.json"
    writing.write_bytes(url, b"one", s3.options)
    writing.write_bytes(url, b"two", s3.options)

    assert storage.read_text(url, s3.options) == "two"
    assert s3.names(bucket) == ["_steps/embed.json"]


def test_moving_replaces_what_is_there(s3, bucket):
    writing.write_bytes(f"s3://{bucket}/_temporary/a", b"new", s3.options)
    writing.write_bytes(f"s3://{bucket}/a", b"old", s3.options)

    writing.move(f"s3://{bucket}/_temporary/a", f"s3a://{bucket}/a", s3.options)

    assert s3.names(bucket) == ["a"]
    assert s3.fs.cat_file(f"{bucket}/a") == b"new"


def test_an_object_too_large_for_one_request_of_s3fs_is_moved_in_parts(strict_s3, bucket):
    # s3fs copies in parts above 150 MiB, S3 itself demands it above 5 GB.
    block = np.random.default_rng(0).bytes(8 * MIB)
    with writing.open_write(f"s3://{bucket}/large", strict_s3.options) as file:
        for _ in range(20):
            file.write(block)

    writing.move(f"s3://{bucket}/large", f"s3://{bucket}/final/large", strict_s3.options)

    assert strict_s3.names(bucket) == ["final/large"]
    assert strict_s3.fs.cat_file(f"{bucket}/final/large") == block * 20
    log = (strict_s3.folder / "access.log").read_text()
    assert f"s3_UploadPartCopy final/large /{bucket}/final/large" in log


def test_publishing_renames_and_takes_away_what_an_earlier_run_left(s3, bucket):
    target = publishing.Target(f"s3://{bucket}/out", ("a",), "webdataset", s3.options)
    for names in (("0.tar", "1.tar"), ("0.tar",)):
        written = {
            name: pack_files("x", [], f"s3://{bucket}/out/_temporary", read={}, write=s3.options) for name in names
        }
        publishing.publish(target, {name: tar.temporary for name, tar in written.items()})

    assert s3.names(f"{bucket}/out") == ["0.tar", publishing.MANIFEST]
    assert publishing.read_manifest(target.path, s3.options)["files"] == ["0.tar"]


def test_names_that_look_like_patterns_take_no_others_with_them(s3, bucket):
    others = ["run1/_temporary/a", "run[1]/_temporary2/a", "run[1]/xy.tar", "run[1]/kept/0"]
    ours = [
        "run[1]/_temporary/",
        "run[1]/_temporary/a",
        "run[1]/_temporary/b/c*",
        "run[1]/x*.tar",
        "run[1]/gone/0",
        "run[1]/gone/[0]",
    ]
    for name in (*others, *ours):
        s3.fs.pipe_file(f"{bucket}/{name}", b"" if name.endswith("/") else b"x")

    storage.delete(f"s3://{bucket}/run[1]/_temporary", s3.options)
    storage.delete_files([f"s3://{bucket}/run[1]/x*.tar", f"s3://{bucket}/run[1]/not-there"], s3.options)
    storage.delete_below(f"s3://{bucket}/run[1]", {"gone", "not-there"}, s3.options)

    assert sorted(s3.fs.find(bucket)) == sorted(f"{bucket}/{name}" for name in others)


def test_a_copy_that_died_while_it_was_published_is_published_by_the_next_run_and_not_copied_again(
    s3, bucket, monkeypatch
):
    for name in ("a", "b"):
        data = tar_bytes([(f"{n}.bin", bytes([n]) * 30 * MIB) for n in range(2)])  # more than s3fs sends in one request
        s3.fs.pipe_file(f"{bucket}/in/{name}.tar", data)
    source = {"path": f"s3://{bucket}/in", "storage_options": s3.options}
    output = {"path": f"s3://{bucket}/out", "storage_options": s3.options}
    config = parse_config({"input": source, "output": output})
    opened, open_write, copy = [], writing.open_write, writing.copy

    def counted(url, options=None):
        opened.append(url)
        return open_write(url, options)

    def die(source, target, options=None):
        if target.endswith("b.tar"):
            raise OSError("the power is gone")
        copy(source, target, options)

    def run():
        publishing.begin(output["path"], config, None)
        finished = publishing.finished_files(output["path"], s3.options)
        tasks = plan_copies(list_shards(config.input), {}, None)
        tars = [tar for task in tasks for tar in resume_kept(task, {}, finished, read=Source(s3.options))]
        publishing.publish_files(output["path"], {f"{tar.name}.tar": tar.temporary for tar in tars}, config)

    monkeypatch.setattr(writing, "open_write", counted)
    with monkeypatch.context() as patch:
        patch.setattr(writing, "copy", die)
        with pytest.raises(OSError, match="power"):
            run()
    assert len(opened) == 2
    run()

    assert len(opened) == 2
    assert s3.names(f"{bucket}/out") == sorted(["a.tar", "b.tar", publishing.MANIFEST])
    for name in ("a.tar", "b.tar"):
        with tarfile.open(fileobj=io.BytesIO(s3.fs.cat_file(f"{bucket}/out/{name}"))) as tar:
            assert [tar.extractfile(info).read() for info in tar] == [bytes([n]) * 30 * MIB for n in range(2)]
    assert publishing.is_published(config)


def test_no_bucket_is_made_by_the_way(s3):
    with pytest.raises(FileNotFoundError):
        writing.write_bytes("s3://nobody-made-this/a", b"x", s3.options)
    with pytest.raises(FileNotFoundError), writing.open_write("s3://nobody-made-this/b", s3.options) as file:
        file.write(b"x")

    assert "nobody-made-this" not in s3.fs.ls("")


# --- listing


def test_what_another_process_writes_is_seen_at_once(s3, bucket):
    url = f"s3://{bucket}/tables"
    assert storage.list_files(url, "", s3.options) == []
    assert not storage.exists(url, s3.options)

    s3.fs.pipe_file(f"{bucket}/tables/clusters/part-0.parquet", b"x")  # a file system of its own, as the JVM is

    assert [file.url for file in storage.list_files(url, "", s3.options)] == [f"{url}/clusters/part-0.parquet"]
    assert storage.exists(f"{url}/clusters", s3.options)
    assert storage.folder_names(url, s3.options) == ["clusters"]
    s3.fs.rm(f"{bucket}/tables", recursive=True)
    assert not storage.exists(f"{url}/clusters", s3.options)


def test_the_empty_objects_that_mark_folders_are_no_files(s3, bucket):
    for name in ("data/", "data/sub/", "data/sub/a.tar", "data/b.tar/"):
        s3.fs.pipe_file(f"{bucket}/{name}", b"" if name.endswith("/") else b"x")

    assert [file.url for file in storage.list_files(f"s3://{bucket}/data", ".tar", s3.options)] == [
        f"s3://{bucket}/data/sub/a.tar"
    ]
    assert [file.url for file in storage.list_files(f"s3://{bucket}/data", "", s3.options)] == [
        f"s3://{bucket}/data/sub/a.tar"
    ]
    assert storage.folder_names(f"s3://{bucket}/data", s3.options) == ["b.tar", "sub"]
    assert storage.folder_names(f"s3://{bucket}/data/sub", s3.options) == []


def test_an_output_under_the_input_is_refused_whichever_way_s3_is_spelled(s3, dataset):
    config = parse_config(
        {
            "storage_options": s3.options,
            "input": {"path": dataset},
            "output": {"path": dataset.replace("s3://", "s3a://") + "/new/"},
        }
    )

    with pytest.raises(ConfigError, match="lie one within the other"):
        publishing.output_path(config)


# --- reading: a stream


@pytest.fixture(scope="module")
def large_tar(s3):
    """A tar of 160 MiB: 40 samples of a picture of 4 MiB and a caption."""
    s3.fs.mkdir("large")
    rows = ((f"{n:03d}", {"jpg": bytes([n]) * (4 * MIB), "txt": b"caption"}) for n in range(40))
    (tar,) = pack_samples(rows, 100, "s3://large", s3.options)
    return tar


@pytest.fixture
def stream(s3, large_tar):
    """The samples of the large tar, and how many bytes of it were sent since."""
    with Meter(s3.endpoint) as meter:
        options = s3.options | {"endpoint_url": meter.endpoint}
        with storage.open_read(large_tar.temporary, options) as file:
            yield TarStream(file), lambda: meter.n_bytes


def test_stopping_early_does_not_fetch_the_rest_of_a_shard(stream):
    tar, sent = stream
    first = next(iter_samples(tar, lambda member: member.is_image))

    assert len(first.members[0].data) == 4 * MIB
    assert 4 * MIB <= sent() <= 3 * storage.READ_BLOCK_BYTES


def test_reading_a_shard_whole_sends_it_about_once_and_never_holds_it(stream, large_tar):
    tar, sent = stream
    tracemalloc.start()
    try:
        n_bytes = sum(len(sample.members[0].data) for sample in iter_samples(tar, lambda member: member.is_image))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert n_bytes == 160 * MIB
    assert sent() <= 1.1 * large_tar.n_bytes
    assert peak <= 8 * storage.READ_BLOCK_BYTES


def test_a_pass_over_the_first_samples_alone_reads_in_ranges(stream):
    tar, sent = stream
    keys = [sample.key for sample in itertools.islice(iter_samples(tar), 5)]

    assert keys == ["000", "001", "002", "003", "004"]
    assert sent() <= 5 * storage.READ_BLOCK_BYTES


def test_arrays_travel_with_the_options_that_open_them(s3, bucket):
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    stored = artifacts.save(f"s3://{bucket}/work/centroids", array, {"k": 3}, options=s3.options)

    assert np.array_equal(artifacts.load(stored), array)
    assert s3.secret not in repr(stored)


# --- being let in


def test_a_store_that_lets_us_in_is_fine_also_for_a_folder_that_is_new(s3, bucket, dataset):
    for url in (dataset, f"{dataset}/*.tar", f"s3://{bucket}/new", f"s3://{bucket}"):
        require_reachable("input.path", url, s3.options)

    assert len(list_shards(parse_config({"input": {"path": dataset, "storage_options": s3.options}}).input)) == 3


def test_a_wrong_secret_is_one_line_without_it(strict_s3, dataset):
    wrong = "recognisable-but-wrong"
    with pytest.raises(ConfigError) as raised:
        require_reachable("input.path", dataset, strict_s3.options | {"secret": wrong})

    assert str(raised.value).startswith(f"input.path: {dataset} cannot be reached: ")
    assert "storage_options" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not [text for text in (wrong, strict_s3.secret) if text in str(raised.value)]


def test_a_bucket_that_does_not_exist_is_named(s3):
    with pytest.raises(ConfigError, match=r"work_dir: s3://no-such-bucket/work cannot be reached: .*bucket"):
        require_reachable("work_dir", "s3://no-such-bucket/work", s3.options)


def test_an_endpoint_where_nobody_answers_is_named(s3, dataset):
    with pytest.raises(ConfigError, match=r"http://127\.0\.0\.1:1/"):
        require_reachable("input.path", dataset, s3.options | {"endpoint_url": "http://127.0.0.1:1"})


# --- tables in parts


def test_parts_of_a_table_are_uploaded_whole_found_again_copied_and_cleared_away(s3, bucket):
    folder, schema = f"s3://{bucket}/work/embeddings", pa.schema([("shard", pa.string())])
    form = PartForm("settings", schema, "{}", "shard")
    s3.fs.pipe_file(f"{bucket}/work/embeddings/", b"")  # a folder's mark
    s3.fs.pipe_file(f"{bucket}/work/embeddings/_delta_log/0.json", b"{}")
    one, digests = open_round(folder, form, s3.options), [plan.Source(name, 1, "").digest for name in "ab"]

    def rows(*names):
        yield pa.record_batch([pa.array(names)], schema=schema)

    first = write_part(one, digests, rows("a", "a", "b"))
    with pytest.raises(RuntimeError, match="ends here"):
        write_part(one, digests[:1], failing(rows("a")))
    only_b = write_part(one, digests[1:], copy_rows(one, [(first.name, ["b"])]))
    both = [(part.name, part.n_bytes, part.sources) for part in list_parts(folder, form.key, s3.options)]
    keep_only(folder, [only_b.name], s3.options)

    assert both == sorted(
        (part.name, part.n_bytes, tuple(mine)) for part, mine in ((first, digests), (only_b, digests[1:]))
    )
    assert only_b.n_rows == 1
    assert {name.rpartition("/")[2] for name in s3.names(bucket)} - {""} == {only_b.name}
    assert s3.unfinished(bucket) == []
    with pytest.raises(TableError, match="another run"):
        write_part(one, digests, rows("a"))
    assert list_parts(f"s3://{bucket}/none", form.key, s3.options) == []
