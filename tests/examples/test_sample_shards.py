from __future__ import annotations

import csv
import hashlib
import io
import json
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image
from webdataset import tariterators

SHARDS = Path(__file__).parents[2] / "examples" / "shards"
CUT_SHARD = "crawl/clipart-00001"
MAX_BYTES = 8_000_000

Row = dict[str, str]


def rows_of(name: str) -> list[Row]:
    with (SHARDS / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


TRUTH = rows_of("truth.csv")
WHOLE_SHARDS = sorted({row["shard"] for row in TRUTH} - {CUT_SHARD})


def members_of(shard: str) -> dict[str, bytes]:
    """The whole members of a tar, whatever follows them."""
    members = {}
    with tarfile.open(SHARDS / f"{shard}.tar") as tar:
        try:
            for info in tar:
                file = tar.extractfile(info)
                assert file is not None
                data = file.read()
                if len(data) == info.size:
                    members[info.name] = data
        except tarfile.ReadError:
            assert shard == CUT_SHARD
    return members


@pytest.fixture(scope="module")
def members() -> dict[str, dict[str, bytes]]:
    return {shard: members_of(shard) for shard in [*WHOLE_SHARDS, CUT_SHARD]}


def test_the_sample_data_is_small() -> None:
    assert sum(path.stat().st_size for path in SHARDS.rglob("*") if path.is_file()) <= MAX_BYTES


def test_the_folder_holds_the_recorded_shards_and_nothing_else() -> None:
    shards = {path.relative_to(SHARDS).with_suffix("").as_posix() for path in SHARDS.rglob("*.tar")}

    assert shards == {*WHOLE_SHARDS, CUT_SHARD}
    assert {path.name for path in SHARDS.glob("*.*") if path.suffix != ".tar"} == {"truth.csv", "sources.csv"}


def test_two_shards_share_a_name_and_keys_but_no_image_id() -> None:
    names = Counter(Path(shard).name for shard in WHOLE_SHARDS)

    assert max(names.values()) == 2
    assert len({row["key"] for row in TRUTH}) < len(TRUTH)
    assert len({row["image_id"] for row in TRUTH}) == len(TRUTH)
    assert all(row["image_id"] == f"{row['shard']}/{row['key']}" for row in TRUTH)


@pytest.mark.parametrize("shard", WHOLE_SHARDS)
def test_webdataset_reads_each_whole_shard_and_finds_what_was_recorded(shard: str) -> None:
    recorded = {row["key"]: row for row in TRUTH if row["shard"] == shard}

    # wds.WebDataset(path) does the same, but leaves the file to the garbage collector, which warns.
    with (SHARDS / f"{shard}.tar").open("rb") as stream:
        files = tariterators.tar_file_expander([{"url": shard, "stream": stream}])
        samples = {sample["__key__"]: sample for sample in tariterators.group_by_keys(files)}

    assert samples.keys() == recorded.keys()
    for key, row in recorded.items():
        assert json.loads(samples[key]["json"])["key"] == key
        assert samples[key]["txt"].strip()
        if row["member"]:
            suffix = row["member"].removeprefix(f"{key}.").lower()
            assert hashlib.sha256(samples[key][suffix]).hexdigest() == row["sha256"]


def test_the_cut_shard_holds_every_sample_but_its_last(members: dict[str, dict[str, bytes]]) -> None:
    *whole, last = (row for row in TRUTH if row["shard"] == CUT_SHARD)

    assert len(whole) >= 40
    assert all(hashlib.sha256(members[CUT_SHARD][row["member"]]).hexdigest() == row["sha256"] for row in whole)
    assert last["transform"] == "cut_tar"
    assert not any(name.startswith(last["key"]) for name in members[CUT_SHARD])
    tail = (SHARDS / f"{CUT_SHARD}.tar").read_bytes()[-int(last["bytes"]) :]
    assert hashlib.sha256(tail).hexdigest() == last["sha256"]


def test_good_images_decode_at_the_recorded_size_and_bad_ones_do_not(members: dict[str, dict[str, bytes]]) -> None:
    for row in TRUTH:
        data = members[row["shard"]].get(row["member"], b"")
        if row["expect"] == "ok":
            image = Image.open(io.BytesIO(data))
            image.load()
            assert image.size == (int(row["width"]), int(row["height"]))
            assert len(data) == int(row["bytes"])
        else:
            with pytest.raises(OSError, match=r"cannot identify|[Tt]runcated|broken|decoder"):
                Image.open(io.BytesIO(data)).load()


def test_jpeg_png_and_webp_occur_with_and_without_transparency(members: dict[str, dict[str, bytes]]) -> None:
    good = [row for row in TRUTH if row["expect"] == "ok"]
    images = [Image.open(io.BytesIO(members[row["shard"]][row["member"]])) for row in good]

    assert {image.format for image in images} == {"JPEG", "PNG", "WEBP"}
    assert {"RGB", "RGBA", "P", "L"} <= {image.mode for image in images}


def test_every_kind_of_repeat_is_planted_and_makes_up_a_quarter_of_the_images() -> None:
    copies = Counter(row["transform"] for row in TRUTH if row["role"] == "copy")
    n_good = sum(row["expect"] == "ok" for row in TRUTH)

    assert copies.keys() == {"exact", "webp", "resize50", "jpeg30", "bright", "crop10", "gray", "text"}
    assert min(copies.values()) >= 5
    assert 0.25 <= copies.total() / n_good <= 0.30


def test_each_copy_has_one_source_and_most_lie_in_another_shard() -> None:
    sources = {row["group"]: row for row in TRUTH if row["role"] == "source"}
    copies = [row for row in TRUTH if row["role"] == "copy"]
    elsewhere = sum(sources[row["group"]]["shard"] != row["shard"] for row in copies)

    assert len(sources) == sum(row["role"] == "source" for row in TRUTH) == 30
    assert elsewhere / len(copies) > 0.8
    assert elsewhere < len(copies)


def test_exact_copies_are_the_only_equal_bytes() -> None:
    by_hash: dict[str, list[Row]] = {}
    for row in TRUTH:
        if row["expect"] == "ok":
            by_hash.setdefault(row["sha256"], []).append(row)
    repeats = [rows for rows in by_hash.values() if len(rows) > 1]

    assert len(repeats) == sum(row["transform"] == "exact" for row in TRUTH)
    for rows in repeats:
        assert sorted(row["transform"] for row in rows) == ["exact", "original"]
        assert len({row["group"] for row in rows}) == 1


def test_the_odd_spellings_and_the_bad_samples_are_there() -> None:
    good = [row for row in TRUTH if row["expect"] == "ok"]

    assert any(row["member"].endswith(".JPG") for row in good)
    assert any(row["member"] == f"{row['key']}.v1.jpg" for row in good)
    assert any("/" in row["key"] for row in good)
    assert sorted(row["transform"] for row in TRUTH if row["role"] == "bad") == ["corrupt_image", "cut_tar", "no_image"]
    assert Counter(row["expect"] for row in TRUTH if row["role"] == "bad") == {"unreadable": 2, "no_image": 1}


def test_sidecars_are_unique_and_do_not_tell_the_groups_apart(members: dict[str, dict[str, bytes]]) -> None:
    captions: dict[str, set[str]] = {}
    uids = set()
    for row in TRUTH[:-1]:
        files = members[row["shard"]]
        if f"{row['key']}.json" not in files:
            assert row["transform"] == "cut_tar"
            continue
        sidecar = json.loads(files[f"{row['key']}.json"])
        assert sidecar.keys() == {"key", "width", "height", "uid", "source", "license"}
        uids.add(sidecar["uid"])
        captions.setdefault(files[f"{row['key']}.txt"].decode(), set()).add(row["group"])

    assert len(uids) >= len(TRUTH) - 2
    of_one_group = [caption for caption, groups in captions.items() if len(groups) == 1]
    assert sum(len(groups) for groups in captions.values()) > 2 * len(of_one_group)


def test_every_picture_names_its_package_and_a_licence_and_only_free_ones_were_edited() -> None:
    truth = {row["image_id"]: row for row in TRUTH}
    sources = {row["image_id"]: row for row in rows_of("sources.csv")}

    assert sources.keys() == {row["image_id"] for row in TRUTH if row["member"]}
    assert {row["license"] for row in sources.values()} == {
        "public-domain",
        "CC0-1.0",
        "CC-BY-2.0",
        "CC-BY-3.0",
        "CC-BY-4.0",
    }
    for image_id, row in sources.items():
        if row["license"].startswith("CC-BY"):
            assert row["author"]
            assert truth[image_id]["role"] == "distractor"
