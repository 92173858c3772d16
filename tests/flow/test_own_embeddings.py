"""Runs that start from vectors of the user's own: video clips, of which there are no images."""

from __future__ import annotations

import gzip
import json
import uuid

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ImgDedupError, ShardError
from spark_imgdedup.pipeline import run
from tests.report.page.pages import text_of
from tests.spark_versions import SPARK_4
from tests.tars import make_tar, members_of

DIM = 768
# Five directions, exact in float16, that have nothing in common.
AXES = (2 * np.eye(DIM)[:5]).tolist()
NAMES = ["a", "b", "c", "a again", "b again", "null", "zero", "nan", "null inside", "infinite", "short", "alone"]
VECTORS = [
    *(AXES[0], AXES[1], AXES[2], AXES[0], (np.array(AXES[1]) * 3).tolist()),
    *(None, [0.0] * DIM, [np.nan, *AXES[0][1:]], [None, *AXES[0][1:]], [np.inf, *AXES[0][1:]], [1.0] * 12, AXES[4]),
]
IDS = dict(zip(NAMES, (str(uuid.UUID(int=n)) for n in range(len(NAMES))), strict=True))


def write(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def float16_lists(vectors):
    return pa.array(
        [v if v is None else [x if x is None else np.float16(x) for x in v] for v in vectors], pa.list_(pa.float16())
    )


def settings(**sections):
    cluster = {"embeddings_path": "mine", "n_clusters": 2} | sections.pop("cluster", {})
    steps = {} if "input" in sections else {"steps": ["cluster", "pairwise", "identify"]}
    return parse_config({"work_dir": "work", "cluster": cluster, **steps, **sections})


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_clips_are_removed_from_their_table_and_those_without_a_usable_vector_stay(spark, here):
    ids = [IDS[name] for name in NAMES]
    vectors = float16_lists(VECTORS) if SPARK_4 else pa.array(VECTORS, pa.list_(pa.float32()))
    clip, vector = "the `clip`.id", "vector.v"  # names that mean something else to Spark, unless they are quoted
    write(here / "mine/0.parquet", **{clip: ids[:7], vector: vectors[:7]})
    write(here / "mine/1.parquet", **{clip: ids[7:], vector: vectors[7:]})
    write(here / "clips.parquet", uuid=ids, caption=NAMES, vector=vectors)
    config = settings(
        cluster={"id_field": clip, "embedding_field": vector},
        input={"path": "clips.parquet", "format": "table", "id_field": "uuid"},
        output={"path": "out", "format": "parquet"},
    )

    summary = run(config, spark)

    duplicates = pq.read_table("work/duplicates").to_pylist()
    pairs = {frozenset((row[clip], row["max_id"])) for row in duplicates}
    kept = pq.read_table("out").to_pylist()
    assert summary.read == 12
    assert dict(summary.unreadable) == {"nan_embedding": 3, "no_embedding": 1, "wrong_length": 1, "zero_embedding": 1}
    assert pairs == {frozenset((IDS["a"], IDS["a again"])), frozenset((IDS["b"], IDS["b again"]))}
    assert {row["cosine_sim_score"] for row in duplicates} == {1.0}
    assert (summary.removed, summary.kept, summary.eps) == ({"duplicate": 2}, 10, 0.01)
    assert {row["uuid"] for row in kept} == set(ids) - {row[clip] for row in duplicates}
    by_caption = {row["caption"]: row["vector"] for row in kept}
    assert by_caption["c"] == AXES[2]
    assert by_caption["null"] is None
    report = json.loads((here / "work/report/report.json").read_text())
    assert report["steps"]["cluster"]["counts"]["rows"] == 6
    said = text_of(here / "work")
    assert "2 of 2 groups" in said
    assert "There are no pictures: " in said  # a table of vectors alone


def test_duplicates_with_integer_ids_are_a_list_of_ids_that_remove_takes(spark, here):
    write(here / "mine/0.parquet", number=pa.array([10, 2, 30], pa.uint64()), v=pa.array([[1.0, 0], [0, 1], [3, 0]]))
    own = {"id_field": "number", "embedding_field": "v"}
    numbered = ((f"{n:03}", b'{"number": %d}' % number) for n, number in enumerate((30, 2, 10)))
    members = [each for key, data in numbered for each in ((f"{key}.json", data), (f"{key}.mp4", b"clip " + data))]
    make_tar(here / "data/a.tar", members)

    run(settings(cluster=own, pairwise={"which_to_keep": "easy"}), spark)
    removal = {
        "input": {"path": "data", "id_field": "number"},
        "remove": {"ids_path": "work/duplicates", "id_field": "number"},
        "output": {"path": "out"},
    }
    summary = run(parse_config({"work_dir": "removal", **removal}), spark, steps=["remove"])

    assert pq.read_table("work/duplicates", columns=["number", "max_id"]).to_pylist() == [{"number": 30, "max_id": 10}]
    assert (summary.removed, summary.kept) == ({"listed": 1}, 2)
    assert members_of("out/a.tar") == members[2:]


def test_a_run_without_eps_stops_at_similarities_and_goes_on_from_there(spark, here):
    write(here / "mine/0.parquet", id=[1, 2, 3], embedding=[[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])

    first = run(settings(cluster={"n_clusters": 1}, identify={"eps": None}), spark)
    before = (here / "work/_steps/pairwise.json").read_bytes()
    second = run(settings(cluster={"n_clusters": 1}, identify={"eps": 0.01}), spark)

    assert (first.clusters, first.duplicates) == (1, None)
    assert second.duplicates == 1
    assert (here / "work/_steps/pairwise.json").read_bytes() == before


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (pa.array([7, 8, 7], pa.int64()), r"'7' from 7, 7"),
        (pa.array(["x", "y", "x"]), r"'x' from x, x"),
        (pa.array([7, None, 8], pa.int64()), r"but 1 rows have none in column 'id'.*cluster\.id_field"),
        (pa.array(["x", None, "y"]), r"but 1 rows have none in column 'id'.*cluster\.id_field"),
    ],
    ids=["integers twice", "texts twice", "null integer", "null text"],
)
def test_an_id_that_is_there_twice_or_missing_stops_the_run_before_any_table_is_written(spark, here, ids, message):
    write(here / "mine/0.parquet", id=ids, embedding=[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])

    with pytest.raises(ShardError, match=message):
        run(settings(), spark)

    assert not list(here.glob("work/clusters"))


