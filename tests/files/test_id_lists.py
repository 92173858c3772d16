"""Lists of ids as people have them, read as what they say or refused with the file and the line."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_imgdedup.errors import ConfigError, SchemaError
from spark_imgdedup.files.id_lists import id_files, kind_of, read_ids

LARGE = 2**70
READ = {
    "lines.txt": (b"\xef\xbb\xbfa/1\r\n\n  007 \nb c\n7.0", ["a/1", "007", "b c", "7.0"]),
    "nothing.txt": (b"", []),
    "column.csv": (b"url,id\nu,a\n\nv,007\nw,\nx\n", ["a", "007", None, None]),
    "quoted.csv": (b'id,caption\n"a,b","two\nlines"\n"say ""x""",c\n', ["a,b", 'say "x"']),
    "semicolons.csv": (b"url; id\nu;1e5\n", ["1e5"]),
    "tabs.tsv": (b"id\turl\na b\tu\n", ["a b"]),
    "one.csv": (b"id\nid\nz\n", ["id", "z"]),
    "no header.csv": (b"a\nb\n", ["a", "b"]),
    "objects.jsonl": (
        b'{"id": "a", "x": 1}\n\n{"id": %d}\n{"id": null}\n"b"\n8' % LARGE,
        ["a", str(LARGE), None, "b", "8"],
    ),
    "array.json": (b'[{"id": 1},\n "two",\n 3]', ["1", "two", "3"]),
    "zip.txt.gz": (gzip.compress(b"a\nb\n") + gzip.compress(b"c\n"), ["a", "b", "c"]),
    "zip.csv.bz2": (bz2.compress(b"id\na\n"), ["a"]),
    "zip.jsonl.xz": (lzma.compress(b'{"id": "a"}\n'), ["a"]),
    "zip.txt.zst": (pa.compress(b"a\nb\n", "zstd", asbytes=True), ["a", "b"]),
}
REFUSED = {
    "latin.txt": ("é".encode("latin-1"), "cannot be read"),
    "zero.txt": (b"a\n\0\n", "line 2 holds a zero byte"),
    "names.csv": (b"uid,url\na,b\n", r"no column 'id' \(remove\.id_field\), it has uid, url"),
    "floats.jsonl": (b'{"id": 1}\n{"id": 7.0}', "line 2: ids are text or whole numbers, found 7.0"),
    "truth.jsonl": (b'{"id": true}', "line 1: ids are text or whole numbers"),
    "names.jsonl": (b'{"uid": 1}', r"line 1 has no 'id' \(remove\.id_field\), it has uid"),
    "cut.jsonl": (b'{"id": 1}\n{"id":', "line 2 is no JSON"),
    "deep.json": (b"[" * 100_000, "line 1 is no JSON"),
    "digits.jsonl": (b'{"id": ' + b"9" * 10_000 + b"}", "line 1 is no JSON"),
    "cut.txt.gz": (gzip.compress(b"a\n" * 1000)[:-12], "cannot be read"),
    "no zip.txt.gz": (b"a\n", "cannot be read"),
    "cut.txt.xz": (lzma.compress(b"a\n")[:-20], "cannot be read"),
    "no zip.txt.zst": (b"a\n", "cannot be read"),
}


@pytest.mark.parametrize("name", READ)
def test_a_list_gives_its_ids_as_text(tmp_path, name):
    data, ids = READ[name]
    (tmp_path / name).write_bytes(data)

    assert list(read_ids(str(tmp_path / name), "id")) == ids
    assert [file.url for file in id_files(str(tmp_path / name)).lists] == [str(tmp_path / name)]


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_list_of_ids_is_named_with_its_line(tmp_path, name):
    data, message = REFUSED[name]
    (tmp_path / name).write_bytes(data)

    with pytest.raises(SchemaError, match=message) as caught:
        list(read_ids(str(tmp_path / name), "id"))

    assert str(tmp_path / name) in str(caught.value)


def test_many_ids_are_read_one_after_the_other(tmp_path):
    (tmp_path / "ids.txt.gz").write_bytes(gzip.compress("\n".join(map(str, range(300_000))).encode()))

    assert sum(map(int, filter(None, read_ids(str(tmp_path / "ids.txt.gz"), "id")))) == sum(range(300_000))


def test_a_folder_of_img2dataset_is_its_parquet(tmp_path):
    pq.write_table(pa.table({"key": ["000000000"]}), tmp_path / "00000.parquet")
    (tmp_path / "00000_stats.json").write_text(json.dumps({"count": 1}))
    (tmp_path / "00000.tar").write_bytes(bytes(1024))

    assert id_files(str(tmp_path)).is_table


def test_a_folder_of_lists_is_all_of_them(tmp_path):
    for name in ("a.txt", "b/c.csv.gz", "b/d.jsonl", "README.txt", "notes.json", "e.tar"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")

    names = [file.url.removeprefix(f"{tmp_path}/") for file in id_files(str(tmp_path)).lists]

    assert names == ["a.txt", "b/c.csv.gz", "b/d.jsonl"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), "no such list of ids"),
        (("x.tar",), "no list of ids there, only x.tar. Name a Parquet or Delta table, a .txt"),
        (("0.parquet", "1.txt"), r"Parquet files \(0\.parquet\) and lists \(1\.txt\)"),
        (("0.parquet", "empty.parquet"), r"empty\.parquet: this list of ids has no bytes"),
    ],
)
def test_a_folder_of_which_the_ids_are_not_plain_is_refused(tmp_path, files, message):
    for name in files:
        (tmp_path / "ids").mkdir(exist_ok=True)
        if name.endswith(".parquet") and name != "empty.parquet":
            pq.write_table(pa.table({"id": ["a"]}), tmp_path / "ids" / name)
        else:
            (tmp_path / "ids" / name).write_text("" if name == "empty.parquet" else "x")

    with pytest.raises(ConfigError, match=message):
        id_files(str(tmp_path / "ids"))


def test_names_say_what_a_list_is():
    names = ("X.TXT", "x.csv.GZ", "x.ndjson.zst", "x.gz", "txt", "x.tar")

    assert [kind_of(f"a.b/{name}") for name in names] == ["lines", "csv", "json", None, None, None]
