"""The breakdowns of report.json against pandas on the same tables, and when they are computed again."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from spark_imgdedup.config import Config, parse_config
from spark_imgdedup.counts import ClusterCounts, IdentifyCounts, ImageCounts, PairwiseCounts, RemoveCounts
from spark_imgdedup.files.block_index import save_index
from spark_imgdedup.files.blocks import BlockIndex
from spark_imgdedup.report.breakdowns import break_down
from spark_imgdedup.report.sizes import break_down_sizes
from spark_imgdedup.report.spread import break_down_similarity, spread
from spark_imgdedup.report.summarize import write_report
from spark_imgdedup.runs.tables import StepRecord, Tables
from spark_imgdedup.stages.local_rows import local_rows
from spark_imgdedup.stages.thresholds import BIN_EDGES

N_ROWS, N_LANGUAGES, N_URLS = 400, 4, 150


def embeddings_of_a_dataset():
    """400 samples in 7 shards, 20 of them without an image, and a damaged shard."""
    rng = np.random.default_rng(7)
    shard = [f"{'st'[number // 4]}{number}" for number in rng.integers(0, 7, N_ROWS)]
    frame = pd.DataFrame(
        {
            "image_id": [f"{name}/{number:04d}" for number, name in enumerate(shard)],
            "shard": shard,
            "key": [f"{number:04d}" for number in range(N_ROWS)],
            "width": rng.integers(100, 4000, N_ROWS),
            "height": rng.integers(100, 4000, N_ROWS),
            "image_format": rng.choice(["jpeg", "png", "webp"], N_ROWS, p=[0.7, 0.2, 0.1]),
            "image_bytes": rng.integers(1_000, 9_000_000, N_ROWS),
            "lang": [None if n == 0 else f"l{n}" for n in rng.integers(0, N_LANGUAGES, N_ROWS)],
            # Each of 150 values occurs at least twice.
            "a url": [f"u{n % N_URLS}" for n in range(N_ROWS)],
        }
    ).astype({"width": "Int32", "height": "Int32", "image_bytes": "Int64"})
    frame.loc[:19, ["width", "height", "image_format", "image_bytes"]] = None
    damaged = pd.DataFrame([{"image_id": "s9", "shard": "s9"}])
    return pd.concat([frame, damaged], ignore_index=True)


def removals(embeddings):
    """Every third sample leaves; of those every fifth for another reason."""
    samples = embeddings[embeddings["key"].notna()]
    frame = samples[["image_id", "shard", "key"]].iloc[::3].copy()
    frame["reason"] = ["aesthetic" if number % 5 == 0 else "duplicate" for number in range(len(frame))]
    return frame


def duplicates_of(removed):
    frame = removed[removed["reason"] == "duplicate"][["image_id"]].copy()
    frame["max_id"], frame["cosine_sim_score"], frame["cluster_id"] = "s0/x", 0.99, 1
    frame["found_by"] = ["exact" if number % 4 == 0 else "embedding" for number in range(len(frame))]
    return frame


RECORDS = [
    StepRecord("embed", "e1", 1.0, ImageCounts(N_ROWS, rejected={"no_image": 20})),
    StepRecord("cluster", "c1", 1.0, ClusterCounts(5, 2, 3), {"embed": "e1"}),
    StepRecord("pairwise", "p1", 1.0, PairwiseCounts(5), {"cluster": "c1"}),
    StepRecord("identify", "i1", 1.0, IdentifyCounts(0.1, 107, {"embedding": 80, "exact": 27}), {"pairwise": "p1"}),
    StepRecord(
        "remove",
        "r1",
        1.0,
        RemoveCounts(read=N_ROWS, removed={"aesthetic": 27, "duplicate": 107}, written=266, output="out"),
        {"identify": "i1", "embed": "e1"},
    ),
]


def write_tables(folder, frames, records, **settings):
    """A work_dir with these tables, as a run leaves it."""
    config = parse_config({"work_dir": str(folder / "work"), **settings})
    for name, frame in frames.items():
        (folder / "work" / name).mkdir(parents=True, exist_ok=True)
        frame.to_parquet(folder / "work" / name / "part-0.parquet", index=False)
    if "clusters" in frames:
        counts = np.bincount(frames["clusters"]["cluster_id"].dropna().to_numpy(np.int64))
        save_index(BlockIndex(f"{folder}/work/blocks", ("0.parquet",), counts[np.newaxis], 2, "<f4"), {})
    for record in records:
        Tables(None, config).finish(record)
    return config


@pytest.fixture(scope="module")
def frames():
    embeddings = embeddings_of_a_dataset()
    removed = removals(embeddings)
    return {
        "embeddings": embeddings,
        "removed": removed,
        "duplicates": duplicates_of(removed),
        "clusters": pd.DataFrame({"image_id": list("abcdef"), "cluster_id": pd.array([0, 0, 0, 1, 1, None], "Int32")}),
        "similarities": pd.DataFrame(
            {"image_id": list("abcde"), "max_id": list("aaadd"), "cosine_sim_score": [0, 0.95, 0.1, 0.0, 1.0]}
        ),
    }


@pytest.fixture
def finished(frames, tmp_path):
    """The settings of a finished run, and how to get its tables."""
    return write_tables(tmp_path, frames, RECORDS, input={"json_fields": ["lang", "a url", "nowhere"]})


def by_pandas(frames, column):
    """(value, samples before, after, bytes before, after), by an independent way."""
    samples = frames["embeddings"][frames["embeddings"]["key"].notna()].copy()
    samples["stays"] = ~samples["image_id"].isin(frames["removed"]["image_id"])
    samples["n_bytes"] = samples["image_bytes"].fillna(0).astype(int)
    found = {}
    for value, rows in samples.groupby(column, dropna=False):
        kept = rows[rows["stays"]]
        sizes = (len(rows), len(kept), int(rows["n_bytes"].sum()), int(kept["n_bytes"].sum()))
        found[None if pd.isna(value) else value] = sizes
    return found


def sizes_in(table):
    names = ("samples_before", "samples_after", "image_bytes_before", "image_bytes_after")
    return {row["value"]: tuple(row[name] for name in names) for row in table["rows"]}


def test_every_breakdown_equals_what_pandas_counts_and_adds_up_to_the_summary(finished, frames, spark):
    summary = write_report(Tables(spark, finished), finished)

    sizes = summary.breakdowns["sizes"]
    total = sizes["total"]
    assert sizes_in(sizes["by_shard"]) == by_pandas(frames, "shard")
    assert sizes_in(sizes["by_format"]) == by_pandas(frames, "image_format")
    of_source = frames["embeddings"].assign(source=frames["embeddings"]["shard"].str[0])
    assert sizes_in(sizes["by_source"]) == by_pandas({**frames, "embeddings": of_source}, "source")
    assert sizes_in(sizes["by_field"]["lang"]) == by_pandas(frames, "lang")
    assert list(sizes["by_field"]) == ["lang", "a url"]  # the third is no column of the table
    assert total["samples_before"] == summary.read == N_ROWS
    assert total["samples_after"] == summary.kept
    assert total["image_bytes_before"] == frames["embeddings"]["image_bytes"].sum()
    for table in (
        sizes["by_shard"],
        sizes["by_source"],
        sizes["by_format"],
        sizes["by_resolution"],
        *sizes["by_field"].values(),
    ):
        parts = [*table["rows"], *([table["rest"]] if table["rest"] else [])]
        assert {name: sum(part[name] for part in parts) for name in total} == total
    assert {row["reason"]: row["samples"] for row in sizes["by_reason"]} == dict(summary.removed)
    assert sum(row["image_bytes"] for row in sizes["by_reason"]) == (
        total["image_bytes_before"] - total["image_bytes_after"]
    )
    assert sum(summary.breakdowns["found_by"].values()) == summary.duplicates


def test_shards_go_by_what_they_lose_and_other_values_by_what_they_hold(finished, frames, spark):
    sizes = break_down(Tables(spark, finished), finished, {record.step: record for record in RECORDS})["sizes"]

    lost = [row["samples_before"] - row["samples_after"] for row in sizes["by_shard"]["rows"]]
    held = [row["samples_before"] for row in sizes["by_format"]["rows"]]
    assert lost == sorted(lost, reverse=True)
    assert held == sorted(held, reverse=True)


def test_a_field_of_many_values_shows_a_hundred_and_sums_the_rest(finished, frames, spark):
    sizes = break_down(Tables(spark, finished), finished, {record.step: record for record in RECORDS})["sizes"]

    table = sizes["by_field"]["a url"]
    expected = sorted(by_pandas(frames, "a url").items(), key=lambda item: (-item[1][0], item[0]))
    assert (table["shown"], table["of"]) == (100, N_URLS)
    assert list(sizes_in(table).items()) == expected[:100]
    assert table["rest"]["samples_before"] == sum(numbers[0] for _, numbers in expected[100:])


def test_before_remove_the_duplicates_say_what_would_leave(frames, tmp_path, spark):
    config = write_tables(tmp_path, frames, RECORDS[:4])

    summary = write_report(Tables(spark, config), config)

    sizes = summary.breakdowns["sizes"]
    assert sizes["leaving"] == "duplicates"
    assert sizes["by_reason"][0]["samples"] == len(frames["duplicates"])
    assert any("without the duplicates" in line for line in summary.lines())


def test_an_input_that_only_remove_has_read_is_broken_down_by_shard_without_bytes(frames, tmp_path, spark):
    index = frames["embeddings"][["image_id", "shard", "key"]]
    remove = StepRecord("remove", "r2", 1.0, RECORDS[4].counts)
    config = write_tables(tmp_path, {"index": index, "removed": frames["removed"]}, [remove])

    sizes = write_report(Tables(spark, config), config).breakdowns["sizes"]

    before = {value: numbers[:2] for value, numbers in by_pandas(frames, "shard").items()}
    assert {value: numbers[:2] for value, numbers in sizes_in(sizes["by_shard"]).items()} == before
    assert sizes["total"]["image_bytes_before"] is None
    assert (sizes["by_format"], sizes["by_resolution"]) == (None, None)


def test_a_run_without_a_model_is_broken_down_by_its_table_of_hashes(frames, tmp_path, spark):
    hashes = StepRecord("hashes", "h1", 1.0, ImageCounts(N_ROWS))
    remove = StepRecord("remove", "r2", 1.0, RECORDS[4].counts, {"hashes": "h1"})
    # An index that an earlier run on another input has left must not be taken for this one's.
    other = pd.DataFrame({"image_id": ["x/0"], "shard": ["x"], "key": ["0"]})
    tables = {"hashes": frames["embeddings"], "removed": frames["removed"], "index": other}
    config = write_tables(tmp_path, tables, [hashes, remove])

    sizes = write_report(Tables(spark, config), config).breakdowns["sizes"]

    assert sizes_in(sizes["by_format"]) == by_pandas(frames, "image_format")


def test_own_embeddings_have_the_breakdowns_that_need_no_images(tmp_path, spark):
    clusters = pd.DataFrame({"clip": [1, 2, 3], "cluster_id": pd.array([0, 0, 0], "Int32")})
    similarities = pd.DataFrame({"clip": [1, 2, 3], "max_id": [1, 1, 1], "cosine_sim_score": [0, 0.97, 0.2]})
    tables = {"clusters": clusters, "similarities": similarities}
    own = {"embeddings_path": "mine", "id_field": "clip"}
    records = [StepRecord("cluster", "c", 1.0, RECORDS[1].counts), StepRecord("pairwise", "p", 1.0, PairwiseCounts(3))]
    config = write_tables(tmp_path, tables, records, cluster=own)

    found = write_report(Tables(spark, config), config).breakdowns

    assert set(found) == {"clusters", "similarity", "computed_from"}
    assert (found["clusters"]["rows"], found["similarity"]["first"]) == (3, 1)


# --- what is not computed again


def test_unchanged_tables_are_not_read_again_and_no_spark_is_started(finished, spark):
    first = write_report(Tables(spark, finished), finished)
    tables = Tables(None, finished)

    again = write_report(tables, finished)

    assert again == first
    assert tables._spark is None


def test_a_step_that_ran_again_renews_its_own_parts_alone(finished, tmp_path, spark):
    write_report(Tables(spark, finished), finished)
    path = tmp_path / "work/report/report.json"
    report = json.loads(path.read_text())
    report["breakdowns"]["clusters"]["clusters"] = report["breakdowns"]["found_by"]["exact"] = -1
    path.write_text(json.dumps(report))
    for record in RECORDS[3:]:
        built_on = {name: "i2" if name == "identify" else mark for name, mark in record.built_on.items()}
        mark = "i2" if record.step == "identify" else "r2"
        Tables(None, finished).finish(StepRecord(record.step, mark, 1.0, record.counts, built_on))

    found = write_report(Tables(spark, finished), finished).breakdowns

    assert found["clusters"]["clusters"] == -1  # taken from the earlier report
    assert found["found_by"]["exact"] == 27


def test_without_computing_only_what_still_holds_is_reported(finished, spark):
    tables = Tables(None, finished)

    assert write_report(tables, finished, compute=False).breakdowns == {"computed_from": {}}
    assert tables._spark is None


# --- buckets and bins


def test_a_resolution_is_the_bucket_of_the_shorter_side(spark):
    sides = [(255, 9000), (9000, 256), (511, 512), (512, 512), (1023, 1024), (2047, 2048), (2048, 2048), (None, None)]
    rows = [("s", None, width, height, 1) for width, height in sides]
    samples = local_rows(spark, rows, "shard string, _reason string, width int, height int, image_bytes bigint")

    table = break_down_sizes(samples, (), None)["by_resolution"]

    assert [(row["value"], row["samples_before"]) for row in table["rows"]] == [
        ("<256", 1),
        ("256-511", 2),
        ("512-1023", 2),
        ("1024-2047", 1),
        (">=2048", 1),
        ("unknown", 1),
    ]


def test_a_score_lies_in_the_bin_that_it_starts(spark):
    scores = [-0.2, 0.0, 0.099999, 0.1, 0.899999, 0.9, 0.919999, 0.92, 0.994999, 0.995, 1.0]
    rows = [(f"r{number}", "x", score) for number, score in enumerate(scores)] + [("x", "x", 0.0)]
    similarities = local_rows(spark, rows, "image_id string, max_id string, cosine_sim_score double")

    found = break_down_similarity(similarities, Config())

    assert {part["from"]: part["rows"] for part in found["bins"] if part["rows"]} == {
        **{None: 1, 0.0: 2, 0.1: 1, 0.85: 1, 0.9: 2, 0.92: 1},
        **{0.99: 1, 0.995: 1, 1.0: 1},
    }
    assert (found["rows"], found["first"]) == (12, 1)
    assert found["bins"][-1] == {"from": None, "below": 0.0, "rows": 1}
    assert len(found["bins"]) == len(BIN_EDGES) + 1


def test_clusters_are_counted_by_powers_of_two():
    found = spread({7: 1, 3: 2, 1: 3, 2: 4, 9: 4, 4: 86})

    assert found["sizes"] == [
        {"at_least": 1, "at_most": 1, "clusters": 1, "rows": 1},
        {"at_least": 2, "at_most": 3, "clusters": 2, "rows": 5},
        {"at_least": 4, "at_most": 7, "clusters": 2, "rows": 8},
        {"at_least": 64, "at_most": 127, "clusters": 1, "rows": 86},
    ]
    assert (found["clusters"], found["rows"], found["share_of_largest"]) == (6, 100, 0.86)
    assert [row["cluster_id"] for row in found["largest"]["rows"]] == [4, 2, 9, 1, 3, 7]


def test_of_many_clusters_the_largest_are_named_and_the_others_counted():
    found = spread({number: number + 1 for number in range(30)})

    assert (found["largest"]["shown"], found["largest"]["of"], len(found["largest"]["rows"])) == (20, 30, 20)
    assert found["largest"]["rows"][0] == {"cluster_id": 29, "rows": 30}


def test_no_cluster_is_no_error():
    assert spread({}) == {
        "clusters": 0,
        "rows": 0,
        "share_of_largest": 0.0,
        "sizes": [],
        "largest": {"shown": 0, "of": 0, "rows": []},
    }
