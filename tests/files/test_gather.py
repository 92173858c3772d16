from __future__ import annotations

import gzip
import io
import tarfile

import pytest

from spark_imgdedup.errors import ShardError
from spark_imgdedup.files.tars import gather
from spark_imgdedup.files.tars.gather import open_tar
from spark_imgdedup.files.tars.shards import Shard, iter_samples
from spark_imgdedup.files.tars.strict_headers import DamagedTarError
from tests.tars import tar_bytes

SCATTERED = [("a.jpg", b"1"), ("b.jpg", b"2"), ("README", b"r"), ("a.txt", b"3"), ("c/d.jpg", b"4"), ("b.txt", b"5")]
GATHERED = [("a", {"jpg": b"1", "txt": b"3"}), ("b", {"jpg": b"2", "txt": b"5"}), ("c/d", {"jpg": b"4"})]


def samples_of(path, data):
    path.write_bytes(data)
    found = []
    with open_tar(Shard(str(path), "s", len(data), "", reorder=True), {}) as tar:
        try:
            for sample in iter_samples(tar, lambda _: True):
                found.append((sample.key, {member.suffix: member.data for member in sample.members}))
        except DamagedTarError as error:
            return found, str(error)
    return found, None


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "compressed"])
def test_the_members_of_a_sample_are_gathered_in_the_order_in_which_samples_begin(tmp_path, compress):
    assert samples_of(tmp_path / "s.tar", compress(tar_bytes(SCATTERED))) == (GATHERED, None)


def test_members_of_no_sample_are_passed_on_where_they_are(tmp_path):
    (tmp_path / "s.tar").write_bytes(tar_bytes(SCATTERED))

    with open_tar(Shard(str(tmp_path / "s.tar"), "s", 0, "", reorder=True), {}) as tar:
        names = [info.name for info in tar]

    assert names == ["a.jpg", "a.txt", "b.jpg", "b.txt", "README", "c/d.jpg"]


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "compressed"])
def test_of_a_cut_tar_all_is_gathered_but_what_the_end_cuts(tmp_path, compress):
    data = tar_bytes([*SCATTERED, ("a.json", bytes(2000))])[:-2500]

    found, damage = samples_of(tmp_path / "s.tar", compress(data))

    assert found == [*GATHERED[1:], ("a", {"jpg": b"1", "txt": b"3", "json": None})]
    assert "unexpected end" in damage


def test_a_hard_link_stays_behind_the_file_that_it_names(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("a.txt", "b.jpg"):
            tar.addfile(tarfile.TarInfo(name))
        link = tarfile.TarInfo("a.jpg")
        link.type, link.linkname = tarfile.LNKTYPE, "b.jpg"
        tar.addfile(link)
    (tmp_path / "s.tar").write_bytes(buffer.getvalue())

    with open_tar(Shard(str(tmp_path / "s.tar"), "s", 0, "", reorder=True), {}) as tar:
        assert [info.name for info in tar] == ["b.jpg", "a.txt", "a.jpg"]


@pytest.mark.parametrize(("bound", "compress"), [("MAX_GATHERED_MEMBERS", bytes), ("MAX_SPOOL_BYTES", gzip.compress)])
def test_what_does_not_fit_the_bound_is_an_error_with_the_way_out(tmp_path, monkeypatch, bound, compress):
    monkeypatch.setattr(gather, bound, 5)

    with pytest.raises(ShardError, match=r"s\.tar: input\.reorder gathers .* 5 .*tar --sort=name"):
        samples_of(tmp_path / "s.tar", compress(tar_bytes(SCATTERED)))