def test_vectors_of_any_length_may_be_the_most_common_and_the_others_are_counted(spark, here):
    vectors = [[1.0] * 256, [1.0] * 512, [2.0] * 256, [0.5] * 3]
    write(here / "mine/0.parquet", id=["a", "b", "c", "d"], embedding=pa.array(vectors, pa.list_(pa.float32())))

    summary = run(settings(cluster={"n_clusters": 1}), spark)

    assert (summary.read, summary.duplicates, dict(summary.unreadable)) == (4, 1, {"wrong_length": 2})


# As clip-retrieval writes them: the third repeats the first; a row group ends inside a file of vectors.
CLIP = np.array([[1, 0, 0], [0, 1, 0], [2, 0, 0], [0, 0, 1], [0, 0, 0]], np.float16)


def write_clip_retrieval(folder, names=("p/a", "p/b", "p/c", "p/d", "p/e")):
    for number, rows in enumerate((slice(0, 3), slice(3, 5))):
        for kind, vectors in (("img", CLIP), ("text", CLIP[::-1])):
            (folder / f"{kind}_emb").mkdir(parents=True, exist_ok=True)
            np.save(folder / f"{kind}_emb/{kind}_emb_{number}.npy", vectors[rows])
        (folder / "metadata").mkdir(exist_ok=True)
        columns = {
            "image_path": pa.array(names[rows]),
            "caption": pa.array(names[rows]),
            "width": [5, 6, 7, 8, 9][rows],
        }
        pq.write_table(pa.table(columns), folder / f"metadata/metadata_{number}.parquet", row_group_size=2)


@pytest.mark.connect
@pytest.mark.parametrize("path", ["mine", "mine/img_emb"])
def test_vectors_of_clip_retrieval_are_read_with_the_ids_and_columns_of_their_metadata(spark, here, path):
    write_clip_retrieval(here / "mine")
    cluster = {"embeddings_path": path, "id_field": "image_path", "metadata_columns": ["width"]}
    keep_narrow = {"which_to_keep": "metadata", "metadata_columns": ["width"], "ascending": True}

    summary = run(settings(cluster=cluster, pairwise=keep_narrow), spark)

    found = pq.read_table("work/duplicates", columns=["image_path", "max_id", "width"]).to_pylist()
    assert found == [{"image_path": "p/c", "max_id": "p/a", "width": 7}]
    assert (summary.read, dict(summary.unreadable)) == (5, {"zero_embedding": 1})


def test_lines_of_json_are_vectors_too(spark, here):
    (here / "mine").mkdir()
    lines = [{"id": 7, "embedding": [1, 0]}, {"id": "x", "embedding": [3, 0]}, {"id": "y", "embedding": None}]
    (here / "mine/0.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    (here / "mine/1.jsonl").write_text(json.dumps({"id": "z", "embedding": [0, 2]}))
    (here / "mine/README.md").write_text("# vectors")

    summary = run(settings(pairwise={"which_to_keep": "easy"}), spark)

    assert pq.read_table("work/duplicates", columns=["id", "max_id"]).to_pylist() == [{"id": "x", "max_id": "7"}]
    assert (summary.read, dict(summary.unreadable)) == (4, {"no_embedding": 1})


def test_vectors_that_cannot_be_read_are_one_line_with_the_file(spark, here):
    write_clip_retrieval(here / "uneven")
    np.save(here / "uneven/img_emb/img_emb_1.npy", CLIP)
    write_clip_retrieval(here / "unnamed")
    write_clip_retrieval(here / "twice", names=("a", "b", "c", "d", "a"))
    write(here / "other.parquet", id=["a"], vector=[[1.0]])
    for name, text in {
        "lines.jsonl": '{"id": 1, "embedding": [1]}\n{"id": 2, "embed',
        "no lines.json": "[\n1\n]",
        "case.jsonl": '{"id": 1, "ID": 2, "embedding": [1]}',
        "table.csv": "id,embedding\n1,2\n",
    }.items():
        (here / name).write_text(text)
    expected = {
        "uneven": r"img_emb_1\.npy has 5 vectors and \S+metadata_1\.parquet has 2 ids",
        "unnamed": r"metadata_0\.parquet: no column 'id', it has image_path, caption, width",
        "other.parquet": r"other\.parquet: Stage 'cluster' needs embedding",
        "lines.jsonl": r"lines\.jsonl: a line is no JSON object \('\{\"id\": 2",
        "no lines.json": r"no%20lines\.json|no lines\.json: a line is no JSON object",
        "case.jsonl": r"case\.jsonl: Spark cannot read these lines of JSON",
        "table.csv": r"table\.csv: vectors are read from Parquet, Delta, \.npy files, and lines of JSON",
        "twice": r"Ids must be unique.*'a' from a, a",
        "nowhere": "there is nothing at nowhere",
    }
    for path, message in expected.items():
        field = "image_path" if path in ("uneven", "twice") else "id"
        with pytest.raises(ImgDedupError, match=message) as caught:
            run(settings(cluster={"embeddings_path": path, "id_field": field}), spark)
        assert "\n" not in str(caught.value)
